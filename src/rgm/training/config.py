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
    """Folder with mnist/, fashion-mnist/, kmnist/ as IDX files; else $RGM_DATA_DIR."""

    size: int | None = None
    """Resize images to this many pixels a side."""

    preset: str = "standard"
    """Model and recipe by name."""

    seed: int = 1
    """Seed of everything random: equal seeds give equal runs on one machine's CPU."""

    epochs: float | None = None
    """Epochs, instead of the preset's; divided among its stages in proportion."""

    batch_size: int | None = None
    """Images per step, instead of the preset's."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""

    estimator: str | None = None
    """How training samples the codes, instead of the preset's estimator: gumbel, straight-through, vector-quantised or
    reinmax."""

    binarise: Literal["dynamic", "none"] | None = None
    """For a preset with black and white pixels: dynamic samples them from the grey values each time an image is used,
    none takes the grey values as they are."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks in training; losses, noise, weights and everything after training stay float32."""

    compile: bool = False
    """Compile the networks before training: takes some seconds, for long runs. Needs a C++ compiler on a CPU."""

    deterministic: bool = False
    """Use only operations that give equal results in equal runs, on any device. On a CPU all do, with equal numbers of
    threads."""

    labels: int | None = None
    """Number of labels used in training, balanced over the classes; 0 for none: the concepts are then clusters."""

    def __post_init__(self) -> None:
        """Raise RGMError for numbers that no run can have."""
        if not 0 <= self.seed < SEEDS:
            raise RGMError(f"a seed must lie in 0 … {SEEDS - 1}, but is {self.seed}")
        if self.epochs is not None and not math.isfinite(self.epochs):
            raise RGMError(f"the number of epochs must be finite, but is {self.epochs}")
