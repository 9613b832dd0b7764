"""What long work tells whoever watches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step of a training, counted over all its stages; `terms` are this batch's, before their weights."""

    stage: str
    step: int
    steps: int
    images: int
    loss: float
    terms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch: the mean over its batches of the loss and its terms, and what the validation split says (counts are
    whole numbers).

    Equal runs give equal records; times are kept elsewhere.
    """

    stage: str
    epoch: int
    step: int
    loss: float
    terms: dict[str, float]
    validation: dict[str, float | int]


Watch = Callable[[StepRecord], None]
"""Called after every whole step; what it raises ends the training, which leaves a checkpoint first."""


Say = Callable[[str], None]
"""Told, in a few words, what is done next where it is not a training."""


@runtime_checkable
class Callback(Protocol):
    """Whoever wants to hear of a training: both methods are called between two steps, `on_step` at every one.

    What one raises ends the training, which leaves a checkpoint first where it leaves any.
    """

    def on_step(self, record: StepRecord) -> None:
        """Hear of a whole step."""

    def on_epoch(self, record: EpochRecord) -> None:
        """Hear of a whole epoch, after its checkpoint."""
