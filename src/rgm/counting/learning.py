"""Learning a tree by expectation–maximisation on counts: states of groups, prototypes of classes, the whole tree."""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from rgm.counting.emission import Symbols, with_first_level
from rgm.counting.mixture import Batches, Fit, Mixture
from rgm.counting.model import CountingRGM
from rgm.counting.shares import FewRoots
from rgm.counting.tree import expected_messages
from rgm.data.images import moved, moves, to_unit
from rgm.errors import RGMError
from rgm.model.bounds import Size

log = logging.getLogger("rgm")
MOST = 4
"""Pixels that images are moved by, at most: for 41 times as many images."""
Pixels = UInt8[Tensor, "n channels rows columns"]
Labels = Int64[Tensor, " n"]


@dataclass(frozen=True, kw_only=True)
class EMRecipe:
    """How the tree is learned: three kinds of steps, each a few passes over the images in batches, without gradients.

    states      mixtures in every group, of `sample` images at most, in `state_passes` passes
    prototypes  mixtures of whole images in every class, in `prototype_passes` passes; their counts, with those of the
                states that each image's groups have, make the links; at most one for `images_a_prototype` images
    passes      so many passes of expectation–maximisation over the whole tree, exact

    `shift`: every image is also shown moved, by up to so many pixels in all, up or down and to either side, with
    replicated edges: 1 for four more images of each.
    """

    sample: Size = 20_000
    state_passes: Size = 8
    prototype_passes: Size = 8
    images_a_prototype: Size = 10
    passes: int = 1
    batch_size: Size = 1024
    shift: int = 0

    def __post_init__(self) -> None:
        """Raise RGMError for a shift that is no small whole number."""
        if not 0 <= self.shift <= MOST or self.shift != int(self.shift):
            raise RGMError(f"images are moved by up to 0 to {MOST} pixels, not by {self.shift}")

    @property
    def epochs(self) -> int:
        """Passes over all images: for the prototypes, for the links, and over the whole tree."""
        return self.prototype_passes + 1 + self.passes


def shifted() -> EMRecipe:
    """Return the recipe that also shows every image moved by a pixel in each of the four directions."""
    return EMRecipe(shift=1)


KEPT = 2**26
"""Numbers of images' symbols that are kept between passes; more are read again."""
TOGETHER = 512
"""Images whose symbols are counted at once: few enough for a processor's caches."""


