"""Models as files: their configuration, their size, saving and loading."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import ConfigDict, ValidationError, create_model
from torch import Tensor, nn

from rgm.errors import RGMError
from rgm.model.bounds import Size
from rgm.storage.checkpoint import FILE, Origin, Stored, find_model, read_model, unreadable, write_model
from rgm.storage.files import own_folder, write_json
from rgm.storage.tensors import misfits

EXPORTED = (FILE, "config.json", "README.md", "evidence.json")
"""The files of a model for others."""
M = TypeVar("M", bound="StoredModel")
_STRICT = ConfigDict(extra="forbid")
LARGEST_TABLES = 2**28
"""Maximum bytes of a model's buffers that are derived from its configuration and not stored."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A grid of categorical variables: its height and width, and the number of states of a cell."""

    grid: tuple[Size, Size]
    states: Size

    @property
    def shape(self) -> tuple[int, int, int]:
        """States, height and width of the level's field."""
        return (self.states, *self.grid)


class Configuration:
    """The base of every model's configuration, a frozen dataclass.

    `image` is (channels, height, width); `levels` are the grids, finest first, and the concept, a grid of (1, 1), last.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    image: tuple[int, int, int]
    levels: tuple[Level, ...]

    def check_grids(self) -> None:
        """Raise RGMError for a grid that is larger than the one below it."""
        for lower, upper in pairwise(self.levels):
            if upper.grid[0] > lower.grid[0] or upper.grid[1] > lower.grid[1]:
                raise RGMError(f"a parent's grid of {upper.grid} is larger than its child's {lower.grid}")


def own_export(folder: Path, names: Sequence[str]) -> Path:
    """Return a folder for a model's files; raise RGMError where it holds others of these names."""

    def earlier(folder: Path) -> bool:
        file = folder / "config.json"
        return file.is_file() and '"library": "rgm"' in file.read_text(errors="replace")

    return own_folder(folder, names, earlier, "an export")


class StoredModel(nn.Module, ABC):
    """A model with a configuration, saved to and loaded from files."""

    config: Configuration
    kind: ClassVar[str]
    """The kind of model in a file's header."""
    config_type: ClassVar[Any]
    """The class of the configuration."""
    exact_weights: ClassVar[tuple[str, ...]] = ()
    """Name prefixes of tensors that are never stored at reduced precision."""
    packed_type: ClassVar[torch.dtype] = torch.float16
    """The 16-bit type for compact files."""
    origin: Origin | None = None
    """Preset, data, classes and seed of a model that was loaded."""

    @property
    def depth(self) -> int:
        """Number of levels L, the concept included."""
        return len(self.config.levels)

    @property
    def latent_dim(self) -> int:
        """Number of codes K_1 of a cell of z_1."""
        return self.config.levels[0].states

    @property
    def num_classes(self) -> int:
        """Number of concepts."""
        return self.config.levels[-1].states

    @property
    def device(self) -> torch.device:
        """The device of the parameters and buffers."""
        return next(chain(self.parameters(), self.buffers())).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the parameters and buffers."""
        return next(chain(self.parameters(), self.buffers())).dtype

    @property
    def size(self) -> int:
        """Number of parameters, all levels together."""
        return sum(weights.numel() for weights in self.parameters())

    @classmethod
    @abstractmethod
    def from_config(cls: type[M], config: Any) -> M:
        """Return an untrained model of a configuration."""

    @classmethod
    def from_pretrained(cls: type[M], name: str | Path, *, revision: str | None = None, token: str | None = None) -> M:
        """Return a trained model in evaluation mode.

        `name`: a run folder, a file, or a folder that `save_pretrained` wrote; packaged weights (`mnist`); or
        `owner/name` on the Hugging Face Hub, which needs the extra `hub` (`revision` and `token` are the Hub's).
        Raises RGMError where it is none of these, or another kind of model.
        """
        stored = read_model(find_model(name, revision=revision, token=token))
        if stored.kind != cls.kind:
            raise RGMError(
                f"{name} holds a model of the kind {stored.kind!r}, not a {cls.__name__}: rgm.load reads any"
            )
        return cls.from_stored(stored)

    @classmethod
    def from_stored(cls: type[M], stored: Stored) -> M:
        """Return the model of a file's content; raise RGMError where weights and configuration do not fit."""
        file = stored.file
        try:
            # Within a model that forbids unknown keys, all dataclasses forbid them.
            header = create_model("Header", __config__=_STRICT, model=(cls.config_type, ...))
            config = header(model=stored.config).model  # type: ignore[attr-defined]
            with torch.device("meta"):  # shapes alone: an oversized header must not allocate memory
                shapes = cls.from_config(config)
                expected = shapes.state_dict()
                tables = sum(buffer.nbytes for name, buffer in shapes.named_buffers() if name not in expected)
        except (ValidationError, RuntimeError, ValueError, TypeError, OverflowError, ZeroDivisionError) as error:
            raise unreadable(file, error) from error
        if tables > LARGEST_TABLES:
            raise RGMError(
                f"{file} describes a model that would need {tables / 2**20:,.0f} MiB besides its weights, where "
                f"{LARGEST_TABLES / 2**20:.0f} are allowed: its grids are larger than any image's"
            )
        problems = misfits(expected, stored.weights)
        if problems:
            raise RGMError(
                f"the weights in {file} do not fit the architecture in its header: {problems[0]}"
                f"{f' (and {len(problems) - 1} more)' if len(problems) > 1 else ''}"
            )
        model = cls.from_config(config)
        model.load_state_dict(stored.weights)
        model.origin = stored.origin
        return model.eval()

    def weights(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Return the tensors to store, converted to `dtype`; those of `exact_weights` keep their type."""
        return {
            name: tensor if name.startswith(self.exact_weights) else tensor.to(dtype)
            for name, tensor in self.state_dict().items()
        }

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `model.safetensors` and `config.json`, and return the folder; `from_pretrained` reads it.

        `rgm.export.hub` adds a model card with the evidence, and uploads it.
        """
        folder = own_export(Path(folder), EXPORTED[:2])
        classes = tuple(map(str, range(self.num_classes)))
        origin = self.origin or Origin(preset="own", data="own images", classes=classes, seed=0)
        config = asdict(self.config)
        write_model(folder / FILE, config, self.weights(), origin)
        record = {"version": 1, "library": "rgm", "model": config, "origin": asdict(origin)}
        write_json(folder / "config.json", record)
        return folder
