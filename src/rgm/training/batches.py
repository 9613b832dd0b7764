"""The batches of a stage: images in random order, augmented, with the known labels."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rgm.data.images import ImageSet, in_colour, to_unit
from rgm.data.jitter import affine, jitter, random_affine
from rgm.data.labels import HIDDEN
from rgm.data.neighbours import typical
from rgm.distributions.noise import BatchSlice, Source, integers, uniform
from rgm.errors import RGMError
from rgm.model.spatial import SpatialRGM
from rgm.runtime.distributed import Processes
from rgm.training.recipe import Recipe, Stage


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A process's part of a batch of `count` images.

    `images` are observations of the likelihood, `views` the same images augmented, `pose` the augmentation of `images`;
    None where the stage has none. `source` generates all further noise, `weight` is this part's weight in the mean over
    the batch, `index` are the indices of the training images.
    """

    count: int
    index: Tensor
    images: Tensor
    views: Tensor | None
    pose: Tensor | None
    labels: Tensor | None
    source: Source
    weight: float


class Batches:
    """The training images of a model and their labels, in batches.

    Raises RGMError where a recipe needs labels and there are none, or there are fewer images than processes.
    """

    def __init__(
        self,
        model: SpatialRGM,
        train: ImageSet,
        validation: ImageSet | None,
        recipe: Recipe,
        processes: Processes,
        *,
        seed: int,
    ) -> None:
        if train.labels is None and any(s.weights.concept and not s.labelled for s in recipe.stages):
            raise RGMError(
                f"this recipe learns concepts from labels, but there are none in {train.source}: take "
                "`.with_hidden_labels()` of it for clusters in their place"
            )
        self.model, self.processes = model, processes
        self.device, self.dtype = model.device, next(model.parameters()).dtype
        self.images = train.images if train.on_disk else train.images.to(self.device)
        self.coloured = in_colour(train)
        self.labels = None if train.labels is None else train.labels.to(self.device)
        known = self.labels is not None and (self.labels != HIDDEN)
        self.labelled = known.nonzero().flatten() if isinstance(known, Tensor) else None
        self.clusters = self.labelled is None or not len(self.labelled)
        if self.clusters and any(stage.labelled for stage in recipe.stages):
            self.labels = typical(train, model.num_classes, seed=seed).to(self.device)
            self.labelled = (self.labels != HIDDEN).nonzero().flatten()
        fewest = min(len(split) for split in (train, validation) if split is not None)
        if processes.count > fewest:
            raise RGMError(f"{processes.count} processes cannot share {fewest} images: start at most as many as images")

    def count(self, stage: Stage) -> int:
        """Return the number of batches of an epoch."""
        return math.ceil(len(self.images) / stage.batch_size)

    def steps(self, stage: Stage) -> int:
        """Return the number of steps of a stage."""
        return max(stage.least_steps, round(stage.epochs * self.count(stage)))

    def rest_of_epoch(self, stage: Stage, epoch: int, step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Return the indices of an epoch's remaining batches after `step` steps of the stage."""
        order = torch.randperm(len(self.images), generator=generator, device=self.device)
        first = epoch * self.count(stage)
        return order.split(stage.batch_size)[step - first : self.steps(stage) - first]

    def batch(self, stage: Stage, index: Tensor, generator: torch.Generator) -> Batch:
        """Return this process's part of a batch of images."""
        if stage.labelled and self.labelled is not None and len(self.labelled):
            shape = (stage.labelled,)
            drawn = torch.randint(len(self.labelled), shape, generator=generator, device=self.device)
            index = torch.cat([index, self.labelled[drawn]])
        count, rows = len(index), self.processes.rows(len(index), self.device)
        augmented, pose = round(stage.augment_share * len(index)), None
        if stage.augment_share:
            pose = torch.zeros(count, 4, device=self.device)
            pose[:augmented] = random_affine(augmented, generator, self.device)
        source: Source = generator
        if self.processes.count > 1:  # other processes have the other rows
            source = BatchSlice(generator, rows, count)
            index, pose = index[rows], None if pose is None else pose[rows]
        unit = self.unit(index)
        if pose is not None:
            local = len(range(self.processes.rank, augmented, self.processes.count))
            pose = pose.to(self.dtype)
            unit = torch.cat([affine(unit[:local], pose[:local]), unit[local:]])
        if stage.mirrored and self.coloured:
            turned = uniform((len(unit), 1, 1, 1), source, self.device) < 0.5
            unit = torch.where(turned, unit.flip(3), unit)
        images = self._observed(shifted(unit, stage.shift, source), source)
        views = None
        if stage.second_view_strength:
            views = self._observed(jitter(unit, source, strength=stage.second_view_strength), source)
        return Batch(
            count=count,
            index=index,
            images=images,
            views=views,
            pose=pose,
            labels=None if self.labels is None else self.labels[index],
            source=source,
            weight=self.processes.weight(count),
        )

    def random(self, count: int, generator: torch.Generator) -> Tensor:
        """Return random training images in [0, 1], with replacement."""
        shape = (min(count, len(self.images)),)
        return self.unit(torch.randint(len(self.images), shape, generator=generator, device=self.device))

    def unit(self, index: Tensor) -> Tensor:
        """Return training images in [0, 1]."""
        return to_unit(self.images[index.to(self.images.device)].to(self.device)).to(self.dtype)

    def _observed(self, images: Tensor, generator: Source) -> Tensor:
        return self.model.observe(images, generator).contiguous(memory_format=torch.channels_last)


def shifted(
    images: Float[Tensor, "n channels height width"], reach: int, generator: Source
) -> Float[Tensor, "n channels height width"]:
    """Return each image shifted by up to `reach` pixels on either axis, with replicated edges."""
    if not reach:
        return images
    count, _, height, width = images.shape
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    down, right = (integers(0, 2 * reach + 1, (count,), generator, images.device) for _ in range(2))
    return windows[torch.arange(count, device=images.device), :, down, right]
