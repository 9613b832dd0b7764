"""The interface of every trainer."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from rgm.model.generative import RGM
from rgm.runtime.distributed import Processes
from rgm.runtime.progress import Callback, EpochRecord, Watch
from rgm.training.engine import Engine


@runtime_checkable
class Epochs(Protocol):
    """The common interface of recipes: a frozen dataclass with a number of epochs."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def epochs(self) -> int | float:
        """Passes over the training images."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """Training of a model by a recipe, which can be stopped after any step and resumed."""

    history: list[EpochRecord]
    saves_start: bool
    """Whether to save a checkpoint before the first step, which may be long."""

    @property
    def model(self) -> RGM:
        """The model, trained in place."""
        ...

    @property
    def recipe(self) -> Epochs:
        """The recipe."""
        ...

    @property
    def engine(self) -> Engine:
        """Precision, compilation, determinism."""
        ...

    @property
    def device(self) -> torch.device:
        """The device."""
        ...

    @property
    def processes(self) -> Processes:
        """The processes that share it."""
        ...

    @property
    def steps_done(self) -> int:
        """Steps done so far."""
        ...

    def run(
        self, watch: Watch, save: "Save", *, checkpoint_every_s: float = math.inf, callbacks: Sequence[Callback] = ()
    ) -> None:
        """Train to the end.

        `watch` and `callbacks` are called after every step; `save` and `callbacks` after every epoch; `save` also every
        `checkpoint_every_s` seconds within an epoch, and when one of the others raises.
        """
        ...

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the state to resume from besides the model: numbers for JSON, and tensors by name."""
        ...

    def restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Restore a state of `state`; the caller restores the model. Raises RGMError for another recipe's state."""
        ...


Save = Callable[[Trainer, EpochRecord | None], None]
"""Called with the epoch that has just ended, or None within one."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """A trained model (the given one) with its history and duration."""

    model: RGM
    history: tuple[EpochRecord, ...]
    elapsed_s: float


def finished(trainer: Trainer, watch: Watch = lambda _: None, callbacks: Sequence[Callback] = ()) -> FitResult:
    """Run a training to its end, in memory."""
    start = time.perf_counter()
    trainer.run(watch, lambda *_: None, callbacks=callbacks)
    return FitResult(model=trainer.model, history=tuple(trainer.history), elapsed_s=time.perf_counter() - start)
