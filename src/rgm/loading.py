"""Loading any model by path or name."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import torch

from rgm.errors import RGMError
from rgm.model.generative import RGM
from rgm.model.stored import StoredModel
from rgm.storage.checkpoint import FILE, Origin, Unfinished, find_model, read_model, step_files, write_model

if TYPE_CHECKING:
    from rgm.temporal.model import TemporalRGM

log = logging.getLogger("rgm")
FILMS = "temporal"
"""The kind of configuration of models of films."""
KINDS = {
    "network": "rgm.model.spatial:SpatialRGM",
    "counting": "rgm.counting.model:CountingRGM",
    FILMS: "rgm.temporal.model:TemporalRGM",
}
"""The class of each kind of configuration, imported where a model of it is loaded."""


@dataclass(frozen=True, kw_only=True)
class _Saved:
    """A saved model's file and origin and, from a training's checkpoint, the state to resume from."""

    file: Path
    origin: Origin
    unfinished: Unfinished | None = None

    @property
    def run(self) -> Path | None:
        """The run folder of the model, if it is in one."""
        folder = self.file.parent
        return folder if self.file.name == FILE and (folder / "config.json").is_file() else None

    @property
    def checksums(self) -> dict[str, str]:
        """The checksum of each split that the model's run was given, as far as its folder says so."""
        if self.run is None:
            return {}
        try:
            known = json.loads((self.run / "config.json").read_text())["data"]
            return {str(part["split"]): str(part["sha256"]) for part in known}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    @property
    def evidence(self) -> Path | None:
        """The evidence file of the model, if there is one."""
        own = self.file.name == FILE
        file = self.file.with_name("evidence.json") if own else self.file.with_suffix(".evidence.json")
        return file if file.is_file() else None


@dataclass(frozen=True, kw_only=True)
class Checkpoint(_Saved):
    """A model of images on the CPU, with its file and its origin."""

    model: RGM


@dataclass(frozen=True, kw_only=True)
class FilmCheckpoint(_Saved):
    """A model of films on the CPU, with its file and its origin."""

    model: "TemporalRGM"


def load_any(model: str | Path) -> Checkpoint | FilmCheckpoint:
    """Return a saved model with its origin, on the CPU and in evaluation mode; see `find_model` for `model`.

    Of a training's checkpoints the newest intact one is loaded, with a warning of damaged ones. Raises RGMError for a
    file that is missing, truncated, changed, of another format, of a newer version or of another architecture.
    """
    file = find_model(model)
    return load_newest(file.parent) if Path(model).is_dir() and file.name.startswith("step-") else _loaded(file)


def load_checkpoint(model: str | Path) -> Checkpoint:
    """Return a saved model of images as `load_any` does; raise RGMError also for one of films."""
    found = load_any(model)
    if isinstance(found, FilmCheckpoint):
        raise RGMError(
            f"{model} is a model of films, which this does not take: rgm predict, complete, sample, explore, evaluate, "
            "info and experiment time do"
        )
    return found


def load_film_checkpoint(model: str | Path) -> FilmCheckpoint:
    """Return a saved model of films as `load_any` does; raise RGMError also for one of images."""
    found = load_any(model)
    if isinstance(found, Checkpoint):
        raise RGMError(
            f"{model} is a model of images, but a model of films is needed: train one with --preset film-flow"
        )
    return found


def load_newest(folder: Path) -> Checkpoint:
    """Return the newest intact checkpoint in a folder, warning of damaged ones; raise RGMError where none is intact."""
    errors = []
    for file in step_files(folder):
        try:
            found = _of_images(_loaded(file))
        except RGMError as error:
            errors.append(error)
            continue
        for damage in errors:
            log.warning("%s; the checkpoint before it is used", damage)
        return found
    raise RGMError(f"no checkpoint in {folder} is intact: remove the folder to start afresh; {errors[0]}")


def _of_images(found: Checkpoint | FilmCheckpoint) -> Checkpoint:
    assert isinstance(found, Checkpoint)  # films are learned without checkpoints
    return found


def load(model: str | Path) -> "RGM | TemporalRGM":
    """Return a saved model; see `find_model` for `model`."""
    return load_any(model).model


def save_model(
    path: Path,
    model: StoredModel,
    origin: Origin,
    unfinished: Unfinished | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model atomically; equal weights give bit-identical files. Raises RGMError where it cannot be written.

    In `torch.float16` the file has half the size; it is loaded as float32 all the same.
    """
    write_model(path, asdict(model.config), model.weights(dtype), origin, unfinished)


def _loaded(file: Path) -> Checkpoint | FilmCheckpoint:
    stored = read_model(file)
    if stored.kind not in KINDS:
        raise RGMError(
            f"{file} holds a model of the kind {stored.kind!r}, which this rgm does not have: it has "
            f"{', '.join(KINDS)}; update rgm"
        )
    model = resolve_name(KINDS[stored.kind]).from_stored(stored)
    if stored.kind == FILMS:
        return FilmCheckpoint(model=model, file=file, origin=stored.origin, unfinished=stored.unfinished)
    return Checkpoint(model=model, file=file, origin=stored.origin, unfinished=stored.unfinished)
