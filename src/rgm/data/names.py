"""Names of data sets. Without PyTorch, so that `--help` is fast."""

DATA_NAMES = ("auto", "mnist", "fashion-mnist", "kmnist", "digits")
FILM_NAMES = ("balls", "lorenz", "moving-mnist", "two-moving-mnist", "rotating-mnist")
