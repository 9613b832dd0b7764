"""The training loop of neural models."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rgm.data.images import ImageSet
from rgm.distributions.noise import seeded
from rgm.errors import RGMError
from rgm.measures import hardly_needed
from rgm.model.estimator import CodebookHead
from rgm.model.spatial import SpatialRGM
from rgm.runtime.device import hold_memory
from rgm.runtime.distributed import current
from rgm.runtime.progress import Callback, EpochRecord, StepRecord, Watch
from rgm.storage.tensors import misfits
from rgm.training.batches import Batch, Batches
from rgm.training.critic import Critic
from rgm.training.engine import Engine
from rgm.training.objective import Loss, loss
from rgm.training.optimisers import Optimisers, another_training
from rgm.training.recipe import Recipe, Stage, Weights
from rgm.training.summary import summary
from rgm.training.trainer import FitResult, Records, Trainer, finished, restored

RELOCATION_IMAGES = 128
"""Number of training images for the estimate of the least needed code."""
_CRITIC = "weights.critic."
"""Before the names of a critic's weights in a checkpoint."""


class _Objective(nn.Module):
    """The loss as a module, for `DistributedDataParallel`."""

    def __init__(self, model: SpatialRGM, critic: Critic | None) -> None:
        super().__init__()
        self.model, self.critic = model, critic

    def forward(self, batch: Batch, weights: Weights) -> Loss:
        """Return `loss` of a batch."""
        return loss(
            *(self.model, batch.images, batch.labels, weights, batch.source),
            views=batch.views,
            pose=batch.pose,
            weight=batch.weight,
            critic=self.critic,
        )


@dataclass
class Position:
    """Progress of a training: stage, steps and closed epochs of it; the running sums of the current epoch."""

    stage: int = 0
    step: int = 0
    epoch: int = 0
    batches: int = 0
    sums: dict[str, float] = field(default_factory=dict)


