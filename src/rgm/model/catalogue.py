"""The presets by name, with a line each. Free of PyTorch, so that `--help` answers at once."""

PRESETS: dict[str, str] = {
    "standard": "the default: vector-quantised codes on a 7 × 7 grid, a local decoder, cells drawn one after another",
    "seed": "the notebook's network and recipe: Gumbel-Softmax, squared error, 3 epochs",
}
