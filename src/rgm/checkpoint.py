"""Any model to and from one safetensors file, its configuration in the file's own header."""

import json
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rgm.errors import RGMError, unknown
from rgm.files import write_bytes
from rgm.model.config import ModelConfig
from rgm.model.spatial import SpatialRGM

VERSION = 1
FILE = "model.safetensors"
PACKAGED = ("mnist",)
"""Names of the weights that ship with the package."""
_TRAINING = "training/"


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

    model: SpatialRGM
    origin: Origin
    unfinished: Unfinished | None = None


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What stands in the file's metadata, under the one key `rgm` (a single key keeps equal runs' bytes equal)."""

    version: int
    model: ModelConfig
    origin: Origin
    training: dict[str, Any] | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")


def save_model(
    path: Path,
    model: SpatialRGM,
    origin: Origin,
    unfinished: Unfinished | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a model in one step; equal weights give equal bytes. Raises RGMError where it cannot be written.

    In `torch.float16` the file takes half the room; it is read as float32 all the same.
    """
    tensors = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    if unfinished:
        tensors |= {_TRAINING + name: tensor for name, tensor in unfinished.tensors.items()}
    header = _Header(
        version=VERSION,
        model=model.config,
        origin=origin,
        training=unfinished.numbers if unfinished else None,
    )
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, metadata={"rgm": json.dumps(asdict(header))}))


def find_model(path: str | Path) -> Path:
    """Return the file that a run folder, a checkpoint folder, a file's path or the name of packaged weights means.

    What lies at the path comes before packaged weights of that name. Raises RGMError where there is none.
    """
    named, path = str(path), Path(path)
    if path.is_file():
        return path
    if path.is_dir():
        for candidate in (path / FILE, path / "checkpoints" / FILE):
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

    Raises RGMError for a file that is missing, cut short, not ours, of a newer version or of another architecture.
    """
    file = find_model(path)
    metadata, tensors = read_tensors(file)
    header = _header(file, metadata)
    with torch.device("meta"):  # shapes alone: a header that claims too much must not take the memory
        expected = SpatialRGM.from_config(header.model).state_dict()
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(_TRAINING)}
    _check_tensors(file, expected, weights)
    model = SpatialRGM.from_config(header.model)
    model.load_state_dict(weights)
    unfinished = None
    if header.training is not None:
        rest = {name.removeprefix(_TRAINING): tensors[name] for name in tensors.keys() - weights.keys()}
        unfinished = Unfinished(numbers=header.training, tensors=rest)
    return Checkpoint(model=model.eval(), origin=header.origin, unfinished=unfinished)


def load(path: str | Path) -> SpatialRGM:
    """Return a saved model by its run folder, checkpoint folder, file or packaged name; see `load_checkpoint`."""
    return load_checkpoint(path).model


def read_tensors(file: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return a safetensors file's metadata and tensors; raise RGMError where it is damaged or unreadable."""
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RGMError(
            f"{file} is not a whole safetensors file ({error}): it may have been cut short; fetch or train it again"
        ) from error


def _header(file: Path, metadata: dict[str, str]) -> _Header:
    if "rgm" not in metadata:
        raise RGMError(f"{file} is a safetensors file but not a model of rgm: its header has no entry 'rgm'")
    try:
        raw: Any = json.loads(metadata["rgm"])
        version = raw["version"] if isinstance(raw, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise RGMError(
                f"{file} was written by a newer rgm (format {version}, this one reads up to {VERSION}): update rgm"
            )
        return TypeAdapter(_Header).validate_python(raw)
    except (KeyError, json.JSONDecodeError, ValidationError) as error:
        first = str(error).splitlines()
        detail = " ".join(line.strip() for line in first[1:3]) or first[0]
        raise RGMError(f"{file} carries a configuration that this rgm cannot read: {detail}") from error


def _check_tensors(file: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    problems += [f"{name} is not part of it" for name in found.keys() - expected.keys()]
    problems += [
        f"{name} has shape {tuple(found[name].shape)} where {tuple(tensor.shape)} is expected"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if problems:
        raise RGMError(
            f"the weights in {file} do not fit the architecture in its header: {sorted(problems)[0]}"
            f"{f' (and {len(problems) - 1} more)' if len(problems) > 1 else ''}"
        )
