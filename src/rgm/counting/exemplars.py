"""The paper's learning rule: structure from exemplars, then parameters by selective updates, image by image."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.learning import Labels, Pixels, members
from rgm.counting.model import CountingRGM
from rgm.counting.online import Sequential
from rgm.counting.tree import parents
from rgm.counting.updating import update
from rgm.data.images import to_unit
from rgm.errors import RGMError
from rgm.model.bounds import Size


@dataclass(frozen=True, kw_only=True)
class ExemplarRecipe:
    """The paper's learning: every distinct group of the exemplars is a state, then one pass over the images.

    `images` is the number of training images; the first `exemplars` of each class define the structure. `batch_size` is
    1 for the paper's sequential rule, more for its mini-batch variant. A step takes at most `images_a_step` images, in
    whole batches; a stage, after which the model is evaluated, `images_a_stage`.
    """

    images: Size = 10_000
    exemplars: Size = 13
    batch_size: Size = 1
    images_a_step: Size = 250
    images_a_stage: Size = 1000

    @property
    def epochs(self) -> int:
        """Passes over all images."""
        return 1


class PaperLearner:
    """The steps of the paper's learning: the structure, then images in their order. The counts are its only state."""

    probe = 200
    """Number of training images for the loss of a step, their evidence."""

    def __init__(
        self, model: CountingRGM, recipe: ExemplarRecipe, images: Pixels, labels: Labels, *, basis: Pixels | None = None
    ) -> None:
        """Raise RGMError for labels that leave a class without images, or more exemplars than a grid has states.

        Images sorted by class are shuffled, always alike. The patches are fitted to the training images, or to `basis`:
        the paper's leak, its test images among them.
        """
        self.model, self.recipe = model, recipe
        if bool((labels.diff() >= 0).all()):  # sorted by class, as folders are: old counts decay
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[: recipe.images]
            images, labels = images[order], labels[order]
        self.images, self.labels = images[: recipe.images], labels[: recipe.images]
        self.members = members(self.labels, model.num_classes)
        chosen = sum(min(recipe.exemplars, len(places)) for places in self.members)
        least = min(level.states for level in model.config.levels[:-1])
        if chosen > least:
            raise RGMError(
                f"every exemplar may be a state of its own, but a grid has {least} and {chosen} are needed: "
                f"use {least // model.num_classes} of each class"
            )
        self.basis = self.images if basis is None else basis
        batch = recipe.batch_size
        self.images_a_step = max(batch, recipe.images_a_step // batch * batch)  # whole batches
        firsts = range(0, len(self.images), self.images_a_step)
        ends = ((first // recipe.images_a_stage + 1) * recipe.images_a_stage for first in firsts)
        self.stages = ("structure", *(f"{min(end, len(self.images)):,} images" for end in ends))

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Take the `number`-th step, from 0."""
        if number == 0:
            self._structure()
            return
        start = (number - 1) * self.images_a_step
        chunk = slice(start, start + self.images_a_step)
        model, size = self.model, self.recipe.batch_size
        images, labels = to_unit(self.images[chunk].to(model.device)), self.labels[chunk].to(model.device)
        if size == 1 and Sequential.suits(model):
            Sequential(model).observe(images, labels)
            return
        for batch, known in zip(images.split(size), labels.split(size), strict=True):
            update(model, batch, known, select=True)

    def _structure(self) -> None:
        """Make every distinct group of symbols a state, level by level, and link the root's states to their classes."""
        model, smoothing = self.model, self.model.config.smoothing
        leaves, device = model.leaves, model.device
        model.fit_symbols(to_unit(self.basis.to(device)))
        chosen = torch.cat([places[: self.recipe.exemplars] for places in self.members])
        read = model.symbols(to_unit(self.images[chosen].to(device)))
        above = read.unflatten(2, (leaves.variates, leaves.levels - 1))
        shown = torch.cat([1 - above.sum(dim=3, keepdim=True), above], dim=3)
        states = _distinct(list(read))
        model.counts[0].zero_()
        for counts, group, state in zip(model.counts[0], shown, states, strict=True):
            counts[state] = group + smoothing.symbols
        for level in range(len(model.grids) - 1):
            places = parents(model.grids[level], model.grids[level + 1]).tolist()
            groups = [
                torch.stack([state for state, parent in zip(states, places, strict=True) if parent == number], dim=1)
                for number in range(max(places) + 1)
            ]
            upper = _distinct(groups)
            for counts, state, parent in zip(model.link_counts(level).zero_(), states, places, strict=True):
                counts[: int(upper[parent].max()) + 1, : int(state.max()) + 1] = smoothing.links
                counts[upper[parent], state] = 1 + smoothing.links
            states = upper
        top = model.counts[-1].zero_()
        top[:, : int(states[0].max()) + 1] = smoothing.top
        top[self.labels[chosen].to(device), states[0]] += 1


def _distinct(columns: Sequence[Float[Tensor, "n values"] | Int64[Tensor, "n values"]]) -> list[Tensor]:
    """Return, for each table, which of its distinct rows each row is, numbered as they first appear."""
    found = []
    for rows in columns:
        _, place = torch.unique(rows, dim=0, return_inverse=True)
        count = int(place.max()) + 1
        first = torch.full((count,), len(rows), device=rows.device).scatter_reduce(
            0, place, torch.arange(len(rows), device=rows.device), "amin"
        )
        found.append(first.argsort().argsort()[place])
    return found
