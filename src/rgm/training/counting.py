"""Training of counting models: steps in order, an evaluation after each stage, resumable."""

import math
from typing import Any

from torch import Tensor

from rgm.counting.fitting import Recipe, learner
from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.runtime.distributed import current
from rgm.runtime.progress import EpochRecord, StepRecord
from rgm.training.engine import Engine
from rgm.training.optimisers import another_training
from rgm.training.summary import summary
from rgm.training.trainer import Records, Trainer, restored


class CountingTrainer(Trainer):
    """The steps of `rgm.counting.fitting` as a trainer.

    The model's counts are its only state, so that a checkpoint needs only the number of steps done besides.
    """

    model: CountingRGM
    recipe: Recipe
    saves_start = True
    steps_done = 0

    def __init__(
        self,
        model: CountingRGM,
        train: ImageSet,
        validation: ImageSet | None,
        recipe: Recipe,
        *,
        seed: int,
        engine: Engine = Engine(),  # noqa: B008 - frozen
    ) -> None:
        """Raise RGMError for a class without images, or several processes."""
        assert train.labels is not None
        self.processes, self.engine = current(), engine
        engine.settle()
        if self.processes.count > 1:
            raise RGMError("a counting model is trained by one process: start it without torchrun")
        self.model, self.recipe, self.seed, self.validation = model, recipe, seed, validation
        self.device = model.device
        self.steps = learner(model, recipe, train.images, train.labels, seed=seed)
        self.images = len(train) if not hasattr(recipe, "images") else min(recipe.images, len(train))
        few = self.steps.probe
        self.probe = to_unit(train.images[:: max(1, len(train) // few)][:few])
        self.history = []

    def records(self) -> Records:
        """Train to the end; see `Trainer.records`. An epoch is a stage here."""
        stages, loss = self.steps.stages, math.nan
        while True:
            done, evaluated = self.steps_done, self.history[-1].step if self.history else 0
            if evaluated < done and stages[done - 1] not in stages[done:]:
                yield EpochRecord(
                    stage=stages[done - 1],
                    epoch=len(self.history) + 1,
                    step=done,
                    loss=self._loss() if math.isnan(loss) else loss,
                    terms={},
                    validation={} if self.validation is None else summary(self.model, self.validation),
                )
            if done == len(stages):
                return
            self.steps.step(done)
            self.steps_done += 1
            loss = self._loss()
            yield StepRecord(
                stage=stages[done],
                step=self.steps_done,
                steps=len(stages),
                images=self.images // len(stages),
                loss=loss,
                terms={},
            )

    def _loss(self) -> float:
        """Return the mean of −log p(x) over the probe images, in nats."""
        return -float(self.model.log_weight(self.probe.to(self.device)).mean())

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the state to resume from besides the counts: numbers for JSON."""
        return self.numbers() | {"steps_done": self.steps_done}, {}

    def restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Restore a state of `state`; the caller restores the counts. Raises RGMError for another recipe's state."""
        done = restored(int, numbers.get("steps_done"))
        self.history = restored(list[EpochRecord], numbers.get("history"))
        if tensors or not 0 <= done <= len(self.steps.stages):
            raise another_training(f"step {done}")
        self.steps_done = done
