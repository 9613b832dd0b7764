"""The paper's way: structure from a few exemplars, then parameters image by image, kept for what they tell."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.learning import Labels, Pixels, as_unit, members
from rgm.counting.model import CountingRGM
from rgm.counting.online import Sequential
from rgm.counting.updating import update
from rgm.model.bounds import Size


@dataclass(frozen=True, kw_only=True)
class Exemplars:
    """How the paper learns: every distinct group of the exemplars is a state, then each image is seen once.

    `images` are the first so many; the first `exemplars` of each class make the structure. `batch_size` is 1 for the
    paper's sequential rule, more for its mini-batch variant. A step takes `images_a_step` images.
    """

    images: Size = 10_000
    exemplars: Size = 13
    batch_size: Size = 1
    images_a_step: Size = 1000

    @property
    def epochs(self) -> int:
        """Passes over all images."""
        return 1


class PaperLearner:
    """The steps of the paper's learning: the structure, then images in their order; a step leaves counts alone."""

    def __init__(
        self,
        model: CountingRGM,
        recipe: Exemplars,
        images: Pixels,
        labels: Labels,
        *,
        basis: Pixels | None = None,
    ) -> None:
        """Raise RGMError for labels that leave a class without images.

        The patches are fitted to the images that are learned from, or to `basis`: the paper's leak, its test images
        among them.
        """
        self.model, self.recipe = model, recipe
        self.images, self.labels = images[: recipe.images], labels[: recipe.images]
        self.members = members(self.labels, model.num_classes)
        self.basis = self.images if basis is None else basis
        steps = range(0, len(self.images), recipe.images_a_step)
        self._names = ("structure", *(f"images {start + 1:,} on" for start in steps))

    @property
    def names(self) -> tuple[str, ...]:
        """The steps in order."""
        return self._names

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Take the `number`-th step, from 0."""
        if number == 0:
            self._structure()
            return
        start = (number - 1) * self.recipe.images_a_step
        some = slice(start, start + self.recipe.images_a_step)
        images, labels = self.images[some], self.labels[some].to(self.model.device)
        if self.recipe.batch_size == 1:
            Sequential(self.model).see(as_unit(images, self.model.device), labels)
            return
        for batch, known in zip(
            images.split(self.recipe.batch_size), labels.split(self.recipe.batch_size), strict=True
        ):
            update(self.model, as_unit(batch, self.model.device), known, select=True)

    def _structure(self) -> None:
        """Make a state of every distinct group of symbols, level by level, and name the root's after their classes."""
        model, smoothing = self.model, self.model.config.smoothing
        leaves, device = model.leaves, model.device
        leaves.fit(as_unit(self.basis, device))
        chosen = torch.cat([places[: self.recipe.exemplars] for places in self.members])
        read = model.symbols(as_unit(self.images[chosen], device))
        above = read.unflatten(2, (leaves.variates, leaves.levels - 1))
        shown = torch.cat([1 - above.sum(dim=3, keepdim=True), above], dim=3)
        states = _distinct(list(read))
        model.counts[0].zero_()
        for counts, group, state in zip(model.counts[0], shown, states, strict=True):
            counts[state] = group + smoothing.symbols
        for level in range(len(model.grids) - 1):
            parents = model.tables().tree.parents(level).tolist()
            groups = [
                torch.stack(
                    [state for state, parent in zip(states, parents, strict=True) if parent == number], dim=1
                )
                for number in range(max(parents) + 1)
            ]
            upper = _distinct(groups)
            for counts, state, parent in zip(model.link_counts(level).zero_(), states, parents, strict=True):
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
