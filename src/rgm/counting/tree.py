"""A tree of categorical variables as tensors: exact sum–product for a whole batch at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.shares import MANY, AllRoots, FewRoots, log_product, root_shares
from rgm.distributions.noise import Source, exponential

Grid = tuple[int, int]
Log = Float[Tensor, "cells n states"]
Link = Float[Tensor, "_ _ _"]
"""(cells, parent's states, own states); every level has its own sizes."""
EVERY = slice(None)
AT_ONCE = 2**20
"""Numbers whose logarithms are summed at once."""
RootShares = Float[Tensor, "cells n parents"] | FewRoots | AllRoots


class Message(NamedTuple):
    """A message to a level's parents: `here` ∝ p(leaves below | z), `above` its sum given each state of the parent.

    `log_product` is the log of the product of a parent's messages. To a root of many states `above` is None.
    """

    here: Float[Tensor, "cells n states"]
    above: Float[Tensor, "cells n states_above"] | None
    log_product: Float[Tensor, "parents n states_above"]


class Upward(NamedTuple):
    """The upward pass: a message from every level, and log p(leaves | root) in nats."""

    messages: list[Message]
    root: Float[Tensor, "n roots"]


class Pairs(NamedTuple):
    """The downward pass: p(z_ℓ | x) of every level below the root, and the factors of the expected counts.

    `share[ℓ]` is p(z_parent | x) over the message's `above`: Σ_n shareᵀ · here ∘ link is the expected count of each
    pair of parent and child states. Those of many root states are of `rgm.counting.shares`.
    """

    marginals: list[Float[Tensor, "cells n states"]]
    shares: list[RootShares]


class Expected(NamedTuple):
    """Expected counts of a batch: p(root | x) and p(z_1 | x) of every image, and each link's pairs of states."""

    root: Float[Tensor, "n roots"]
    first: Float[Tensor, "cells n states"]
    links: list[Tensor]


@dataclass(frozen=True)
class Tree:
    """p(z_ℓ | z_{ℓ+1}) of every cell below the root, `links[ℓ−1][child, parent state, child state]`.

    `grids` are those of z_1 … up to the root's, (1, 1). Every cell has one parent, the nearest of evenly spaced ones.
    Leaves enter as log p(leaf | z_1), `Log`, in nats; 0 for hidden ones. All passes take a batch, at a cost of its size
    times that of the links, without loops over images. `roots` restricts the root to some states; of many states, those
    that are not `possible` for any class have probability 0 without being visited.
    """

    grids: tuple[Grid, ...]
    links: Sequence[Link]
    possible: slice = field(default_factory=lambda: EVERY)

    def up(self, leaves: Log, roots: slice = EVERY) -> Upward:
        """Return all messages from the leaves to the root: sum–product, each message scaled to a maximum of 1."""
        log, scale, messages = leaves, torch.zeros((), dtype=leaves.dtype), []
        for level, link in enumerate(self.links):
            top = log.amax(dim=2, keepdim=True)
            here = (log - top).exp_()
            scale = scale + top.sum(dim=(0, 2))
            link = self._link(level, link, roots)
            above = None
            if link.shape[1] >= MANY and level == len(self.links) - 1:
                some = self.possible if roots == EVERY else EVERY
                log = here.new_full((1, here.shape[1], link.shape[1]), -torch.inf)
                log[0, :, some] = log_product(here, link[:, some])
            else:
                above = torch.bmm(here, link.transpose(1, 2))
                log = above.new_zeros(math.prod(self.grids[level + 1]), *above.shape[1:])
                together = max(1, AT_ONCE // above[0].numel())
                for parents, part in zip(self.parents(level).split(together), above.split(together), strict=True):
                    log.index_add_(0, parents, part.log())
            messages.append(Message(here, above, log))
        return Upward(messages, log[0] + scale[:, None])

    def down(self, upward: Upward, root: Float[Tensor, "n roots"], roots: slice = EVERY) -> Pairs:
        """Return every cell's posterior given the root's, and the factors of the expected counts."""
        above = root[None]
        marginals: list[Tensor] = []
        shares: list[RootShares] = []
        for level in range(len(self.links) - 1, -1, -1):
            message, link = upward.messages[level], self._link(level, self.links[level], roots)
            share: RootShares
            if message.above is None:
                share = root_shares(root, message.here, link)
            else:
                share = above[self.parents(level)] / message.above.clamp_min(torch.finfo(above.dtype).tiny)
            above = _sent(share, link) * message.here
            shares.insert(0, share)
            marginals.insert(0, above)
        return Pairs(marginals, shares)

    def cavity(self, pairs: Pairs) -> Float[Tensor, "cells n states"]:
        """Return p(z_1 = k | all other leaves) / p(leaf | all other leaves) of every cell, up to the leaf's scale."""
        return _sent(pairs.shares[0], self.links[0])

    def expected(self, leaves: Log, log_roots: Float[Tensor, " roots"], roots: slice = EVERY) -> Expected:
        """Return the expected counts of a batch given its leaves and log p(root): one pass up and one down."""
        upward = self.up(leaves, roots)
        root = (upward.root + log_roots).softmax(dim=1)
        pairs = self.down(upward, root, roots)
        links = [
            expected_pairs(message, share, self._link(level, link, roots))
            for level, (message, share, link) in enumerate(zip(upward.messages, pairs.shares, self.links, strict=True))
        ]
        return Expected(root, pairs.marginals[0], links)

    def rates(
        self,
        upward: Upward,
        pairs: Pairs,
        root: Float[Tensor, "n roots"],
        distortion: Float[Tensor, " n"],  # noqa: ARG002 - as for a forest
    ) -> list[Float[Tensor, " n"]]:
        """Return E[log p(z_ℓ | z_{ℓ+1}, x) − log p(z_ℓ | z_{ℓ+1})] of every level below the root, in nats."""
        rates = []
        for level, states in enumerate([*pairs.marginals[1:], root[None]]):
            message = upward.messages[level]
            here = (pairs.marginals[level] * safe_log(message.here)).sum(dim=(0, 2))
            above = (states * message.log_product.clamp_min(torch.finfo(states.dtype).min)).sum(dim=(0, 2))
            rates.append(here - above)
        return rates

    def most_probable(
        self, leaves: Log, log_roots: Float[Tensor, "#n roots"]
    ) -> tuple[list[Int64[Tensor, "n _ _"]], Int64[Tensor, " n"], Float[Tensor, " n"]]:
        """Return the most probable codes below the root, the root, and log max p(root, z, leaves): max–product."""
        log, choices = leaves, []
        for level, link in enumerate(self.links):
            sent, choice = max_product(log, safe_log(link))
            choices.append(choice)
            log = sent.new_zeros(math.prod(self.grids[level + 1]), *sent.shape[1:])
            log.index_add_(0, self.parents(level), sent)
        found, root = (log[0] + log_roots).max(dim=1)
        above = root[None]
        codes: list[Tensor] = []
        for level in range(len(self.links) - 1, -1, -1):
            above = choices[level].gather(2, above[self.parents(level)][..., None])[..., 0]
            codes.insert(0, above.T.contiguous().unflatten(1, self.grids[level]))
        return codes, root, found

    def descend(
        self,
        root: Int64[Tensor, "n ..."],
        generator: Source,
        *,
        temperature: float = 1.0,
        level: int | None = None,
        messages: Sequence[Message] | None = None,
        fixed: Callable[[int], Tensor | None] = lambda _: None,
    ) -> list[Int64[Tensor, "n _ _"]]:
        """Return codes of every level below `root`, sampled top-down, finest first.

        Given `messages`, samples are exact from the posterior, p(z_ℓ | z_{ℓ+1}) · p(leaves below | z_ℓ). `level` is
        that of `root`, the top by default; on a lower level `root` is a grid of codes. `fixed(ℓ)` may give a level's
        codes (−1 where a cell is free).
        """
        start = len(self.links) if level is None else level
        above = root.reshape(len(root), -1)
        drawn: list[Tensor] = []
        for below in range(start - 1, -1, -1):
            probs = self.conditional(below, above)
            if messages is not None:
                probs = probs * messages[below].here
            noise = exponential(probs, generator)
            log = probs.log() / temperature - noise.log()
            above = log.argmax(dim=2).T.contiguous()
            given = fixed(below)
            if given is not None:
                above = torch.where(given.flatten(1) >= 0, given.flatten(1), above)
            drawn.insert(0, above.unflatten(1, self.grids[below]))
        return drawn

    def conditional(self, level: int, above: Int64[Tensor, "n parents"]) -> Float[Tensor, "cells n states"]:
        """Return p(z_ℓ | z_{ℓ+1}) of every cell for given states of the level above; levels count from 0 here."""
        states = above[:, self.parents(level)].T
        cells = torch.arange(len(states), device=states.device)[:, None]
        return self.links[level][cells, states]

    def log_prob(
        self, level: int, child: Int64[Tensor, "n cells"], above: Int64[Tensor, "n parents"]
    ) -> Float[Tensor, " n"]:
        """Return log p(z_ℓ | z_{ℓ+1}) of codes, summed over cells, in nats."""
        probs = self.conditional(level, above).gather(2, child.T[..., None])
        return probs.clamp_min(torch.finfo(probs.dtype).tiny).log().sum(dim=(0, 2))

    def parents(self, level: int) -> Int64[Tensor, " cells"]:
        """Return the parent of each cell of a level, both in raster order; levels count from 0 here."""
        return parents(self.grids[level], self.grids[level + 1]).to(self.links[level].device)

    def _link(self, level: int, link: Link, roots: slice) -> Link:
        return link[:, roots] if level == len(self.links) - 1 else link


def parents(below: Grid, above: Grid) -> Int64[Tensor, " cells"]:
    """Return the nearest of `above`'s evenly spaced centroids for each cell of `below`, in raster order."""
    rows, columns = (
        torch.div((2 * torch.arange(fine) + 1) * coarse, 2 * fine, rounding_mode="floor")
        for fine, coarse in zip(below, above, strict=True)
    )
    return (rows[:, None] * above[1] + columns).flatten()


def expected_pairs(message: Message, share: RootShares, link: Link) -> Link:
    """Return the expected counts of (parent state, child state) over a batch, for every cell; each cell's sum is n."""
    return expected_messages(message, share) * link


def expected_messages(message: Message, share: RootShares) -> Link:
    """Return the expected counts of pairs of states over those of `Tree.links`, which add up over batches."""
    if isinstance(share, Tensor):
        return torch.bmm(share.transpose(1, 2), message.here)
    return share.expected(message.here)


def _sent(share: RootShares, link: Link) -> Float[Tensor, "cells n states"]:
    """Return what the shares of the parents' states send to their children."""
    return torch.bmm(share, link) if isinstance(share, Tensor) else share.sent(link)


def max_product(
    log: Float[Tensor, "cells n states"], log_link: Float[Tensor, "cells parents states"]
) -> tuple[Float[Tensor, "cells n parents"], Int64[Tensor, "cells n parents"]]:
    """Return max_k (log_k + log p(k | parent)) for every state of the parent, and which k it is."""
    found = [(log + log_link[:, state, None]).max(dim=2) for state in range(log_link.shape[1])]
    return torch.stack([one.values for one in found], dim=2), torch.stack([one.indices for one in found], dim=2)


def safe_log(values: Tensor) -> Tensor:
    """Return log values, finite for 0."""
    return values.clamp_min(torch.finfo(values.dtype).tiny).log()
