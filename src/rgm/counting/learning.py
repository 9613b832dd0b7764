"""Learning a tree by expectation–maximisation on counts: states of groups, prototypes of classes, the whole tree."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from rgm.counting.emission import expected_symbols
from rgm.counting.mixture import mixture
from rgm.counting.model import CountingRGM
from rgm.counting.tree import expected_pairs
from rgm.errors import RGMError
from rgm.model.bounds import Size

log = logging.getLogger("rgm")
Pixels = UInt8[Tensor, "n channels rows columns"]
Labels = Int64[Tensor, " n"]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """How the tree is learned: three kinds of step, each a few passes over images in batches, none with a gradient.

    states      mixtures in every group, of `sample` images at most, in `state_passes` passes
    prototypes  mixtures of whole images in every class, in `prototype_passes` passes; their counts, with those of the
                states that each image's groups have, make the links
    passes      so many passes of expectation–maximisation over the whole tree, exact
    """

    sample: Size = 20_000
    state_passes: Size = 8
    prototype_passes: Size = 8
    passes: int = 0
    batch_size: Size = 1024

    @property
    def epochs(self) -> int:
        """Passes over all images."""
        return self.prototype_passes + 1 + self.passes

    @property
    def names(self) -> tuple[str, ...]:
        """The steps in order."""
        return ("states", "prototypes", *(f"pass {number + 1}" for number in range(self.passes)))


class Learner:
    """The steps of one learning; what a step leaves is in the model's counts alone."""

    def __init__(
        self, model: CountingRGM, recipe: Expectation, images: Pixels, labels: Labels, *, seed: int
    ) -> None:
        """Raise RGMError for labels that leave a class without images, or grids between z_1 and the root."""
        if len(model.grids) != 2:
            raise RGMError(
                f"expectation–maximisation learns one grid of groups under the root, but the model has "
                f"{len(model.grids) - 1}: take the recipe Exemplars"
            )
        self.model, self.recipe, self.images, self.seed = model, recipe, images, seed
        self.members = members(labels, model.num_classes)
        self.per_class = model.config.levels[-2].states // model.num_classes

    @property
    def names(self) -> tuple[str, ...]:
        """The steps in order."""
        return self.recipe.names

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Take the `number`-th step, from 0."""
        generator = torch.Generator().manual_seed(self.seed + number)
        match self.recipe.names[number]:
            case "states":
                self._states(generator)
            case "prototypes":
                self._prototypes(generator)
            case _:
                self._pass()

    def roots(self, concept: int) -> slice:
        """Return the root states that are a class's own."""
        return slice(concept * self.per_class, (concept + 1) * self.per_class)

    def batches(self, places: Tensor) -> Iterator[Float[Tensor, "n channels rows columns"]]:
        """Yield images in [0, 1], where the model is."""
        for some in places.split(self.recipe.batch_size):
            yield as_unit(self.images[some], self.model.device)

    def _states(self, generator: torch.Generator) -> None:
        """Learn the states of every group, level by level: a level's states are the next one's symbols."""
        model, leaves, smoothing = self.model, self.model.leaves, self.model.config.smoothing
        order = torch.randperm(len(self.images), generator=generator)[: self.recipe.sample]
        leaves.fit(as_unit(self.images[order], model.device))
        count = model.config.levels[0].states
        starts = torch.cat([model.symbols(batch) for batch in self.batches(_repeated(order, count))], dim=1)
        # Each group starts from other images, so that no image sets all groups' states.
        shuffled = torch.stack(
            [group[torch.randperm(count, generator=generator).to(group.device)] for group in starts]
        )
        found = mixture(
            lambda: (model.symbols(batch) for batch in self.batches(order)),
            shuffled,
            leaves.levels,
            passes=self.recipe.state_passes,
            smoothing=smoothing.symbols,
            outliers=smoothing.outliers,
            weights=leaves.weights(),
        )
        model.counts[0].copy_(found.counts)
        # Until there are links, every state is as common as it is in its group.
        model.link_counts(0).copy_((found.sizes + 1)[:, None].expand_as(model.link_counts(0)))

    def _prototypes(self, generator: torch.Generator) -> None:
        """Learn prototypes of every class from its images' symbols, and count which states their groups have."""
        model, leaves, smoothing = self.model, self.model.leaves, self.model.config.smoothing
        links, top = torch.zeros_like(model.link_counts(0)), torch.zeros_like(model.counts[-1])
        shares = model.link_counts(0)[:, :1]
        reading = model.tables().reading
        for concept, places in enumerate(self.members):
            count = min(self.per_class, len(places))
            chosen = places[torch.randperm(len(places), generator=generator)[:count]]
            starts = torch.cat(list(self._wholes(chosen)), dim=1)
            found = mixture(
                partial(self._wholes, places),
                starts,
                leaves.levels,
                passes=self.recipe.prototype_passes,
                smoothing=smoothing.symbols,
                outliers=smoothing.outliers,
            )
            said, log_shares = found.emission(smoothing.outliers), found.log_shares()
            roots = slice(concept * self.per_class, concept * self.per_class + count)
            for batch in self.batches(places):
                symbols = model.symbols(batch)
                prototype = (said.log_prob(_whole(symbols)) + log_shares)[0].softmax(dim=1)
                states = (reading.log_prob(symbols) + shares.log()).softmax(dim=2)
                links[:, roots] += torch.matmul(prototype.T, states)
                top[concept, roots] += prototype.sum(dim=0)
        self._keep(None, [links], top)

    def _wholes(self, places: Tensor) -> Iterator[Float[Tensor, "1 n symbols"]]:
        return (_whole(self.model.symbols(batch)) for batch in self.batches(places))

    def _pass(self) -> None:
        """Sum the expected counts of the whole tree over all images, given their classes, and take them for the new."""
        model, leaves = self.model, self.model.leaves
        tables = model.tables()
        symbols, links, top = (
            torch.zeros_like(model.counts[0]),
            [torch.zeros_like(counts) for counts in model.counts[1:-1]],
            torch.zeros_like(model.counts[-1]),
        )
        for concept, places in enumerate(self.members):
            own = self.roots(concept)
            for batch in self.batches(places):
                read = model.symbols(batch)
                upward = tables.tree.up(tables.reading.log_prob(read), own)
                root = (upward.root + tables.log_top[concept, own]).softmax(dim=1)
                pairs = tables.tree.down(upward, root, own)
                symbols += expected_symbols(pairs.marginals[0], read, leaves.levels)
                for level, counts in enumerate(links):
                    last = level == len(links) - 1
                    link = tables.tree.links[level][:, own] if last else tables.tree.links[level]
                    found = expected_pairs(upward.messages[level], pairs.shares[level], link)
                    (counts[:, own] if last else counts).add_(found)
                top[concept, own] += root.sum(dim=0)
        self._keep(symbols, links, top)

    def _keep(self, symbols: Tensor | None, links: list[Tensor], top: Tensor) -> None:
        """Take expected counts for the model's, each with its prior."""
        smoothing = self.model.config.smoothing
        if symbols is not None:
            mean = symbols.sum(dim=1, keepdim=True)
            mean = mean / mean.sum(dim=3, keepdim=True).clamp_min(1e-9)
            self.model.counts[0].copy_(symbols + smoothing.symbols * mean)
        for level, counts in enumerate(links):
            base = counts.sum(dim=1, keepdim=True) + 1
            prior = smoothing.links * base / base.sum(dim=2, keepdim=True)
            self.model.link_counts(level).copy_(counts + prior)
        self.model.counts[-1].copy_(top + 0.5 * (top > 0))


def members(labels: Labels, classes: int) -> list[Int64[Tensor, " places"]]:
    """Return where each class's images are; raise RGMError where one has none, or a label is unknown."""
    if int(labels.min()) < 0:
        raise RGMError(
            "a counting model learns every class from its own images: it needs every image's label"
        )
    found = [(labels == concept).nonzero().flatten() for concept in range(classes)]
    missing = [str(concept) for concept, places in enumerate(found) if not len(places)]
    if missing:
        raise RGMError(
            f"no image is of class {', '.join(missing)}: a counting model learns every class from its own images; "
            "number the classes from 0 without gaps"
        )
    return found


def as_unit(images: Pixels, device: torch.device) -> Float[Tensor, "n channels rows columns"]:
    """Return bytes as numbers in [0, 1], on a device."""
    return images.to(device).float().div_(255)


def _whole(symbols: Float[Tensor, "groups n symbols"]) -> Float[Tensor, "1 n all_symbols"]:
    """Return all groups' symbols as one group's."""
    return symbols.permute(1, 0, 2).flatten(1)[None]


def _repeated(places: Tensor, count: int) -> Tensor:
    """Return the first `count` of some places, again from the first where there are fewer."""
    return places[torch.arange(count) % len(places)]
