"""The interface of every trainer."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from rgm.counting.fitting import Recipe as CountingRecipe
from rgm.data.images import ImageSet
from rgm.model.generative import RGM
from rgm.runtime.brief import Brief
from rgm.runtime.distributed import Processes
from rgm.runtime.progress import Callback, EpochRecord, StepRecord, Watch
from rgm.training.engine import Engine
from rgm.training.optimisers import another_training
from rgm.training.recipe import Recipe

Records = Generator[StepRecord | EpochRecord, None, None]


class Trainer(ABC):
    """Training of a model by a recipe, which can be stopped after any step and resumed.

    The model is trained in place; `processes` share every batch, and `validation` is evaluated after every epoch.
    """

    model: RGM
    recipe: Recipe | CountingRecipe
    engine: Engine
    device: torch.device
    processes: Processes
    validation: ImageSet | None
    seed: int
    history: list[EpochRecord]
    saves_start: ClassVar[bool] = False
    """Whether to save a checkpoint before the first step, which may be long."""

    @property
    @abstractmethod
    def steps_done(self) -> int:
        """Steps done so far."""

    @abstractmethod
    def records(self) -> Records:
        """Train from where the training is to its end, and yield a record after every step and every epoch."""

    def run(
        self, watch: Watch, save: "Save", *, checkpoint_every_s: float = math.inf, callbacks: Sequence[Callback] = ()
    ) -> None:
        """Train to the end.

        `watch` and `callbacks` are called after every step; `save` and `callbacks` after every epoch; `save` also every
        `checkpoint_every_s` seconds within an epoch, and when one of the others raises.
        """
        saved = time.monotonic()
        with closing(self.records()) as records:
            for record in records:
                if isinstance(record, EpochRecord):
                    self.history.append(record)
                    save(self, record)
                    saved = time.monotonic()
                    for callback in callbacks:
                        callback.on_epoch(record)
                    continue
                try:
                    watch(record)
                    for callback in callbacks:
                        callback.on_step(record)
                except BaseException:
                    save(self, None)
                    raise
                if time.monotonic() > saved + checkpoint_every_s:
                    save(self, None)
                    saved = time.monotonic()

    def numbers(self) -> dict[str, Any]:
        """Return what the state of every training holds."""
        history = [asdict(record) for record in self.history]
        return {"seed": self.seed, "recipe": asdict(self.recipe), "history": history}

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the state to resume from besides the model: numbers for JSON, and tensors by name."""

    @abstractmethod
    def restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Restore a state of `state`; the caller restores the model. Raises RGMError for another recipe's state."""


Save = Callable[[Trainer, EpochRecord | None], None]
"""Called with the epoch that has just ended, or None within one."""


def restored(kind: Any, value: object) -> Any:
    """Return a part of a stored state as a value of its type; raise RGMError where it is none."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise another_training(" ".join(str(error).split())) from error


@dataclass(frozen=True, kw_only=True, repr=False)
class FitResult(Brief):
    """A trained model (the given one) with its history and duration."""

    model: RGM
    history: tuple[EpochRecord, ...]
    elapsed_s: float


def finished(trainer: Trainer, watch: Watch = lambda _: None, callbacks: Sequence[Callback] = ()) -> FitResult:
    """Run a training to its end, in memory."""
    start = time.perf_counter()
    trainer.run(watch, lambda *_: None, callbacks=callbacks)
    return FitResult(model=trainer.model, history=tuple(trainer.history), elapsed_s=time.perf_counter() - start)
