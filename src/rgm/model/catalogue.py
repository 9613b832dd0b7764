"""The presets and the estimators by name, with a line each. Free of PyTorch, so that `--help` answers at once."""

NETWORKS: dict[str, str] = {
    "standard": "the default: vector-quantised codes on a 7 × 7 grid, a local decoder, cells drawn one after another",
    "quick": "the notebook's quality in a quarter of its time: a small encoder, a dense reader of the concept",
    "pretrained": "standard for longer, with a decoder that reaches half a patch and a larger prior",
    "seed": "the notebook's network and recipe: Gumbel-Softmax, squared error, 3 epochs",
    "three-level": "two grids and a concept: 14 × 14, 7 × 7, one digit; a parent gives out its own children",
    "likelihood": "black and white pixels, trained on the free energy alone: nats that compare with the literature",
    "colour32": "three levels for 32 × 32 colour: 8 × 8, 4 × 4, a concept",
    "colour64": "four levels for 64 × 64 colour: 16 × 16, 8 × 8, 4 × 4, a concept",
}

COUNTING: dict[str, str] = {
    "paper": "the closed-form model of the literature: a tree of exemplars, each image seen once, no gradients",
    "counting": "the same tree fitted better: all images, a minute or so, exact evidence and completions, no gradients",
}

PRESETS: dict[str, str] = NETWORKS | COUNTING

ESTIMATORS: dict[str, str] = {
    "gumbel": "relaxed samples at a temperature: soft in training, hard afterwards (Gumbel-Softmax)",
    "straight-through": "hard samples with the gradient of the relaxed ones (straight-through Gumbel-Softmax)",
    "vector-quantised": "the nearest entry of a learned codebook; no noise",
    "reinmax": "hard samples with a gradient that is right to second order (ReinMax)",
}
