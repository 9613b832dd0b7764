"""The user's options of a run. Without PyTorch, so that `--help` is fast."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from rgm.runtime.seeds import as_epochs, as_seed

OF_NETWORKS = ("estimator", "binarise", "precision", "compile", "labels")
"""Options of models that are trained by gradients."""
OF_IMAGES = ("size", "batch_size", *OF_NETWORKS)
"""Options of models of images."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All options of a run."""

    data: str = "auto"
    """auto, mnist, fashion-mnist, kmnist, digits, or a folder of images; for a preset of films, balls, lorenz,
    moving-mnist, or a file or folder of films."""

    data_dir: Path | None = None
    """Folder that holds mnist/, fashion-mnist/, kmnist/ as IDX files; else $RGM_DATA_DIR."""

    size: int | None = None
    """Resize images to this many pixels a side."""

    channels: Literal[1, 3] | None = None
    """1 for greyscale, 3 for colour; by default greyscale where every image of a folder is."""

    preset: str = "standard"
    """Model and recipe by name."""

    seed: int = 1
    """Seed of everything random: equal seeds give equal runs on one machine's CPU."""

    epochs: float | None = None
    """Number of epochs instead of the preset's; its stages share them in proportion."""

    batch_size: int | None = None
    """Images per step, instead of the preset's."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""

    estimator: str | None = None
    """Gradient estimator of the grids' codes: gumbel, straight-through, vector-quantised or reinmax."""

    binarise: Literal["dynamic", "fixed", "none"] | None = None
    """Binarisation of grey images, for presets with binary pixels: resampled at every use (dynamic), once
    (fixed), or none."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks in training; losses, noise, weights and evaluation stay float32."""

    compile: bool = False
    """Compile the networks before training, which pays off for long runs. Needs a C++ compiler on a CPU."""

    deterministic: bool = False
    """Use deterministic operations only. CPU runs are bit-identical anyway, with equal numbers of threads."""

    labels: int | None = None
    """Number of labels for training, balanced over the classes; 0 for none, with clusters as concepts."""

    def __post_init__(self) -> None:
        """Raise RGMError for invalid numbers."""
        object.__setattr__(self, "seed", as_seed(self.seed))
        if self.epochs is not None:
            as_epochs(self.epochs)

    def given(self, names: Iterable[str]) -> str:
        """Return those of some options that differ from the defaults, as the command line spells them."""
        usual = {one.name: one.default for one in fields(self)}
        return ", ".join(f"--{name.replace('_', '-')}" for name in names if getattr(self, name) != usual[name])