class Learner:
    """The steps of expectation–maximisation. The model's counts are its only state."""

    probe = 200
    """Number of training images for the loss of a step, their evidence."""

    def __init__(self, model: CountingRGM, recipe: EMRecipe, images: Pixels, labels: Labels, *, seed: int) -> None:
        """Raise RGMError for labels that leave a class without images, or grids between z_1 and the root."""
        if len(model.grids) != 2:
            raise RGMError(
                f"expectation–maximisation learns one grid of groups under the root, but the model has "
                f"{len(model.grids) - 1}: use the recipe ExemplarRecipe"
            )
        self.model, self.recipe, self.images, self.seed = model, recipe, images, seed
        self.moves = moves(recipe.shift)
        self.members = [self._moved(places) for places in members(labels, model.num_classes)]
        self.per_class = model.config.levels[-2].states // model.num_classes
        passes = tuple(f"pass {number + 1}" for number in range(recipe.passes))
        self._sample: Batches | None = None
        self.stages = ("states",) * recipe.state_passes + ("prototypes",) * model.num_classes + passes

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Take a step, from 0."""
        match self.stages[number]:
            case "states":
                self._states(number)
            case "prototypes":
                self._prototypes(number - self.recipe.state_passes)
            case _:
                self._pass()

    def roots(self, concept: int) -> slice:
        """Return the root states that are a class's own."""
        return slice(concept * self.per_class, (concept + 1) * self.per_class)

    def _states(self, number: int) -> None:
        """Learn the states of every group, one pass further.

        Until links are learned, they hold the states' frequencies in their group, and a class has a single prototype,
        of the last ones, which are learned last.
        """
        model = self.model
        order = torch.randperm(len(self.images) * len(self.moves), generator=self._generator())[: self.recipe.sample]
        shares = model.link_counts(0)
        fit = self._fit(model.leaves.weights())
        if number == 0:
            model.fit_symbols(to_unit(self._shown(order).to(model.device)))
        if self._sample is None:
            self._sample = self._kept(order, self._symbols)
        batches = self._sample
        if number == 0:
            first = order[torch.arange(model.config.levels[0].states) % len(order)]
            starts = torch.cat(list(self._symbols(first)), dim=1)
            found = fit.start(starts, batches)
        else:
            found = Mixture(model.counts[0], shares[:, -1])
        found = fit.em_pass(found, batches)
        model.counts[0].copy_(found.counts)
        shares.copy_(found.shares[:, None].expand_as(shares))
        model.counts[-1].zero_()[:, -model.num_classes :].fill_diagonal_(1)

    def _prototypes(self, concept: int) -> None:
        """Learn a class's prototypes from its images' symbols, and count their groups' states."""
        model, smoothing, self._sample = self.model, self.model.config.smoothing, None
        shares = model.link_counts(0)[:, -1].clone()  # the last class's links come last
        places, fit = self.members[concept], self._fit(None)
        count = min(self.per_class, max(1, len(places) // len(self.moves) // self.recipe.images_a_prototype))
        order = torch.randperm(len(places), generator=self._generator(concept + 1))
        starts = torch.cat(list(self._wholes(places[order[:count]])), dim=1)
        batches = self._kept(places, self._wholes)
        found = fit.start(starts, batches)
        for _ in range(self.recipe.prototype_passes):
            found = fit.em_pass(found, batches)
        group = Mixture(model.counts[0], shares)
        likelihood, weighted = fit.emission(found), self._fit(model.leaves.weights()).emission(group)
        own = self.roots(concept)
        links = torch.zeros_like(model.link_counts(0)[:, own])
        sizes = torch.zeros_like(model.counts[-1][concept, own])
        for whole in (part for batch in batches() for part in batch.split(TOGETHER, dim=1)):
            prototype = found.log_joint(likelihood, whole)[0].softmax(dim=1)
            states = group.log_joint(weighted, _groups(whole, len(shares))).softmax(dim=2)
            few = FewRoots.of(prototype, len(states))
            links[:, :count] += torch.matmul(prototype.T, states) if few is None else few.expected(states)
            sizes[:count] += prototype.sum(dim=0)
        prior = smoothing.links * shares[:, None]
        model.link_counts(0)[:, own] = links + prior
        model.counts[-1][concept] = 0
        model.counts[-1][concept, own] = sizes + smoothing.top * (torch.arange(len(sizes)) < count).to(sizes)

    def _fit(self, weights: Tensor | None) -> Fit:
        smoothing = self.model.config.smoothing
        return Fit(
            levels=self.model.leaves.levels, smoothing=smoothing.symbols, outliers=smoothing.outliers, weights=weights
        )

    def _generator(self, key: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * 6364136223846793005 + key) % 2**63)

    def _kept(self, places: Tensor, read: Callable[[Tensor], Iterator[Symbols]]) -> Batches:
        """Return the symbols of images for several passes: read once where they are few enough to be kept."""
        leaves = self.model.leaves
        if len(places) * math.prod(leaves.grid) * leaves.variates * (leaves.levels - 1) > KEPT:
            return partial(read, places)
        batches = list(read(places))
        return lambda: batches

    def _symbols(self, places: Tensor) -> Iterator[Float[Tensor, "groups n symbols"]]:
        for batch in places.split(self.recipe.batch_size):
            yield self.model.symbols(to_unit(self._shown(batch).to(self.model.device)))

    def _moved(self, places: Int64[Tensor, " places"]) -> Int64[Tensor, " shown"]:
        """Return the numbers of images with those of their moved copies, which are counted on by moves."""
        return torch.cat([places + move * len(self.images) for move in range(len(self.moves))])

    def _shown(self, numbers: Int64[Tensor, " n"]) -> Pixels:
        """Return images, moved or not, by their numbers."""
        count = len(self.images)
        images = self.images[numbers % count]
        return images if len(self.moves) == 1 else moved(images, numbers // count, self.moves)

    def _wholes(self, places: Tensor) -> Iterator[Float[Tensor, "1 n symbols"]]:
        return map(_whole, self._symbols(places))

    def _pass(self) -> None:
        """Replace the counts of the whole tree by the expected counts over all images, given their classes."""
        model, tables = self.model, self.model.tables()
        above = torch.zeros_like(model.counts[0][..., 1:].flatten(2))
        sizes = torch.zeros_like(model.counts[0][:, :, 0, 0])
        links, top = map(torch.zeros_like, model.counts[1:])
        for concept, places in enumerate(self.members):
            own = self.roots(concept)
            for read in (part for batch in self._symbols(places) for part in batch.split(TOGETHER, dim=1)):
                upward = tables.tree.up(tables.weighted.log_prob(read), own)
                root = (upward.root + tables.log_top[concept, own]).softmax(dim=1)
                pairs = tables.tree.down(upward, root, own)
                above.baddbmm_(pairs.marginals[0].transpose(1, 2), read)
                sizes += pairs.marginals[0].sum(dim=1)
                links[:, own] += expected_messages(upward.messages[0], pairs.shares[0])
                top[concept, own] += root.sum(dim=0)
        links *= tables.tree.links[0]
        symbols = with_first_level(above, sizes, model.leaves.levels)
        smoothing = model.config.smoothing
        mean = symbols.sum(dim=1, keepdim=True)
        mean = mean / mean.sum(dim=3, keepdim=True)
        model.counts[0].copy_(symbols + smoothing.symbols * mean)
        base = links.sum(dim=1, keepdim=True) + 1
        model.link_counts(0).copy_(links + smoothing.links * base / base.sum(dim=2, keepdim=True))
        model.counts[-1].copy_(top + smoothing.top * (model.counts[-1] > 0))


def members(labels: Labels, classes: int) -> list[Int64[Tensor, " places"]]:
    """Return the indices of each class's images; raise RGMError for a class without images, or an unknown label."""
    if int(labels.min()) < 0:
        raise RGMError("a counting model learns every class from its own images: it needs every image's label")
    found = [(labels == concept).nonzero().flatten() for concept in range(classes)]
    missing = [str(concept) for concept, places in enumerate(found) if not len(places)]
    if missing:
        raise RGMError(
            f"no image is of class {', '.join(missing)}: a counting model learns every class from its own images; "
            "number the classes from 0 without gaps"
        )
    return found


def _groups(whole: Float[Tensor, "1 n all_symbols"], groups: int) -> Float[Tensor, "groups n symbols"]:
    """Return the symbols of each group, given those of all groups as one."""
    return whole[0].unflatten(1, (groups, -1)).transpose(0, 1)


def _whole(symbols: Float[Tensor, "groups n symbols"]) -> Float[Tensor, "1 n all_symbols"]:
    """Return the symbols of all groups as one group."""
    return symbols.permute(1, 0, 2).flatten(1)[None]
