"""The posterior of a tree: upward and downward passes from images or codes."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rgm.counting.config import CountingConfig, PixelValues
from rgm.counting.emission import Emission, ValueEmission, emission
from rgm.counting.forest import Forest, Layers
from rgm.counting.shares import MANY
from rgm.counting.smoothing import smoothed_forest, smoothed_links, smoothed_values
from rgm.counting.symbols import leaves
from rgm.counting.tree import Pairs, Tree, Upward
from rgm.distributions.noise import exponential
from rgm.errors import RGMError
from rgm.model.generative import RGM, Codes, Images
from rgm.runtime.device import shapes_alone

LARGEST = 2**24
"""Maximum numbers in a message of a chunk of a batch."""
PASSES = 4
"""Messages of that size that a forest holds at once; larger ones would be allocated anew each time."""

Visible = Bool[Tensor, "#n rows columns"]


@dataclass(frozen=True)
class Tables:
    """Quantities derived from the counts: the tree's links, p(root | class), emissions and appearances of states.

    `weighted` has the weights of symbols for inference of codes and classes, `likelihood` those in p(image).
    """

    tree: Tree | Forest
    log_top: Float[Tensor, "classes roots"]
    weighted: Emission | ValueEmission
    likelihood: Emission | ValueEmission
    appearance: Float[Tensor, "groups states features"]

    @cached_property
    def top(self) -> Float[Tensor, "classes roots"]:
        """p(root | class)."""
        return self.log_top.exp()

    @cached_property
    def own(self) -> list[slice]:
        """The root states of each class from its first to its last possible one."""
        return [_extent(row > -torch.inf) for row in self.log_top]

    @cached_property
    def log_any(self) -> Float[Tensor, " roots"]:
        """log Σ_c p(root | c)."""
        return self.log_top.logsumexp(dim=0)

    def log_evidence(self, root: Float[Tensor, "n roots"]) -> Float[Tensor, "n classes"]:
        """Return log p(x | c), given log p(x | root)."""
        found = [(root[:, own] + log[own]).logsumexp(dim=1) for own, log in zip(self.own, self.log_top, strict=True)]
        return torch.stack(found, dim=1)


class TreePosterior(RGM):
    """The counts of a tree, and its exact posterior by sum–product."""

    config: CountingConfig
    kind = "counting"
    config_type = CountingConfig
    exact_weights = ("leaves.", "parents")  # rounding them would change symbols and edges
    packed_type = torch.bfloat16  # counts exceed float16's range
    together_on_cpu = 512  # the tables, larger than the caches, are read once for so many

    def __init__(self, config: CountingConfig) -> None:
        super().__init__()
        self.config = config
        grids = [level.grid for level in config.levels[:-1]]
        self.leaves = leaves(config.symbols, config.image, grids[0])
        states = [level.states for level in config.levels[:-1]]
        if self.leaves.grid != grids[0]:
            raise RGMError(
                f"the symbols form a grid of {self.leaves.grid} groups, but z1 has {grids[0]} in the configuration"
            )
        if config.smoothing.outliers * self.leaves.levels >= 1:
            raise RGMError(
                f"outliers are a share of each of {self.leaves.levels} levels, less than 1 / {self.leaves.levels}, but "
                f"{config.smoothing.outliers:g} was requested"
            )
        self.grids = tuple(grids)
        groups = [rows * columns for rows, columns in grids]
        self._count("symbol_counts", groups[0], states[0], self.leaves.variates, self.leaves.levels)
        if config.is_forest:
            self._count("link_counts_1", states[1], groups[0], states[0], states[0])
            parents = comb(*grids[0])
            self.register_buffer(
                "parents", parents if config.structure == "chow-liu" else parents.repeat(config.levels[-1].states, 1)
            )
        else:
            for level in range(len(grids) - 1):
                self._count(f"link_counts_{level + 1}", groups[level], states[level + 1], states[level])
        self._count("top_counts", config.levels[-1].states, states[-1])
        self._derived: tuple[list[Tensor], list[int], Tables] | None = None
        self._layers: tuple[Tensor, int, tuple[Layers, ...]] | None = None

    def _count(self, name: str, *shape: int) -> None:
        counts = torch.empty(shape)
        self.register_buffer(name, counts if shapes_alone() else counts.exponential_())

    @property
    def counts(self) -> list[Tensor]:
        """All Dirichlet counts, from the symbols to the class."""
        links = [self.link_counts(level) for level in range(len(self.grids) - 1)]
        return [self.get_buffer("symbol_counts"), *links, self.get_buffer("top_counts")]

    @property
    def size(self) -> int:
        """Number of counts, all levels together."""
        return sum(counts.numel() for counts in self.counts)

    def link_counts(self, level: int) -> Float[Tensor, "*trees cells parents states"]:
        """Return the counts of p(z_ℓ | z_{ℓ+1}); levels count from 0 here, as in `Tree`.

        In a Chow–Liu tree they are (roots, cells, parent's states, states), with the top cell's own in its row 0.
        """
        return self.get_buffer(f"link_counts_{level + 1}")

    @property
    def has_values(self) -> bool:
        """Whether the leaves are pixel values."""
        return isinstance(self.config.symbols, PixelValues)

    def edges(self) -> Int64[Tensor, "roots cells"]:
        """Return the parent of each cell in the tree of each root state, −1 for the top."""
        parents = torch.atleast_2d(self.get_buffer("parents"))
        roots = self.config.levels[-2].states
        return parents.repeat_interleave(roots // len(parents), dim=0)

    def layers(self) -> tuple[Layers, ...]:
        """Return the layers of the tree of each root state, by the buffer `parents`."""
        parents = self.get_buffer("parents")
        if self._layers is None or self._layers[0] is not parents or self._layers[1] != parents._version:
            different = [Layers.of(tree.cpu()).to(parents.device) for tree in torch.atleast_2d(parents)]
            same = self.config.levels[-2].states // len(different)
            self._layers = (parents, parents._version, tuple(one for one in different for _ in range(same)))
        return self._layers[2]

    def tables(self) -> Tables:
        """Return the quantities derived from the current counts."""
        counts = self.counts
        if self.config.is_forest:
            counts = [*counts, self.get_buffer("parents")]
        versions = [array._version for array in counts]
        if self._derived is not None:
            known, then, tables = self._derived  # the tensors, since ids are reused
            if then == versions and all(map(operator.is_, known, counts)):
                return tables
        self._derived = (counts, versions, self._smoothed() if self.has_values else self._derive(*counts))
        return self._derived[2]

    def _derive(self, symbols: Tensor, *rest: Tensor) -> Tables:
        *links, top = rest
        outliers, exists = self.config.smoothing.outliers, self.leaves.exists().to(symbols.device)
        tiny = torch.finfo(symbols.dtype).tiny
        existing = symbols * exists[:, None, :, None]
        normalised = [link / link.sum(dim=2, keepdim=True).clamp_min(tiny) for link in links]
        return Tables(
            tree=Tree(self.grids, normalised, _extent(top.sum(dim=0) > 0)),
            log_top=(top / top.sum(dim=1, keepdim=True).clamp_min(tiny)).log(),
            weighted=emission(existing, outliers=outliers, weights=self.leaves.weights()),
            likelihood=emission(existing, outliers=outliers, weights=self.leaves.likelihood_weights()),
            appearance=self.leaves.appearance(symbols / symbols.sum(dim=3, keepdim=True).clamp_min(tiny)),
        )

    def _smoothed(self) -> Tables:
        """Return the tables of pixel values, whose counts are smoothed here (`rgm.counting.smoothing`)."""
        symbols, *links, top = self.counts
        smoothing = self.config.smoothing
        shares = smoothed_values(symbols, smoothing.symbols, self.leaves.exists().to(symbols.device))
        likelihood = ValueEmission(shares.permute(0, 2, 3, 1).log().contiguous())
        tree: Tree | Forest
        if self.config.is_forest:
            layers = self.layers()
            orders = torch.stack([one.order for one in layers])
            tree = Forest(self.grids, [smoothed_forest(links[0], smoothing.links, self.edges(), orders)], layers)
        else:
            tree = Tree(self.grids, [smoothed_links(link, smoothing.links) for link in links])
        owned = top + smoothing.top * own_roots(*top.shape).to(top)
        return Tables(
            tree=tree,
            log_top=(owned / owned.sum(dim=1, keepdim=True).clamp_min(torch.finfo(top.dtype).tiny)).log(),
            weighted=likelihood,
            likelihood=likelihood,
            appearance=self.leaves.appearance(shares),
        )

    def fit_symbols(self, images: Images) -> None:
        """Fit the parameters of the symbols, if there are any."""
        self.leaves.fit(images)

    def symbols(self, images: Images) -> Tensor:
        """Return the symbols of images: (groups, n, symbols) in the type of the counts, or numbers of values."""
        read = self.leaves.read(images)
        return read if self.has_values else read.to(self.counts[0].dtype)

    def chunks(self, *batch: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Yield chunks of a batch, of tensors of equal length, with messages of bounded size."""
        cells = max(
            rows * columns * (min(above.states, MANY) + here.states)
            for (rows, columns), (here, above) in zip(self.grids, pairwise(self.config.levels), strict=True)
        )
        largest = max(cells, self.num_classes * self.config.levels[-2].states)
        if self.has_values:
            largest *= PASSES
        parts = [tensor.split(max(1, LARGEST // largest)) for tensor in batch]
        yield from zip(*parts, strict=True)

    def upward(self, images: Images, *, likelihood: bool = False, visible: Visible | None = None) -> Upward:
        """Return the upward pass of one batch; `likelihood` selects the weights of symbols in p(image)."""
        tables = self.tables()
        symbols = self.symbols(images)
        mask = None
        if visible is not None:
            mask = self.leaves.visible_symbols(visible.expand(len(images), -1, -1)).to(self.counts[0])
        return tables.tree.up((tables.likelihood if likelihood else tables.weighted).log_prob(symbols, mask))

    def posterior(self, upward: Upward, labels: Tensor | None = None) -> tuple[Tensor, Tensor, Pairs]:
        """Return log p(x | c), p(root | x), and the downward pass; with `labels`, both given the concept."""
        tables = self.tables()
        log = tables.log_any if labels is None else tables.log_top[labels]
        root = (upward.root + log).softmax(dim=1)
        return tables.log_evidence(upward.root), root, tables.tree.down(upward, root)

    def _known(self, z1: Codes, keep: Tensor | None = None) -> Upward:
        """Return the upward pass of given codes, all or those in `keep`; a code without counts is ignored."""
        tables = self.tables()
        leaves = torch.full(
            (z1[0].numel(), len(z1), self.latent_dim), -torch.inf, device=z1.device, dtype=self.counts[0].dtype
        )
        codes = z1.flatten(1).T[..., None]
        leaves.scatter_(2, codes, 0.0)
        impossible = tables.weighted.impossible[:, None].expand_as(leaves).gather(2, codes)
        leaves.masked_fill_(impossible, 0.0)
        if keep is not None:
            leaves.masked_fill_(~keep.expand_as(z1).flatten(1).T[..., None], 0.0)
        return tables.tree.up(leaves)


def _extent(possible: Bool[Tensor, " roots"]) -> slice:
    """Return the root states from the first to the last possible one; the first where none is."""
    places = possible.nonzero().flatten().tolist()
    return slice(places[0], places[-1] + 1) if places else slice(0, 1)


def comb(rows: int, columns: int) -> Tensor:
    """Return the parents of a tree that no images were seen for: the first column, and from it every row."""
    if shapes_alone():
        return torch.empty(rows * columns, dtype=torch.int64)
    cells = torch.arange(rows * columns)
    return torch.where(cells % columns > 0, cells - 1, (cells - columns).clamp_min(-1))


def own_roots(classes: int, roots: int) -> Bool[Tensor, "classes roots"]:
    """Return which root states are each class's own: as many for each, in the order of the classes."""
    return torch.arange(roots) // (roots // classes) == torch.arange(classes)[:, None]


def sample_states(log: Float[Tensor, "n states"], generator: torch.Generator | None, temperature: float) -> Tensor:
    """Return one state per row, sampled from p ∝ exp(log / temperature)."""
    return (log / temperature - exponential(log, generator).log()).argmax(dim=1)
