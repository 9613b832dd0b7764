"""What the user chooses of a run. Free of PyTorch, so that `--help` answers at once."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rgm.errors import RGMError

SEEDS = 2**63
"""Seeds lie in 0 … SEEDS − 1."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that makes a run, as the user chose it."""

    data: str = "auto"
    """auto, mnist, fashion-mnist, kmnist, digits, or a folder of images."""

    data_dir: Path | None = None
    """Folder that holds mnist/, fashion-mnist/, kmnist/ as IDX files; else $RGM_DATA_DIR."""

    size: int | None = None
    """Resize images to this many pixels a side."""

    preset: str = "standard"
    """Model and recipe by name."""

    seed: int = 1
    """Seed of everything random: equal seeds give equal runs on one machine's CPU."""

    epochs: float | None = None
    """Epochs, instead of the preset's; its stages share them in proportion."""

    batch_size: int | None = None
    """Images a step, instead of the preset's."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""

    estimator: str | None = None
    """How training draws the grids' codes, instead of the preset's way: gumbel, straight-through, vector-quantised or
    reinmax."""

    binarise: Literal["dynamic", "none"] | None = None
    """How black and white pixels come from grey ones, for a preset that has such pixels: drawn anew at every look, or
    grey values taken as they are."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in while training; losses, noise, weights and everything afterwards stay float32."""

    compile: bool = False
    """Compile the networks before training: some seconds, which only long runs repay. Needs a C++ compiler on a CPU."""

    deterministic: bool = False
    """Take no operation whose result may differ between equal runs, on any device. On a CPU they are equal as it is,
    with equal numbers of threads."""

    labels: int | None = None
    """Labels that training may know, balanced over the classes; 0 for none, the concepts then being clusters."""

    def __post_init__(self) -> None:
        """Raise RGMError for numbers that no run can have."""
        if not 0 <= self.seed < SEEDS:
            raise RGMError(f"a seed must lie in 0 … {SEEDS - 1}, but is {self.seed}")
        if self.epochs is not None and not math.isfinite(self.epochs):
            raise RGMError(f"the number of epochs must be finite, but is {self.epochs}")
