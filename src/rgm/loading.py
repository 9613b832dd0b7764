"""Any model by what a user calls it, built by its own class (not `load`, which is the function of the package)."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from rgm.counting.model import CountingRGM
from rgm.errors import RGMError
from rgm.model.generative import RGM
from rgm.model.spatial import SpatialRGM
from rgm.storage.checkpoint import (
    FILE,
    Origin,
    Stored,
    Unfinished,
    find_model,
    newest_whole,
    read_model,
    write_model,
)

KINDS: dict[str, type[RGM]] = {"network": SpatialRGM, "counting": CountingRGM}
"""The class of each kind of configuration."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model on the CPU with its file, its origin and, from within a training, what that needs to go on."""

    model: RGM
    file: Path
    origin: Origin
    unfinished: Unfinished | None = None

    @property
    def run(self) -> Path | None:
        """The run folder that the model lies in, where it lies in one: what belongs to the model is kept there."""
        folder = self.file.parent
        return folder if self.file.name == FILE and (folder / "config.json").is_file() else None

    @property
    def evidence(self) -> Path | None:
        """The evidence that lies beside the model, where some does."""
        own = self.file.name == FILE
        beside = self.file.with_name("evidence.json") if own else self.file.with_suffix(".evidence.json")
        return beside if beside.is_file() else None


def load_checkpoint(model: str | Path) -> Checkpoint:
    """Return a saved model with its origin, on the CPU and in evaluation mode; `find_model` says what `model` may be.

    Of a training's checkpoints the newest whole one is taken, and a damaged one is named in a warning.
    Raises RGMError for a file that is missing, cut short, changed, not ours, of a newer version or of another
    architecture.
    """
    file = find_model(model)
    return load_newest(file.parent) if Path(model).is_dir() and file.name != FILE else _loaded(file)


def load_newest(folder: Path) -> Checkpoint:
    """Return the newest whole checkpoint of a training in a folder; name each damaged one in a warning.

    Raises RGMError where none is whole.
    """
    return newest_whole(folder, _loaded)


def load(model: str | Path) -> RGM:
    """Return a saved model; `find_model` says what `model` may be."""
    return load_checkpoint(model).model


def save_model(
    path: Path,
    model: RGM,
    origin: Origin,
    unfinished: Unfinished | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model in one step; equal weights give equal bytes. Raises RGMError where it cannot be written.

    In `torch.float16` the file takes half the room; it is read as float32 all the same.
    """
    write_model(path, asdict(model.config), model.weights(dtype), origin, unfinished)


def _loaded(file: Path) -> Checkpoint:
    stored = read_model(file)
    return Checkpoint(
        model=_class_of(stored).from_stored(stored),
        file=file,
        origin=stored.origin,
        unfinished=stored.unfinished,
    )


def _class_of(stored: Stored) -> type[RGM]:
    if stored.kind not in KINDS:
        raise RGMError(
            f"{stored.file} holds a model of the kind {stored.kind!r}, which this rgm does not have: it has "
            f"{', '.join(KINDS)}; update rgm"
        )
    return KINDS[stored.kind]