class NeuralTrainer(Trainer):
    """Training of a model by a recipe.

    All randomness is a function of the seed and the step: a training resumed at any step is bit-identical to an
    uninterrupted one.
    """

    model: SpatialRGM
    recipe: Recipe

    def __init__(
        self,
        model: SpatialRGM,
        train: ImageSet,
        validation: ImageSet | None,
        recipe: Recipe,
        *,
        seed: int,
        engine: Engine = Engine(),  # noqa: B008 - frozen
    ) -> None:
        self.processes, self.validation = current(), validation
        self.batches = Batches(model, train, validation, recipe, self.processes, seed=seed)
        # Channels last is the fastest order for convolutions; it changes no shape.
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.seed, self.engine = recipe, seed, engine
        engine.prepare(self.model)
        self.free = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.device = model.device
        self.position = Position()
        self.history = []
        self._optimise(self.stage)

    @property
    def stage(self) -> Stage:
        """The current stage."""
        return self.recipe.stages[self.position.stage]

    @property
    def finished(self) -> bool:
        """Whether the last stage is done."""
        return self.position.stage == len(self.recipe.stages) - 1 and self._stage_done

    @property
    def _stage_done(self) -> bool:
        return self.position.step == self.batches.steps(self.stage) and not self.position.batches

    @property
    def steps_done(self) -> int:
        """Steps done so far, over all stages."""
        return sum(map(self.batches.steps, self.recipe.stages[: self.position.stage])) + self.position.step

    def _optimise(self, stage: Stage) -> None:
        """Create the stage's optimisers."""
        self.critic = self._critic() if stage.weights.adversarial else None
        self.optimisers = Optimisers(self.model, stage, self.free, self.critic)
        objective = _Objective(self.model, self.critic)
        self.objective: nn.Module = (
            objective
            if self.processes.count == 1
            else DistributedDataParallel(objective, find_unused_parameters=True, broadcast_buffers=False)
        )

    def _critic(self) -> Critic:
        """Return an untrained critic, the same in every process."""
        with seeded(self._key(self.position.stage, 3)):
            critic = Critic(self.model.config.image[0]).to(self.device, next(self.model.parameters()).dtype)
        return critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _generator(self, *key: int) -> torch.Generator:
        """Return a generator that depends only on the seed and a key."""
        return torch.Generator(self.device).manual_seed(self._key(*key))

    def _key(self, *key: int) -> int:
        """Return a seed that depends only on the seed of all and a key."""
        mixed = self.seed
        for part in key:
            mixed = (mixed * 6364136223846793005 + part + 1442695040888963407) % 2**63
        return mixed

    def records(self) -> Records:
        """Train to the end; see `Trainer.records`."""
        hold_memory()
        self._train_mode()
        try:
            while not self.finished:
                if self._stage_done:
                    self.position = Position(stage=self.position.stage + 1)
                    self._optimise(self.stage)
                    self._train_mode()
                place = self.position
                order = self._generator(place.stage, place.epoch)
                for index in self.batches.rest_of_epoch(self.stage, place.epoch, place.step, order):
                    yield self._step(index)
                yield self._close_epoch()
        finally:
            self.model.eval()
            for weight in self.free:
                weight.requires_grad_()

    def _train_mode(self) -> None:
        """Set the model to training mode, but grids that the stage does not train: their unused codes stay."""
        self.model.train()
        if self.stage.trains != "everything":
            for level in range(1, self.model.depth):
                self.model.recognition(level).eval()

    def _step(self, index: Tensor) -> StepRecord:
        stage, steps = self.stage, self.batches.steps(self.stage)
        done = self.position.step / steps
        batch = self.batches.batch(stage, index, self._generator(self.position.stage, self.position.step, 1))
        relocation = stage.relocation if isinstance(self.model.recognition(1).head, CodebookHead) else None
        weights = stage.weights_at(done, relocates=relocation is not None)
        with self.engine.context(self.device):
            result = self.objective(batch, weights)
        total, *parts = torch.stack([result.total, *result.terms.values()]).detach().tolist()
        terms = dict(zip(result.terms, parts, strict=True))
        if not math.isfinite(total):
            raise self._not_finite(total, terms, batch.index)
        self.optimisers.step(result.total, stage.rate_at(done))
        self.position.step += 1
        self.position.batches += 1
        if relocation and relocation.due(self.position.step, steps):
            images = self.batches.random(RELOCATION_IMAGES, self._generator(self.position.stage, self.position.step, 2))
            self.model.eval()
            relocate(self.model, images, relocation.need)
            self._train_mode()
        for name, value in {"loss": total, **terms}.items():
            self.position.sums[name] = self.position.sums.get(name, 0.0) + value
        steps = sum(map(self.batches.steps, self.recipe.stages))
        return StepRecord(
            stage=stage.name, step=self.steps_done, steps=steps, images=batch.count, loss=total, terms=terms
        )

    def _not_finite(self, total: float, terms: dict[str, float], index: Tensor) -> RGMError:
        """Return the error for a loss that is not finite, with the step, the batch and the terms."""
        broken = [name for name, value in terms.items() if not math.isfinite(value)]
        place = self.position.step - self.position.epoch * self.batches.count(self.stage) + 1
        images = ", ".join(map(str, index[:5].tolist()))
        return RGMError(
            f"the loss became {total} at step {self.steps_done + 1}, batch {place} of epoch "
            f"{self.position.epoch + 1} of stage {self.stage.name!r} (training images {images}"
            f"{', …' if len(index) > 5 else ''}), by its term {' and '.join(broken) or 'weights'} ("
            f"{', '.join(f'{name} {value:.4g}' for name, value in terms.items())}): training stopped, the last "
            "checkpoint is intact; check for images that are not in [0, 1], or lower the learning rate"
        )

    def _close_epoch(self) -> EpochRecord:
        means = {name: value / self.position.batches for name, value in self.position.sums.items()}
        self.position.sums, self.position.batches = {}, 0
        self.position.epoch += 1
        validation = {}
        if self.validation is not None:
            validation = summary(self.model, self.validation, clusters=self.batches.clusters)
        return EpochRecord(
            stage=self.stage.name,
            epoch=self.position.epoch,
            step=self.steps_done,
            loss=means.pop("loss"),
            terms=means,
            validation=validation,
        )

    # Checkpoints

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the state to resume from: numbers for JSON, and the optimisers' tensors by name.

        Raises RGMError where a weight is not finite.
        """
        for name, weight in self.model.named_parameters():
            if not weight.isfinite().all():
                raise RGMError(
                    f"the weights {name} are no longer finite after step {self.steps_done} "
                    f"(stage {self.stage.name!r}): training stopped, the last checkpoint is intact; lower the "
                    "learning rate"
                )
        tensors = self.optimisers.state()
        if self.critic is not None:
            tensors |= {f"{_CRITIC}{name}": value for name, value in self.critic.state_dict().items()}
        return self.numbers() | {"position": asdict(self.position)}, tensors

    def restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Restore a state of `state`; the caller restores the weights. Raises RGMError for another recipe's state."""
        self.position = restored(Position, numbers.get("position"))
        self.history = restored(list[EpochRecord], numbers.get("history"))
        place, stages = self.position, self.recipe.stages
        if not (
            0 <= place.stage < len(stages)
            and 0 <= place.step <= self.batches.steps(self.stage)
            and 0 <= place.epoch * self.batches.count(self.stage) <= place.step + self.batches.count(self.stage)
            and 0 <= place.batches <= place.step
        ):
            raise another_training(f"no position {place} exists in it")
        self._optimise(self.stage)
        learned = {name.removeprefix(_CRITIC): tensors[name] for name in tensors if name.startswith(_CRITIC)}
        self.optimisers.restore({name: tensors[name] for name in tensors if not name.startswith(_CRITIC)})
        if problems := misfits(self.critic.state_dict() if self.critic else {}, learned):
            raise another_training(f"of its critic, {problems[0]}")
        if self.critic is not None:
            self.critic.load_state_dict(learned)


def train(
    model: SpatialRGM,
    images: ImageSet,
    recipe: Recipe,
    *,
    seed: int,
    validation: ImageSet | None = None,
    watch: Watch = lambda _: None,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Train a model by a recipe, in memory; see `rgm.training.run` for training with a run folder."""
    return finished(NeuralTrainer(model, images, validation, recipe, seed=seed), watch, callbacks)


@torch.no_grad()
def relocate(model: SpatialRGM, images: Float[Tensor, "n channels rows columns"], need: float) -> list[int]:
    """Mark hardly needed codes as unused, at most one of every 32, and return them; the next step moves them."""
    head = model.recognition(1).head
    assert isinstance(head, CodebookHead)
    states = model.latent_dim
    most = math.ceil(states / 32)
    codes = hardly_needed(model.decode, model.read(images)[0], images, states, need / (3 * states), most)
    head.usage[codes] = 0.0
    return codes
