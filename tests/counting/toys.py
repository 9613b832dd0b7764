"""Trees small enough to enumerate, and sums over their joint states in float64."""

import math
from itertools import pairwise
from typing import Any

import torch
from scipy.stats import chi2
from torch import Tensor

from rgm.counting.config import CountingConfig, PixelSymbols, RankedSymbols, Smoothing
from rgm.counting.model import CountingRGM
from rgm.counting.tree import Grid, Tree
from rgm.model.stored import Level
from rgm.training.fit import fit

FLAT = ((2, 2), (1, 1))
DEEP = ((4, 2), (2, 1), (1, 1))
GRIDS = {"flat": FLAT, "deep": DEEP}


def fitted(model: CountingRGM, images: Any, labels: Any, **options: Any) -> CountingRGM:
    """Return a model after `rgm.fit`."""
    result = fit(model, images, labels, device="cpu", **options).model
    assert result is model
    return model


def nearest(place: int, fine: int, coarse: int) -> int:
    """Return the nearest of `coarse` evenly spaced centroids, the later of two equally near."""
    doubled = [abs((2 * place + 1) * coarse - (2 * other + 1) * fine) for other in range(coarse)]
    return max(range(coarse), key=lambda other: (-doubled[other], other))


def parent(cell: int, below: Grid, above: Grid) -> int:
    row, column = divmod(cell, below[1])
    return nearest(row, below[0], above[0]) * above[1] + nearest(column, below[1], above[1])


class Joint:
    """Every joint state of a tree, all levels, and its log-probability given the root: `codes[ℓ]` is (cells, all)."""

    def __init__(self, grids: tuple[Grid, ...], links: list[Tensor]) -> None:
        self.grids, self.links = grids, [link.double() for link in links]
        states = [links[0].shape[2], *(link.shape[1] for link in links)]
        sizes = [count for count, grid in zip(states, grids, strict=True) for _ in range(math.prod(grid))]
        place, every = torch.arange(math.prod(sizes)), []
        for size in sizes:
            every.append(place % size)
            place = place // size
        cells = [math.prod(grid) for grid in grids]
        self.codes = list(torch.stack(every).split(cells))
        self.states = states
        self.root = self.codes[-1][0]
        # log p(z_ℓ | z_{ℓ+1}) of each level below the root
        self.log_links = []
        for level, (below, above) in enumerate(pairwise(grids)):
            log = torch.zeros(len(self.root), dtype=torch.float64)
            for cell in range(math.prod(below)):
                up = self.codes[level + 1][parent(cell, below, above)]
                log += self.links[level][cell, up, self.codes[level][cell]].log()
            self.log_links.append(log)

    def of_leaves(self, leaves: Tensor) -> Tensor:
        """Return log p(leaves | z_1) of every joint state, for one image's leaves (cells, states)."""
        cells = torch.arange(len(leaves))[:, None]
        return leaves.double()[cells, self.codes[0]].sum(dim=0)

    def log(self, leaves: Tensor) -> Tensor:
        """Return log p(leaves, z below the root | root)."""
        return sum(self.log_links) + self.of_leaves(leaves)

    def by_root(self, log: Tensor) -> Tensor:
        """Return the log of the sum over joint states of the same root state."""
        return torch.stack([log[self.root == root].logsumexp(0) for root in range(self.states[-1])])

    def marginal(self, weights: Tensor, level: int) -> Tensor:
        """Return each cell's distribution over its states, (cells, states), for weights of the joint states."""
        size = self.states[level]
        return torch.stack([code.bincount(weights, minlength=size) for code in self.codes[level]])

    def pairs(self, weights: Tensor, level: int) -> Tensor:
        """Return how often each cell and its parent are in each pair of states, (cells, parent's, own)."""
        above, below = self.states[level + 1], self.states[level]
        found = []
        for cell, code in enumerate(self.codes[level]):
            up = self.codes[level + 1][parent(cell, self.grids[level], self.grids[level + 1])]
            found.append((up * below + code).bincount(weights, minlength=above * below).view(above, below))
        return torch.stack(found)

    def number(self, z1: Tensor) -> Tensor:
        """Return a number for each grid of z_1, for counting."""
        return _number(z1.flatten(1).T, self.states[0])

    @property
    def numbers(self) -> Tensor:
        return _number(self.codes[0], self.states[0])


def _number(codes: Tensor, base: int) -> Tensor:
    return sum(code * base**cell for cell, code in enumerate(codes))


