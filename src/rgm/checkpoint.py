"""Any model to and from one safetensors file, its configuration in the file's own header."""

import logging
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Discriminator, Tag, TypeAdapter, ValidationError
from torch import Tensor

from rgm.counting.config import CountingConfig
from rgm.counting.model import CountingRGM
from rgm.errors import RGMError, unknown
from rgm.model.config import ModelConfig
from rgm.model.spatial import SpatialRGM
from rgm.tensors import misfits, read_tensors, write_tensors

log = logging.getLogger("rgm")
FILE = "model.safetensors"
CHECKPOINTS = "checkpoints"
LARGEST_TABLES = 2**28
"""Bytes that a model may need beside its weights, in tables that follow from its configuration alone."""
_KIND = "rgm"
PACKAGED = ("mnist",)
"""Names of the weights that ship with the package."""
_TRAINING = "training/"
Model = SpatialRGM | CountingRGM


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a model comes from: the preset, the data set and its classes, the seed."""

    preset: str
    data: str
    classes: tuple[str, ...]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """What a training needs to go on: numbers for JSON, and tensors by name."""

    numbers: dict[str, Any]
    tensors: dict[str, Tensor] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model on the CPU with its origin and, from within a training, what that needs to go on."""

    model: Model
    origin: Origin
    unfinished: Unfinished | None = None


def _kind(config: Any) -> str:
    """Return which kind of model a configuration is of: one that names none is a network's."""
    kind = config.get("kind", "network") if isinstance(config, dict) else getattr(config, "kind", "network")
    return kind if isinstance(kind, str) else "network"


Config = Annotated[
    Annotated[ModelConfig, Tag("network")] | Annotated[CountingConfig, Tag("counting")], Discriminator(_kind)
]


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What a file's header says beside its version and checksum."""

    model: Config
    origin: Origin
    training: dict[str, Any] | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")


def save_model(
    path: Path,
    model: Model,
    origin: Origin,
    unfinished: Unfinished | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model in one step; equal weights give equal bytes. Raises RGMError where it cannot be written.

    In `torch.float16` the file takes half the room; it is read as float32 all the same.
    """
    tensors = {
        # What symbols are measured with decides which they are: it stays as it is.
        name: tensor if name.startswith("leaves.") else tensor.to(dtype)
        for name, tensor in model.state_dict().items()
    }
    if unfinished:
        tensors |= {_TRAINING + name: tensor for name, tensor in unfinished.tensors.items()}
    header = _Header(model=model.config, origin=origin, training=unfinished.numbers if unfinished else None)
    write_tensors(path, _KIND, asdict(header), tensors)


def step_file(folder: Path, step: int) -> Path:
    """Return the file of a training's checkpoint after a number of steps."""
    return folder / f"step-{step:08}.safetensors"


def step_files(folder: Path) -> list[Path]:
    """Return the checkpoints of a training in a folder, the newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def find_model(path: str | Path) -> Path:
    """Return the file that a run folder, a checkpoint folder, a file's path or the name of packaged weights means.

    What lies at the path comes before packaged weights of that name. Raises RGMError where there is none.
    """
    named, path = str(path), Path(path)
    if path.is_file():
        return path
    inside = [path / FILE, *step_files(path / CHECKPOINTS), *step_files(path)]
    for candidate in inside:
        if candidate.is_file():
            return candidate
    if named in PACKAGED:
        return packaged(named)
    if path.is_dir():
        raise RGMError(f"no model in the folder {path}: it has no {FILE}; has its training finished?")
    raise RGMError(
        f"no model at {path}: name a run folder, a checkpoint folder, a .safetensors file or packaged weights "
        f"({', '.join(PACKAGED)})"
    )


def packaged(name: str) -> Path:
    """Return the file of weights that ship with the package; raise RGMError for an unknown name."""
    if name not in PACKAGED:
        raise unknown("packaged model", name, PACKAGED)
    return Path(str(resources.files("rgm") / "weights" / f"{name}.safetensors"))


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Return a saved model with its origin, on the CPU and in evaluation mode.

    Of a training's checkpoints the newest whole one is taken, and a damaged one is named in a warning.
    Raises RGMError for a file that is missing, cut short, changed, not ours, of a newer version or of another
    architecture.
    """
    file = find_model(path)
    return load_newest(file.parent) if Path(path).is_dir() and file.name != FILE else _loaded(file)


def load_newest(folder: Path) -> Checkpoint:
    """Return the newest whole checkpoint of a training in a folder; name each damaged one in a warning.

    Raises RGMError where none is whole.
    """
    errors = []
    for file in step_files(folder):
        try:
            found = _loaded(file)
        except RGMError as error:
            errors.append(error)
            continue
        for damage in errors:
            log.warning("%s; the checkpoint before it is taken", damage)
        return found
    raise RGMError(f"no checkpoint in {folder} is whole: remove the folder to start afresh; {errors[0]}")


def _loaded(file: Path) -> Checkpoint:
    raw, tensors = read_tensors(file, _KIND)
    try:
        header = TypeAdapter(_Header).validate_python(raw)
        with torch.device("meta"):  # shapes alone: a header that claims too much must not take the memory
            shapes = _untrained(header.model)
            expected = shapes.state_dict()
            tables = sum(buffer.nbytes for name, buffer in shapes.named_buffers() if name not in expected)
    except (ValidationError, RuntimeError, ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
        first = str(error).splitlines() or [type(error).__name__]
        detail = " ".join(line.strip() for line in first[1:3]) or first[0]
        raise RGMError(f"{file} carries a configuration that this rgm cannot read: {detail}") from error
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(_TRAINING)}
    if tables > LARGEST_TABLES:
        raise RGMError(
            f"{file} describes a model that would need {tables / 2**20:,.0f} MiB beside its weights, where "
            f"{LARGEST_TABLES / 2**20:.0f} are allowed: its grids are larger than any image's"
        )
    problems = misfits(expected, weights)
    if problems:
        raise RGMError(
            f"the weights in {file} do not fit the architecture in its header: {problems[0]}"
            f"{f' (and {len(problems) - 1} more)' if len(problems) > 1 else ''}"
        )
    model = _untrained(header.model)
    model.load_state_dict(weights)
    unfinished = None
    if header.training is not None:
        rest = {name.removeprefix(_TRAINING): tensors[name] for name in tensors.keys() - weights.keys()}
        unfinished = Unfinished(numbers=header.training, tensors=rest)
    return Checkpoint(model=model.eval(), origin=header.origin, unfinished=unfinished)


def _untrained(config: ModelConfig | CountingConfig) -> Model:
    match config:
        case ModelConfig():
            return SpatialRGM.from_config(config)
        case CountingConfig():
            return CountingRGM.from_config(config)


def load(path: str | Path) -> Model:
    """Return a saved model by its run folder, checkpoint folder, file or packaged name; see `load_checkpoint`."""
    return load_checkpoint(path).model
