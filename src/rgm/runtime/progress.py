"""Progress records and callbacks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One training step, counted over all stages; `terms` are this batch's, unweighted."""

    stage: str
    step: int
    steps: int
    images: int
    loss: float
    terms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch: the mean loss and terms over its batches, and the validation split's measures (counts are integers).

    Equal runs give equal records, without times.
    """

    stage: str
    epoch: int
    step: int
    loss: float
    terms: dict[str, float]
    validation: dict[str, float | int]


Watch = Callable[[StepRecord], None]
"""Called after every step; an exception ends the training, after a checkpoint."""


StageReport = Callable[[str, int, int, float], None]
"""Called with a stage's name, a step, the number of steps, and the value of what is minimised."""


Say = Callable[[str], None]
"""Called with a short description of the next piece of work, outside training."""


@runtime_checkable
class Callback(Protocol):
    """A callback of a training: both methods are called between steps.

    An exception ends the training, after a checkpoint where it has a run folder.
    """

    def on_step(self, record: StepRecord) -> None:
        """Called after every step."""

    def on_epoch(self, record: EpochRecord) -> None:
        """Called after every epoch and its checkpoint."""