def random_links(grids: tuple[Grid, ...], states: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
    links = []
    for grid, below, above in zip(grids, states, states[1:], strict=False):
        counts = torch.empty(math.prod(grid), above, below, dtype=torch.float64)
        counts.exponential_(generator=generator)
        links.append(counts / counts.sum(dim=2, keepdim=True))
    return links


def random_tree(grids: tuple[Grid, ...], states: tuple[int, ...], generator: torch.Generator) -> tuple[Tree, Joint]:
    links = random_links(grids, states, generator)
    return Tree(grids, links), Joint(grids, links)


def config(
    grids: tuple[Grid, ...] = FLAT,
    *,
    side: int = 2,
    states: int = 3,
    roots: int = 4,
    classes: int = 2,
    channels: int = 1,
    weights: tuple[float, float] = (0.5, 0.5),
    **smoothing: float,
) -> CountingConfig:
    """Return a model of pixels under grids, those between z_1 and the root of two states."""
    between = [2] * (len(grids) - 2)
    return CountingConfig(
        image=(channels, grids[0][0] * side, grids[0][1] * side),
        symbols=PixelSymbols(side=side, pixel_weight=weights[0], edge_weight=weights[1]),
        levels=(
            *(Level(grid=grid, states=count) for grid, count in zip(grids, (states, *between, roots), strict=True)),
            Level(grid=(1, 1), states=classes),
        ),
        smoothing=Smoothing(**smoothing),
    )


def toy(kind: str = "flat", *, seed: int = 0, **options: object) -> CountingRGM:
    """Return a model in float64 with random counts."""
    torch.manual_seed(seed)
    options.setdefault("states", 3 if kind == "flat" else 2)
    return CountingRGM(config(GRIDS[kind], **options)).double().eval()


def ranked(classes: int = 3, exemplars: int = 3) -> CountingRGM:
    """Return the paper's model with few states, in float64."""
    torch.manual_seed(0)
    count = classes * exemplars
    return (
        CountingRGM(
            CountingConfig(
                image=(1, 28, 28),
                symbols=RankedSymbols(),
                levels=(
                    *(Level(grid=(side, side), states=count) for side in (4, 2, 1)),
                    Level(grid=(1, 1), states=classes),
                ),
                smoothing=Smoothing(symbols=1 / 16, links=1 / 16, top=1 / 128, outliers=0.0),
            )
        )
        .double()
        .eval()
    )


class Enumerated:
    """The p(x, z, c) of a model of pixels, summed over every state."""

    def __init__(self, model: CountingRGM) -> None:
        self.model = model
        _, *links, top = (counts.double() for counts in model.counts)
        self.joint = Joint(model.grids, [link / link.sum(dim=2, keepdim=True) for link in links])
        self.log_top = (top / top.sum(dim=1, keepdim=True)).log()

    def leaves(self, image: Tensor, *, likelihood: bool, visible: Tensor | None = None) -> Tensor:
        """Return log p(symbols | z_1) of one image, (cells, states): symbol by symbol, each with its weight."""
        model = self.model
        counts, symbols = model.counts[0].double(), model.leaves.read(image[None])[:, 0].double()
        outliers, pixels = model.config.smoothing.outliers, model.leaves.pixels
        weigh = (1.0, 0.0) if likelihood else (model.config.symbols.pixel_weight, model.config.symbols.edge_weight)
        found = torch.zeros(counts.shape[:2], dtype=torch.float64)
        for variate in range(counts.shape[2]):
            off, on = counts[:, :, variate].unbind(dim=2)
            chance = (1 - 2 * outliers) * on / (on + off) + outliers
            shown = symbols[:, variate, None]
            log = shown * chance.log() + (1 - shown) * (1 - chance).log()
            shows = 1.0 if visible is None else visible[:, variate, None].double()
            found += shows * log * weigh[variate >= pixels]
        return found

    def log(self, image: Tensor, *, likelihood: bool, visible: Tensor | None = None) -> Tensor:
        """Return log p(x, z | c) of every joint state, (classes, all)."""
        below = self.joint.log(self.leaves(image, likelihood=likelihood, visible=visible))
        return self.log_top[:, self.joint.root] + below

    def evidence(self, image: Tensor, *, likelihood: bool, visible: Tensor | None = None) -> Tensor:
        """Return log p(x | c), (classes,)."""
        return self.log(image, likelihood=likelihood, visible=visible).logsumexp(dim=1)

    def given(self, z1: Tensor, keep: Tensor) -> Tensor:
        """Return log p(z | c) of every joint state whose cells in `keep` have the codes of one grid, else −∞."""
        fits = (self.joint.codes[0] == z1.flatten()[:, None]) | ~keep.flatten()[:, None]
        return self.log_top[:, self.joint.root] + sum(self.joint.log_links) + fits.all(dim=0).double().log()


def assert_drawn_from(numbers: Tensor, chances: Tensor, *, least: float = 5) -> None:
    """Check by χ², at p = 0.001, that numbers are samples of these probabilities, rare ones pooled."""
    assert not (chances[numbers] == 0).any(), "an impossible state was sampled"
    expected = chances.double() / chances.sum() * len(numbers)
    observed = numbers.bincount(minlength=len(chances)).double()
    rare = expected < least
    expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    observed = torch.cat([observed[~rare], observed[rare].sum()[None]])
    used = expected > 0
    statistic = float(((observed - expected).square() / expected)[used].sum())
    freedom = int(used.sum()) - 1
    assert freedom > 0
    assert statistic < chi2.ppf(0.999, freedom), f"χ² = {statistic:.1f} with {freedom} degrees of freedom"
