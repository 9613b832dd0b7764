"""Model files: how to find, read and write them, without building the model."""

import difflib
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from rgm.errors import RGMError
from rgm.storage.files import as_path
from rgm.storage.tensors import read_tensors, write_tensors

FILE = "model.safetensors"
CHECKPOINTS = "checkpoints"
PACKAGED = ("mnist", "fashion-mnist", "cifar10")
"""Names of the weights that ship with the package."""
_KIND = "rgm"
_TRAINING = "training/"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of a model: the preset, the data set and its classes, the seed."""

    preset: str
    data: str
    classes: tuple[str, ...]
    seed: int

    def without_place(self) -> "Origin":
        """Return the origin as others may read it: a folder of images by its name, not by where it lies."""
        return replace(self, data=Path(self.data).name)


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """State of a training to resume from: numbers for JSON, and tensors by name."""

    numbers: dict[str, Any]
    tensors: dict[str, Tensor] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Contents of a model file: the configuration as written, the origin, the weights, the training's state."""

    file: Path
    config: dict[str, Any]
    origin: Origin
    weights: dict[str, Tensor] = field(repr=False)
    unfinished: Unfinished | None

    @property
    def kind(self) -> str:
        """The kind of model; `network` for a configuration without one."""
        return str(self.config.get("kind", "network"))


@dataclass(frozen=True, kw_only=True)
class _Header:
    """A file's header without version and checksum."""

    model: dict[str, Any]
    origin: Origin
    training: dict[str, Any] | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")


def write_model(
    path: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    origin: Origin,
    unfinished: Unfinished | None = None,
) -> None:
    """Write a model atomically; equal weights give bit-identical files. Raises RGMError where it cannot be written."""
    tensors = dict(weights)
    if unfinished:
        tensors |= {_TRAINING + name: tensor for name, tensor in unfinished.tensors.items()}
    header = {"model": config, "origin": asdict(origin), "training": unfinished.numbers if unfinished else None}
    write_tensors(path, _KIND, header, tensors)


def read_model(file: Path) -> Stored:
    """Return the contents of a model file; raise RGMError for one that is damaged, of another format, or newer."""
    raw, tensors = read_tensors(file, _KIND)
    try:
        header = TypeAdapter(_Header).validate_python(raw)
    except ValidationError as error:
        raise unreadable(file, error) from error
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(_TRAINING)}
    unfinished = None
    if header.training is not None:
        rest = {name.removeprefix(_TRAINING): tensors[name] for name in tensors.keys() - weights.keys()}
        unfinished = Unfinished(numbers=header.training, tensors=rest)
    return Stored(file=file, config=header.model, origin=header.origin, weights=weights, unfinished=unfinished)


def unreadable(file: Path, error: Exception) -> RGMError:
    """Return the error for a header that this version cannot read."""
    first = str(error).splitlines() or [type(error).__name__]
    detail = " ".join(line.strip() for line in first[1:3]) or first[0]
    return RGMError(f"{file} has a configuration that this rgm cannot read: {detail}")


def step_file(folder: Path, step: int) -> Path:
    """Return the file of a training's checkpoint after a number of steps."""
    return folder / f"step-{step:08}.safetensors"


def step_files(folder: Path) -> list[Path]:
    """Return the checkpoints of a training in a folder, the newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def find_model(model: str | Path, *, revision: str | None = None, token: str | None = None) -> Path:
    """Return the file of MODEL.

    An existing path comes first: a run folder, a checkpoint folder or a file. Then the name of packaged weights, then
    `owner/name`, a repository of the Hugging Face Hub, downloaded once. Raises RGMError where there is none.
    """
    name, path = str(model), as_path(model, "a model")
    if path.is_file():
        return path
    for candidate in (path / FILE, *step_files(path / CHECKPOINTS), *step_files(path)):
        if candidate.is_file():
            return candidate
    if name in PACKAGED:
        return packaged(name)
    if path.is_dir():
        below = sorted(found.parent for found in path.glob(f"*/{FILE}"))[:3]
        hint = f"name a run in it, such as {', '.join(map(str, below))}" if below else "has its training finished?"
        raise RGMError(f"no model in the folder {path}: it has no {FILE}; {hint}")
    owner, slash, rest = name.partition("/")
    if slash and owner.strip(".~") and rest and "/" not in rest and not Path(owner).exists():
        return _fetch(name, revision, token)
    near = "".join(f"did you mean {close!r}? " for close in difflib.get_close_matches(name, PACKAGED, n=1))
    raise RGMError(
        f"no model at {path}: {near}name a run folder, a checkpoint folder, a .safetensors file, packaged weights "
        f"({', '.join(PACKAGED)}) or owner/name on the Hugging Face Hub"
    )


def packaged(name: str) -> Path:
    """Return the file of weights that ship with the package."""
    return Path(str(resources.files("rgm") / "weights" / f"{name}.safetensors"))


def hub_library(purpose: str) -> Any:
    """Return the module huggingface_hub; raise RGMError where it is not installed."""
    try:
        import huggingface_hub.constants  # optional: the extra hub, which does not import these two itself
        import huggingface_hub.errors
    except ImportError:
        raise RGMError(f"{purpose} needs the package huggingface_hub: pip install 'rgm[hub]'") from None
    return huggingface_hub


def _fetch(repository: str, revision: str | None, token: str | None) -> Path:
    hub = hub_library(f"no model at {repository}, and a repository of the Hugging Face Hub of that name")
    address = hub.constants.ENDPOINT
    absent = not _answers(address)  # else it would be asked again and again, for half a minute
    try:
        return Path(hub.hf_hub_download(repository, FILE, revision=revision, token=token, local_files_only=absent))
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError) as error:
        unknown = absent and isinstance(error, hub.errors.LocalEntryNotFoundError)
        reason = f"{address} does not answer" if unknown else " ".join(str(error).split())
        raise RGMError(f"no model at {repository}, and it could not be downloaded from the Hub: {reason}") from error


def _answers(address: str) -> bool:
    """Return whether a server answers, whatever it says."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=10):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError as error:
        return isinstance(getattr(error, "reason", None), ssl.SSLError)
