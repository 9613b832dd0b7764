"""A tree of categorical variables as tensors: exact sums up and down for a whole batch at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.distributions.noise import Source, exponential

Grid = tuple[int, int]
Log = Float[Tensor, "cells n states"]
Link = Float[Tensor, "_ _ _"]
"""(cells, parent's states, own states); every level has its own sizes."""
EVERY = slice(None)


class Message(NamedTuple):
    """What a level tells its parents: `here` ∝ p(leaves below | z), `above` its sum given each state of the parent."""

    here: Float[Tensor, "cells n states"]
    above: Float[Tensor, "cells n parents"]


class Upward(NamedTuple):
    """The upward pass: a message from every level, and log p(leaves | root) in nats."""

    messages: list[Message]
    root: Float[Tensor, "n roots"]


class Pairs(NamedTuple):
    """The downward pass: p(z_ℓ | x) of every level beneath the root, and what the expected counts are made of.

    `share[ℓ]` is p(z_parent | x) over the message's `above`: Σ_n shareᵀ · here ∘ link is the expected number of times
    that parent and child were in a pair of states.
    """

    marginals: list[Float[Tensor, "cells n states"]]
    shares: list[Float[Tensor, "cells n parents"]]


@dataclass(frozen=True)
class Tree:
    """p(z_ℓ | z_{ℓ+1}) of every cell beneath the root, `links[ℓ−1][child, parent state, child state]`.

    `grids` are those of z_1 … up to the root's, (1, 1). Every cell has one parent, the nearest of evenly spaced ones.
    What the leaves say comes in as log p(leaf | z_1), `Log`, in nats; what is not seen says 0. All passes take a batch
    and cost its size times that of the links; none loops over images. `roots` restricts the root to some states.
    """

    grids: tuple[Grid, ...]
    links: Sequence[Link]

    def up(self, leaves: Log, roots: slice = EVERY) -> Upward:
        """Return all messages from the leaves to the root: sum–product, each message scaled to a maximum of 1."""
        log, scale, messages = leaves, torch.zeros((), dtype=leaves.dtype), []
        for level, link in enumerate(self.links):
            top = log.amax(dim=2, keepdim=True)
            here = (log - top).exp_()
            scale = scale + top.sum(dim=(0, 2))
            above = torch.bmm(here, self._embed(level, link, roots).transpose(1, 2))
            messages.append(Message(here, above))
            log = above.new_zeros(self._count(level + 1), *above.shape[1:])
            log.index_add_(0, self.parents(level), above.log())
        return Upward(messages, log[0] + scale[:, None])

    def down(self, upward: Upward, root: Float[Tensor, "n roots"], roots: slice = EVERY) -> Pairs:
        """Return every cell's posterior given the root's, and the shares that expected counts are made of."""
        above = root[None]
        marginals: list[Tensor] = []
        shares: list[Tensor] = []
        for level in range(len(self.links) - 1, -1, -1):
            message = upward.messages[level]
            share = above[self.parents(level)] / message.above.clamp_min(torch.finfo(above.dtype).tiny)
            above = torch.bmm(share, self._embed(level, self.links[level], roots)) * message.here
            shares.insert(0, share)
            marginals.insert(0, above)
        return Pairs(marginals, shares)

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
        """Return codes of every level beneath one whose codes are `root`, drawn top-down, finest first.

        Given `messages`, the draws are exact from the posterior, p(z_ℓ | z_{ℓ+1}) · p(leaves below | z_ℓ). `level` is
        that of `root` (the root's unless said), whose codes then are a grid. `fixed(ℓ)` may give the codes of a level
        (−1 where a cell is free).
        """
        start = len(self.links) if level is None else level
        above = root.reshape(len(root), -1)
        drawn: list[Tensor] = []
        for below in range(start - 1, -1, -1):
            chances = self.conditional(below, above)
            if messages is not None:
                chances = chances * messages[below].here
            noise = exponential(chances, generator)
            log = chances.log() / temperature - noise.log()
            above = log.argmax(dim=2).T.contiguous()
            kept = fixed(below)
            if kept is not None:
                above = torch.where(kept.flatten(1) >= 0, kept.flatten(1), above)
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
        chances = self.conditional(level, above).gather(2, child.T[..., None])
        return chances.clamp_min(torch.finfo(chances.dtype).tiny).log().sum(dim=(0, 2))

    def parents(self, level: int) -> Int64[Tensor, " cells"]:
        """Return the parent of each cell of a level, both counted row by row; levels count from 0 here."""
        return parents(self.grids[level], self.grids[level + 1]).to(self.links[level].device)

    def _embed(self, level: int, link: Link, roots: slice) -> Link:
        return link[:, roots] if level == len(self.links) - 1 else link

    def _count(self, level: int) -> int:
        return self.grids[level][0] * self.grids[level][1]


def parents(below: Grid, above: Grid) -> Int64[Tensor, " cells"]:
    """Return the nearest of `above`'s evenly spaced centroids for each cell of `below`, row by row."""
    rows, columns = (
        torch.div((2 * torch.arange(fine) + 1) * coarse, 2 * fine, rounding_mode="floor")
        for fine, coarse in zip(below, above, strict=True)
    )
    return (rows[:, None] * above[1] + columns).flatten()


def expected_pairs(message: Message, share: Tensor, link: Link) -> Link:
    """Return the expected counts of (parent state, child state) over a batch, for every cell: they sum to n each."""
    return torch.bmm(share.transpose(1, 2), message.here) * link
