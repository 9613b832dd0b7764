"""Stepwise expectation–maximisation of deep trees over pixel values: a start by clustering, then expected counts."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from rgm.counting.chow_liu import class_trees, conditional_information, spanning_tree
from rgm.counting.emission import ValueEmission, add_expected_values
from rgm.counting.forest import Forest
from rgm.counting.learning import Labels, Pixels, members
from rgm.counting.model import CountingRGM
from rgm.counting.patterns import PatternSums
from rgm.counting.tree import Tree, parents
from rgm.counting.windows import codebook, codes, nearest, patches, sampled_windows
from rgm.data.images import moved, moves, to_unit
from rgm.model.bounds import Size

PATCHES = (4, 16)
"""Clusters of a cell's pixels that the mutual information of cells distinguishes: the fewest, and the most."""
EVIDENCE = 8
"""Images of a class for each pair of clusters; with fewer images there are fewer clusters."""
INFORMED = 20_000
"""Images that the edges of a Chow–Liu tree are learned from: at most so many."""
AT_ONCE = 128
"""Images that are read at once at the start, times a small number."""
MESSAGES = 2**25
"""Maximum numbers in the messages of the images whose counts are expected at once."""
STAGE = "expectation–maximisation"
"""The only stage: the model is evaluated at its end alone, which takes as long as a pass."""
MOVES = moves(1)
"""No move, and one pixel in each direction."""
ROOT = 7
"""Side of the images that are clustered to prototypes."""


@dataclass(frozen=True, kw_only=True)
class StepwiseRecipe:
    """How a deep tree is learned: a start, then stepwise expectation–maximisation (Cappé and Moulines 2009).

    The start clusters the windows of cells, level by level, counts the clusters, and learns the edges of a Chow–Liu
    tree. Each of `passes` over the images takes steps of `batch_size`: counts ← (1 − η) counts + η · N / n · expected
    counts of the batch. η falls geometrically from `first_step` to `last_step`. With a batch of all images and η = 1 it
    is expectation–maximisation (Dempster, Laird and Rubin 1977). With `moved` each image of a batch is counted once
    more with this weight, moved by a pixel up, down or to either side, at random.
    """

    windows: Size = 60_000
    cluster_passes: Size = 12
    passes: Size = 6
    batch_size: Size = 5_000
    first_step: Annotated[float, Field(gt=0, le=1)] = 0.5
    last_step: Annotated[float, Field(gt=0, le=1)] = 0.05
    moved: Annotated[float, Field(ge=0)] = 1.0

    @property
    def epochs(self) -> int:
        """Passes over all images: one for the start's counts, and those of expectation–maximisation."""
        return 1 + self.passes


