"""Data sets by name. Free of PyTorch, so that `--help` answers at once."""

DATA_NAMES = ("auto", "mnist", "fashion-mnist", "kmnist", "digits")
