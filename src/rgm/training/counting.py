"""Training of counting models: steps in order, an evaluation after each stage, resumable."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from rgm.counting.fitting import Recipe, learner
from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.runtime.distributed import current
from rgm.runtime.progress import Callback, EpochRecord, StepRecord, Watch
from rgm.training.engine import Engine
from rgm.training.optimisers import another_training
from rgm.training.summary import summary
from rgm.training.trainer import Save

PROBE = 200
"""Number of training images for the loss of a step, their evidence."""


class CountingTrainer:
    """The steps of `rgm.counting.fitting` as a trainer.

    The model's counts are its only state, so that a checkpoint needs only the number of steps done besides.
    """

    saves_start = True

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
        self.probe = to_unit(train.images[:: max(1, len(train) // PROBE)][:PROBE])
        self.history: list[EpochRecord] = []
        self.steps_done = 0

    def run(
        self, watch: Watch, save: Save, *, checkpoint_every_s: float = math.inf, callbacks: Sequence[Callback] = ()
    ) -> None:
        """Train to the end; see `Trainer.run`. An epoch is a stage here."""
        stages, saved = self.steps.stages, time.monotonic()
        done, evaluated = self.steps_done, self.history[-1].step if self.history else 0
        if evaluated < done and stages[done - 1] not in stages[done:]:
            self.history.append(self._epoch_record(stages[done - 1], self._loss()))
            save(self, self.history[-1])  # interrupted between a stage's last step and its evaluation
        while self.steps_done < len(stages):
            stage = stages[self.steps_done]
            self.steps.step(self.steps_done)
            self.steps_done += 1
            record = StepRecord(
                stage=stage,
                step=self.steps_done,
                steps=len(stages),
                images=self.images // len(stages),
                loss=self._loss(),
                terms={},
            )
            try:
                watch(record)
                for callback in callbacks:
                    callback.on_step(record)
            except BaseException:
                save(self, None)
                raise
            if stage in stages[self.steps_done :]:
                if time.monotonic() > saved + checkpoint_every_s:
                    save(self, None)
                    saved = time.monotonic()
                continue
            self.history.append(self._epoch_record(stage, record.loss))
            save(self, self.history[-1])
            saved = time.monotonic()
            for callback in callbacks:
                callback.on_epoch(self.history[-1])

    def _loss(self) -> float:
        """Return the mean of −log p(x) over the probe images, in nats."""
        return -float(self.model.log_weight(self.probe.to(self.device)).mean())

    def _epoch_record(self, stage: str, loss: float) -> EpochRecord:
        return EpochRecord(
            stage=stage,
            epoch=len(self.history) + 1,
            step=self.steps_done,
            loss=loss,
            terms={},
            validation={} if self.validation is None else summary(self.model, self.validation),
        )

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the state to resume from besides the counts: numbers for JSON."""
        numbers = {
            "seed": self.seed,
            "recipe": asdict(self.recipe),
            "steps_done": self.steps_done,
            "history": [asdict(record) for record in self.history],
        }
        return numbers, {}

    def restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Restore a state of `state`; the caller restores the counts. Raises RGMError for another recipe's state."""
        try:
            done = TypeAdapter(int).validate_python(numbers.get("steps_done"))
            self.history = TypeAdapter(list[EpochRecord]).validate_python(numbers.get("history"))
        except ValidationError as error:
            raise another_training(" ".join(str(error).split())) from error
        if tensors or not 0 <= done <= len(self.steps.stages):
            raise another_training(f"step {done}")
        self.steps_done = done