class StepwiseLearner:
    """The steps of a `StepwiseRecipe`. The model's counts, and its edges, are its only state."""

    probe = 32

    def __init__(
        self, model: CountingRGM, recipe: StepwiseRecipe, images: Pixels, labels: Labels, *, seed: int
    ) -> None:
        """Raise RGMError for labels that leave a class without images."""
        self.model, self.recipe, self.images, self.labels, self.seed = model, recipe, images, labels, seed
        self.members = members(labels, model.num_classes)
        self.per_pass = max(1, round(len(images) / recipe.batch_size))
        self.per_class = model.config.levels[-2].states // model.num_classes
        self.stages = (STAGE,) * (1 + recipe.passes * self.per_pass)

    @torch.no_grad()
    def step(self, number: int) -> None:
        """Take a step, from 0."""
        if number == 0:
            self._start()
            return
        last = max(1, len(self.stages) - 2)
        recipe = self.recipe
        rate = recipe.first_step * (recipe.last_step / recipe.first_step) ** ((number - 1) / last)
        self._update(rate, self._batch(number - 1), torch.Generator().manual_seed((self.seed + number) % 2**63))

    def _batch(self, number: int) -> list[Int64[Tensor, " some"]]:
        """Return the images of a step by class: every pass shuffles each class anew."""
        passed, part = divmod(number, self.per_pass)
        found = []
        for concept, places in enumerate(self.members):
            key = (self.seed * 6364136223846793005 + passed * 65_537 + concept + 1) % 2**63
            order = torch.randperm(len(places), generator=torch.Generator().manual_seed(key))
            found.append(places[order].tensor_split(self.per_pass)[part])
        return found

    def _update(self, rate: float, batch: list[Int64[Tensor, " some"]], generator: torch.Generator) -> None:
        """Move the counts by a step of size `rate` towards the expected counts of a batch, scaled to all images.

        Counts are kept by class where they are of a class alone: each class's are scaled by its own share.
        """
        model = self.model
        total = Totals(model)
        for concept, places in enumerate(batch):
            if not len(places):
                continue
            scale = len(self.members[concept]) / len(places)
            for part in places.split(total.at_once):
                images = self.images[part]
                total.add(self._read(images), concept, scale=scale)
                if self.recipe.moved:
                    which = torch.randint(1, len(MOVES), (len(part),), generator=generator)
                    total.add(self._read(moved(images, which, MOVES)), concept, scale=scale * self.recipe.moved)
        for counts, more in zip(model.counts, total.counts, strict=True):
            counts.mul_(1 - rate).add_(more, alpha=rate)

    def _read(self, images: Pixels) -> Float[Tensor, "n channels rows columns"]:
        return to_unit(images.to(self.model.device)).to(self.model.dtype)

    def _start(self) -> None:
        """Cluster every level's windows, learn the edges, and count."""
        model, config = self.model, self.model.config
        generator = torch.Generator().manual_seed(self.seed % 2**63)
        centres = []
        for level in config.levels[:-2]:
            some = sampled_windows(self._units(self._some(generator)), level.grid, self.recipe.windows, generator)
            centres.append(codebook(some, level.states, passes=self.recipe.cluster_passes, generator=generator))
        prototypes = [self._prototypes(places, generator) for places in self.members]
        if config.is_forest:
            model.get_buffer("parents").copy_(self._edges(generator))
        for counts in model.counts:
            counts.zero_()
        for concept, places in enumerate(self.members):
            for part in places.split(2 * AT_ONCE):
                units = self._units(part)
                levels = [
                    codes(units, level.grid, centre) for level, centre in zip(config.levels, centres, strict=False)
                ]
                root = codes(_small(units), (1, 1), prototypes[concept]) if self.per_class > 1 else None
                own = torch.zeros(len(part), 1, dtype=torch.int64) if root is None else root
                self._count(units.to(model.device), concept, [*levels, own + concept * self.per_class])

    def _count(self, images: Tensor, concept: int, levels: list[Int64[Tensor, "n _"]]) -> None:
        """Add images to the counts, given the states of every level, the root's last."""
        model = self.model
        device = model.device
        read, first = model.leaves.read(images), levels[0].T.to(device)  # (cells, n)
        symbols, *links, top = model.counts
        states = symbols.shape[1]
        cells = torch.arange(len(first), device=device)[:, None]
        for variate in range(model.leaves.variates):
            place = (cells * states + first) * model.leaves.levels + read[:, :, variate]
            found = place.flatten().bincount(minlength=symbols[:, :, 0].numel())
            symbols[:, :, variate] += found.view(symbols[:, :, 0].shape).to(symbols)
        root = levels[-1][:, 0].to(device)
        top[concept] += root.bincount(minlength=top.shape[1]).to(top)
        if model.config.is_forest:
            for tree in root.unique().tolist():
                edges, own = model.edges()[tree][:, None], first[:, root == tree]
                above = torch.where(edges >= 0, own[edges[:, 0].clamp_min(0)], 0)
                place = (cells * states + above) * states + own
                found = place.flatten().bincount(minlength=links[0][tree].numel())
                links[0][tree] += found.view(links[0][tree].shape).to(top)
            return
        for level, counts in enumerate(links):
            below = levels[level].T.to(device)
            above = levels[level + 1].T.to(device)[parents(model.grids[level], model.grids[level + 1]).to(device)]
            cells = torch.arange(len(below), device=device)[:, None]
            place = (cells * counts.shape[1] + above) * counts.shape[2] + below
            counts += place.flatten().bincount(minlength=counts.numel()).view(counts.shape).to(counts)

    def _prototypes(self, places: Tensor, generator: torch.Generator) -> Float[Tensor, "prototypes features"]:
        """Return the cluster centres of a class's images."""
        if self.per_class == 1:
            return torch.zeros(1, 1)
        some = places[torch.randperm(len(places), generator=generator)[: self.recipe.batch_size]]
        small = _small(self._units(some))
        found = sampled_windows(small, (1, 1), len(small), generator)
        return codebook(found, self.per_class, passes=self.recipe.cluster_passes, generator=generator)

    def _edges(self, generator: torch.Generator) -> Int64[Tensor, "*classes cells"]:
        """Return the parents in the Chow–Liu tree of the cells' clustered pixels, given the class or of each class."""
        model, grid = self.model, self.model.config.levels[0].grid
        some = torch.randperm(len(self.images), generator=generator)[:INFORMED]
        fewest, most = PATCHES
        levels = min(max(fewest, math.isqrt(len(some) // (EVIDENCE * model.num_classes))), most)
        own = patches(self._units(self._some(generator)), grid).transpose(1, 2).flatten(0, 1)
        centres = codebook(own, levels, passes=self.recipe.cluster_passes, generator=generator)
        parts = some.split(4 * AT_ONCE)
        numbers = torch.cat([nearest(patches(self._units(part), grid), centres) for part in parts])
        labels = self.labels[some]
        if model.config.structure == "chow-liu":
            return spanning_tree(conditional_information(numbers, labels, levels), grid)
        return class_trees(numbers, labels, levels, grid, model.num_classes)

    def _some(self, generator: torch.Generator) -> Int64[Tensor, " some"]:
        return torch.randperm(len(self.images), generator=generator)[: 16 * AT_ONCE]

    def _units(self, places: Tensor) -> Float[Tensor, "n channels rows columns"]:
        return to_unit(self.images[places])


class Totals:
    """Expected counts of images under a model as it is, summed over batches of one class each."""

    def __init__(self, model: CountingRGM) -> None:
        symbols, *links, top = model.counts
        self.model, self.tables = model, model.tables()
        self.values = torch.zeros_like(symbols.permute(2, 0, 3, 1), memory_format=torch.contiguous_format)
        self.links, self.top = [torch.zeros_like(link) for link in links], torch.zeros_like(top)
        self.at_once = max(1, MESSAGES // math.prod(symbols.shape[:2]))
        tree, likelihood = self.tables.tree, self.tables.likelihood
        self.sums: PatternSums | None = None
        if isinstance(tree, Forest):
            assert isinstance(likelihood, ValueEmission)
            self.sums = PatternSums(tree, likelihood.scaled(), self.links[0], self.values)

    @property
    def counts(self) -> list[Tensor]:
        """The sums, in the order of the model's counts."""
        return [self.values.permute(1, 3, 0, 2), *self.links, self.top]

    def add(self, images: Float[Tensor, "n channels rows columns"], concept: int, *, scale: float = 1.0) -> None:
        """Add the expected counts of images of one class, under p(z | x, c), times `scale`."""
        tables, (classes, roots) = self.tables, self.top.shape
        own = slice(concept * (roots // classes), (concept + 1) * (roots // classes))
        read, log_top = self.model.symbols(images), tables.log_top[concept, own]
        if self.sums is not None:
            root = self.sums.add(read, log_top, own, scale)
        else:
            assert isinstance(tables.tree, Tree)
            root, first, links = tables.tree.expected(tables.likelihood.log_prob(read), log_top, own)
            add_expected_values(self.values, first * scale if scale != 1 else first, read)
            for level, counts in enumerate(links):
                into = self.links[level]
                if level == len(links) - 1:
                    into = into[:, own]
                into.add_(counts, alpha=scale)
        self.top[concept, own] += scale * root.sum(dim=0)


def expected_totals(
    model: CountingRGM, images: Float[Tensor, "n channels rows columns"], labels: Int64[Tensor, " n"]
) -> list[Tensor]:
    """Return the expected counts of labelled images under p(z | x, c), in the order of `model.counts`."""
    total = Totals(model)
    for concept in labels.unique().tolist():
        for part in images[labels == concept].split(total.at_once):
            total.add(part, concept)
    return total.counts


def _small(images: Tensor) -> Tensor:
    """Return images of at most 7 × 7, for clustering whole images."""
    rows, columns = (min(ROOT, side) for side in images.shape[2:])
    return torch.nn.functional.adaptive_avg_pool2d(images, (rows, columns))
