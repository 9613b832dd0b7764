"""The loop: a model, images and a recipe in, a trained model and its history out."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rgm.data.images import ImageSet, to_unit
from rgm.data.jitter import jitter, posed, random_pose
from rgm.data.labels import HIDDEN, typical
from rgm.device import hold_memory
from rgm.errors import RGMError
from rgm.model.estimator import CodebookHead
from rgm.model.spatial import SpatialRGM
from rgm.noise import Share, Source, integers
from rgm.processes import current
from rgm.progress import Callback, EpochRecord, StepRecord, Watch
from rgm.training.engine import Engine
from rgm.training.muon import Muon
from rgm.training.objective import Loss, loss
from rgm.training.recipe import Recipe, Relocation, Stage, Weights
from rgm.training.relocation import IMAGES, relocate
from rgm.training.summary import summary


class _Objective(nn.Module):
    """The loss as a module, whose gradients processes share."""

    def __init__(self, model: SpatialRGM) -> None:
        super().__init__()
        self.model = model

    def forward(self, *batch: Any) -> Loss:
        """Return `loss` of a batch."""
        return loss(self.model, *batch)


Keep = Callable[["Training", EpochRecord | None], None]


@dataclass
class Position:
    """Where a training stands: stage, steps of it, closed epochs of it; the running sums of the epoch under way."""

    stage: int = 0
    step: int = 0
    epoch: int = 0
    batches: int = 0
    sums: dict[str, float] = field(default_factory=dict)


class Training:
    """A model on its way through a recipe.

    All randomness is a function of the seed and the step, never of what ran before: a training that is taken up
    again at any step goes on as if it had not stopped.
    """

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
        if train.labels is None and any(s.weights.concept and not s.labelled for s in recipe.stages):
            raise RGMError(
                f"this recipe learns concepts from labels, but there are none in {train.source}: take "
                "`.with_hidden_labels()` of it for clusters in their place"
            )
        # Channels last is the order in which convolutions are fastest; it changes no shape.
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.seed, self.engine = recipe, seed, engine
        engine.prepare(self.model)
        self.free = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.device, self.dtype = model.device, next(model.parameters()).dtype
        self.images = train.images if train.on_disk else train.images.to(self.device)
        self.labels = None if train.labels is None else train.labels.to(self.device)
        known = self.labels is not None and (self.labels != HIDDEN)
        self.labelled = known.nonzero().flatten() if isinstance(known, Tensor) else None
        self.clusters = self.labelled is None or not len(self.labelled)
        if self.clusters and any(stage.labelled for stage in recipe.stages):
            self.labels = typical(train, model.num_classes, seed=seed).to(self.device)
            self.labelled = (self.labels != HIDDEN).nonzero().flatten()
        self.validation = validation
        self.processes = current()
        fewest = min(len(split) for split in (train, validation) if split is not None)
        if self.processes.count > fewest:
            raise RGMError(
                f"{self.processes.count} processes cannot share {fewest} images: start as many at most as images"
            )
        self.position = Position()
        self.history: list[EpochRecord] = []
        self._optimise(self.stage)

    @property
    def stage(self) -> Stage:
        """The stage under way."""
        return self.recipe.stages[self.position.stage]

    @property
    def finished(self) -> bool:
        """Whether the last stage is done."""
        return self.position.stage == len(self.recipe.stages) - 1 and self._stage_done

    @property
    def _stage_done(self) -> bool:
        return self.position.step == self._steps(self.stage) and not self.position.batches

    @property
    def total_steps(self) -> int:
        """Steps of all stages."""
        return sum(self._steps(stage) for stage in self.recipe.stages)

    @property
    def steps_done(self) -> int:
        """Steps done so far, over all stages."""
        return sum(map(self._steps, self.recipe.stages[: self.position.stage])) + self.position.step

    def _batches(self, stage: Stage) -> int:
        return math.ceil(len(self.images) / stage.batch_size)

    def _steps(self, stage: Stage) -> int:
        return max(stage.least_steps, round(stage.epochs * self._batches(stage)))

    def _optimise(self, stage: Stage) -> None:
        """Make the stage's optimisers: Adam, and Muon for what lies between hidden layers."""
        parts = {"everything": self.model, "prior": self.model.priors, "concept": self.model.recognitions[-1]}
        rest, hidden = list(parts[stage.trains].parameters()), list[nn.Parameter]()
        moving = {id(weight) for weight in rest}
        for weight in self.free:  # no gradient is worked out for what does not move
            weight.requires_grad_(id(weight) in moving)
        if stage.muon:
            found = [w for level in range(1, self.model.depth) for w in self.model.prior(level).hidden()]
            found += self.model.recognition(self.model.depth).hidden()
            hidden = [weight for weight in found if id(weight) in moving]
            rest = [weight for weight in rest if not any(weight is taken for taken in hidden)]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(rest, lr=stage.learning_rate, fused=True),
            *([Muon(hidden, lr=stage.muon)] if hidden else []),
        ]
        objective = _Objective(self.model)
        self.objective: nn.Module = (
            objective
            if self.processes.count == 1
            else DistributedDataParallel(objective, find_unused_parameters=True, broadcast_buffers=False)
        )

    def _schedule(self) -> float:
        """Return the share of the stage's learning rates that holds at this step."""
        if self.stage.schedule == "constant":
            return 1.0
        done, warm = self.position.step / self._steps(self.stage), 0.1
        if done < warm:
            return 0.04 + 0.96 * done / warm
        return 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))

    def _weights(self) -> Weights:
        stage, done = self.stage, self.position.step / self._steps(self.stage)
        weights = stage.weights
        if done < stage.warm_up:
            weights = replace(weights, rate=weights.rate * done / stage.warm_up)
        if self._relocation and done >= self._relocation.start:
            weights = replace(weights, usage=0.0)
        return weights

    @property
    def _relocation(self) -> Relocation | None:
        """When the stage moves codes; None for an estimator without a codebook, which has none to move."""
        has_codebook = isinstance(self.model.recognition(1).head, CodebookHead)
        return self.stage.relocation if has_codebook else None

    def _generator(self, *key: int) -> torch.Generator:
        """Return a generator that depends on the seed and a key alone."""
        mixed = self.seed
        for part in key:
            mixed = (mixed * 6364136223846793005 + part + 1442695040888963407) % 2**63
        return torch.Generator(self.device).manual_seed(mixed)

    def _rest_of_epoch(self) -> tuple[Tensor, ...]:
        """Return the batches of the epoch under way that are still to come, as indices."""
        generator = self._generator(self.position.stage, self.position.epoch)
        order = torch.randperm(len(self.images), generator=generator, device=self.device)
        first = self.position.epoch * self._batches(self.stage)
        return order.split(self.stage.batch_size)[
            self.position.step - first : self._steps(self.stage) - first
        ]

    def run(
        self,
        watch: Watch,
        keep: Keep,
        *,
        keep_every: float = math.inf,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """Go on to the end.

        `watch` and `callbacks` see every step; `keep` and `callbacks` every epoch; `keep` the state every `keep_every`
        seconds within one, and where one of the others interrupts by raising.
        """
        hold_memory()
        kept = time.monotonic()
        self.model.train()
        try:
            while not self.finished:
                if self._stage_done:
                    self.position = Position(stage=self.position.stage + 1)
                    self._optimise(self.stage)
                for index in self._rest_of_epoch():
                    record = self._step(index)
                    try:
                        watch(record)
                        for callback in callbacks:
                            callback.on_step(record)
                    except BaseException:
                        keep(self, None)
                        raise
                    if time.monotonic() > kept + keep_every:
                        keep(self, None)
                        kept = time.monotonic()
                self.history.append(self._close_epoch())
                keep(self, self.history[-1])
                kept = time.monotonic()
                for callback in callbacks:
                    callback.on_epoch(self.history[-1])
        finally:
            self.model.eval()
            for weight in self.free:
                weight.requires_grad_()

    def _step(self, index: Tensor) -> StepRecord:
        generator = self._generator(self.position.stage, self.position.step, 1)
        if self.stage.labelled and self.labelled is not None and len(self.labelled):
            shape = (self.stage.labelled,)
            drawn = torch.randint(len(self.labelled), shape, generator=generator, device=self.device)
            index = torch.cat([index, self.labelled[drawn]])
        batch, rows = len(index), self.processes.rows(len(index), self.device)
        some, pose = round(self.stage.posed * len(index)), None
        if self.stage.posed:
            pose = torch.zeros(batch, 4, device=self.device)
            pose[:some] = random_pose(some, generator, self.device)
        source: Source = generator
        if self.processes.count > 1:  # the others have the batch's other rows
            source = Share(generator, rows, batch)
            index, pose = index[rows], None if pose is None else pose[rows]
        unit = to_unit(self.images[index.to(self.images.device)].to(self.device)).to(self.dtype)
        if pose is not None:
            moved = len(range(self.processes.rank, some, self.processes.count))
            pose = pose.to(self.dtype)
            unit = torch.cat([posed(unit[:moved], pose[:moved]), unit[moved:]])
        images = self._seen(shifted(unit, self.stage.shift, source), source)
        views = None
        if self.stage.looks:
            views = self._seen(jitter(unit, source, strength=self.stage.looks), source)
        labels = None if self.labels is None else self.labels[index]
        weight = self.processes.weight(batch)
        with self.engine.context(self.device):
            result = self.objective(images, labels, self._weights(), source, views, pose, weight)
        total, *parts = torch.stack([result.total, *result.terms.values()]).detach().tolist()
        terms = dict(zip(result.terms, parts, strict=True))
        if not math.isfinite(total):
            raise self._not_finite(total, terms, index)
        for optimizer, rate in zip(
            self.optimizers, (self.stage.learning_rate, self.stage.muon), strict=False
        ):
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = rate * self._schedule()
        result.total.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.position.step += 1
        self.position.batches += 1
        relocation = self._relocation
        if relocation and relocation.due(self.position.step, self._steps(self.stage)):
            self._relocate(relocation)
        for name, value in {"loss": total, **terms}.items():
            self.position.sums[name] = self.position.sums.get(name, 0.0) + value
        return StepRecord(
            stage=self.stage.name,
            step=self.steps_done,
            steps=self.total_steps,
            images=batch,
            loss=total,
            terms=terms,
        )

    def _relocate(self, relocation: Relocation) -> None:
        """Give up a code that is hardly needed, if one is: the same in every process."""
        shape = (min(IMAGES, len(self.images)),)
        generator = self._generator(self.position.stage, self.position.step, 2)
        some = torch.randint(len(self.images), shape, generator=generator, device=self.device)
        images = to_unit(self.images[some.to(self.images.device)].to(self.device)).to(self.dtype)
        self.model.eval()
        relocate(self.model, images, relocation.need)
        self.model.train()

    def _not_finite(self, total: float, terms: dict[str, float], index: Tensor) -> RGMError:
        """Return the error for a loss that is no number: the step, the batch and the terms to blame."""
        broken = [name for name, value in terms.items() if not math.isfinite(value)]
        place = self.position.step - self.position.epoch * self._batches(self.stage) + 1
        images = ", ".join(map(str, index[:5].tolist()))
        return RGMError(
            f"the loss became {total} at step {self.steps_done + 1}, batch {place} of epoch "
            f"{self.position.epoch + 1} of stage {self.stage.name!r} (training images {images}"
            f"{', …' if len(index) > 5 else ''}), by its term {' and '.join(broken) or 'weights'} ("
            f"{', '.join(f'{name} {value:.4g}' for name, value in terms.items())}): training stopped, the last "
            "checkpoint is as it was; look for images that are not in [0, 1], or lower the learning rate"
        )

    def _seen(self, images: Tensor, generator: Source) -> Tensor:
        return self.model.likelihood.observe(images, generator).contiguous(memory_format=torch.channels_last)

    def _close_epoch(self) -> EpochRecord:
        means = {name: value / self.position.batches for name, value in self.position.sums.items()}
        self.position.sums, self.position.batches = {}, 0
        self.position.epoch += 1
        return EpochRecord(
            stage=self.stage.name,
            epoch=self.position.epoch,
            step=self.steps_done,
            loss=means.pop("loss"),
            terms=means,
            validation={}
            if self.validation is None
            else summary(self.model, self.validation, clusters=self.clusters),
        )

    # What a checkpoint keeps beside the model

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return what is needed to go on: numbers for JSON, and the optimisers' tensors by name.

        Raises RGMError where a weight has become infinite or no number: such a state is not one to go on from.
        """
        for name, weight in self.model.named_parameters():
            if not weight.isfinite().all():
                raise RGMError(
                    f"the weights {name} are no longer finite after step {self.steps_done} "
                    f"(stage {self.stage.name!r}): training stopped, the last checkpoint is as it was; lower the "
                    "learning rate"
                )
        tensors: dict[str, Tensor] = {}
        for which, optimizer in enumerate(self.optimizers):
            for number, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"{which}.{number}.{slot}": value for slot, value in slots.items()}
        numbers = {
            "seed": self.seed,
            "recipe": asdict(self.recipe),
            "position": asdict(self.position),
            "history": [asdict(record) for record in self.history],
        }
        return numbers, tensors

    def restore(self, numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take up a training where `state` left it; the model's own weights are restored by the caller.

        Raises RGMError for a state that is not of this recipe.
        """
        try:
            self.position = TypeAdapter(Position).validate_python(numbers.get("position"))
            self.history = TypeAdapter(list[EpochRecord]).validate_python(numbers.get("history"))
        except ValidationError as error:
            raise _not_of_this(" ".join(str(error).split())) from error
        place, stages = self.position, self.recipe.stages
        if not (
            0 <= place.stage < len(stages)
            and 0 <= place.step <= self._steps(self.stage)
            and 0 <= place.epoch * self._batches(self.stage) <= place.step + self._batches(self.stage)
            and 0 <= place.batches <= place.step
        ):
            raise _not_of_this(f"no training by it stands at {place}")
        self._optimise(self.stage)
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in self.optimizers]
        slots = self._slots()
        for name, value in tensors.items():
            which, number, slot = (*name.split("."), "", "")[:3]
            shape = slots.get((which, number), {}).get(slot)
            if value.shape != shape or not value.is_floating_point():
                raise _not_of_this(
                    f"its optimisers have no {name} of {value.dtype} and shape {tuple(value.shape)}"
                )
            # In the parameters' own memory order, which the fused optimiser takes for granted.
            laid = value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
            states[int(which)].setdefault(int(number), {})[slot] = laid
        for optimiser, kept in enumerate(states):
            for weight, found in kept.items():
                if found.keys() != slots[str(optimiser), str(weight)].keys():
                    raise _not_of_this(f"its optimisers keep {', '.join(found)} alone of weights {weight}")
        for optimizer, state in zip(self.optimizers, states, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _slots(self) -> dict[tuple[str, str], dict[str, torch.Size]]:
        """Return what each optimiser keeps of each of its weights, by name, and its shape."""
        found: dict[tuple[str, str], dict[str, torch.Size]] = {}
        for which, optimizer in enumerate(self.optimizers):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            for number, weight in enumerate(weights):
                names = ("momentum_buffer",) if which else ("exp_avg", "exp_avg_sq")
                shapes = dict.fromkeys(names, weight.shape)
                found[str(which), str(number)] = shapes | ({} if which else {"step": torch.Size()})
        return found


def _not_of_this(reason: str) -> RGMError:
    return RGMError(f"the checkpoint holds the state of another training than this recipe's: {reason}")


def shifted(
    images: Float[Tensor, "n channels height width"], reach: int, generator: Source
) -> Float[Tensor, "n channels height width"]:
    """Return each image moved by up to `reach` pixels on either axis, its edges repeated."""
    if not reach:
        return images
    count, _, height, width = images.shape
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    down, right = (integers(0, 2 * reach + 1, (count,), generator, images.device) for _ in range(2))
    return windows[torch.arange(count, device=images.device), :, down, right]


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """A trained model (the one handed in) with its history and how long it took."""

    model: SpatialRGM
    history: tuple[EpochRecord, ...]
    elapsed_s: float


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
    """Train a model by a recipe, in memory alone; see `rgm.training.run` for a training that leaves a folder."""
    start = time.perf_counter()
    training = Training(model, images, validation, recipe, seed=seed)
    training.run(watch, lambda *_: None, callbacks=callbacks)
    return FitResult(model=model, history=tuple(training.history), elapsed_s=time.perf_counter() - start)
