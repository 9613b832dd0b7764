"""What long work tells whoever watches."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step of a training, counted over all its stages; `terms` are this batch's, before their weights."""

    stage: str
    step: int
    steps: int
    images: int
    loss: float
    terms: dict[str, float]


Watch = Callable[[StepRecord], None]
"""Called after every whole step; what it raises ends the training, which leaves a checkpoint first."""
