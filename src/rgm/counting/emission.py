"""p(symbols | z_1) as Dirichlet counts: log-likelihoods of whole batches as one matrix product."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

Counts = Float[Tensor, "cells states variates levels"]
Symbols = Float[Tensor, "cells n symbols"]


IMPOSSIBLE = -1e30
"""log p of impossible events; finite, so that the product with a weight of 0 is 0."""


class Emission(NamedTuple):
    """log p(symbols | state), linear in the symbols: `table` for levels above the first, `base` for the first.

    A cell has `variates` symbols, each in one of `levels`; the inputs are the probabilities of every level but the
    first. A visible variate adds base + Σ symbol · table, a hidden one nothing.
    """

    table: Float[Tensor, "cells symbols states"]
    base: Float[Tensor, "cells variates states"]

    @property
    def impossible(self) -> Bool[Tensor, "cells states"]:
        """Which states have no counts at all."""
        return self.base[:, 0] < IMPOSSIBLE / 2

    def log_prob(
        self, symbols: Symbols, visible: Float[Tensor, "cells n variates"] | None = None
    ) -> Float[Tensor, "cells n states"]:
        """Return log p(visible symbols | state) in nats with the emission's weights; by default all are visible."""
        if visible is None:
            return torch.baddbmm(self.base.sum(dim=1, keepdim=True), symbols, self.table)
        levels = self.table.shape[1] // self.base.shape[1]
        shown = symbols * visible.repeat_interleave(levels, dim=2)
        return torch.bmm(shown, self.table) + torch.bmm(visible, self.base)


def emission(counts: Counts, *, outliers: float = 0.0, weights: Tensor | None = None) -> Emission:
    """Return the emission of Dirichlet counts: their means, with outliers spread over all levels.

    `p = (1 − levels · ε) · counts / Σ counts + ε`. A variate without counts in any state is ignored; a state without
    counts is impossible. Probabilities are at least the smallest normal number, so that new observations keep a finite
    log. `weights`, one per variate, multiply the log-likelihoods.
    """
    total = counts.sum(dim=3, keepdim=True)
    levels = counts.shape[3]
    share = (1 - levels * outliers) * counts / total.clamp_min(torch.finfo(counts.dtype).tiny) + outliers
    log = torch.where(total > 0, share.clamp_min(torch.finfo(counts.dtype).tiny), 1.0).log()
    if weights is not None:
        log = log * weights.to(log)[:, None]
    table = (log[..., 1:] - log[..., :1]).flatten(2).transpose(1, 2).contiguous()
    base = log[..., 0].transpose(1, 2).contiguous()
    base[:, 0].masked_fill_((total == 0).all(dim=2)[..., 0], IMPOSSIBLE)
    return Emission(table, base)


def expected_symbols(
    states: Float[Tensor, "cells n states"], symbols: Symbols, levels: int
) -> Float[Tensor, "cells states variates levels"]:
    """Return the expected counts of (state, level) for each variate; their sum over levels is the state's count."""
    return with_first_level(torch.bmm(states.transpose(1, 2), symbols), states.sum(dim=1), levels)


def with_first_level(
    above: Float[Tensor, "cells states symbols"], sizes: Float[Tensor, "cells states"], levels: int
) -> Float[Tensor, "cells states variates levels"]:
    """Return the counts of all levels, given those of the levels above the first and the count of each state."""
    above = above.unflatten(2, (-1, levels - 1))
    first = sizes[:, :, None, None] - above.sum(dim=3, keepdim=True)
    return torch.cat([first.clamp_min(0), above], dim=3)


class ValueEmission(NamedTuple):
    """log p(symbols | state) of categorical symbols that are given as numbers, one row of `table` for each value."""

    table: Float[Tensor, "cells variates levels states"]

    def scaled(self) -> Float[Tensor, "cells variates levels states"]:
        """Return p(value | state), scaled to a maximum of 1 over the states."""
        return (self.table - self.table.amax(dim=3, keepdim=True)).exp_()

    @property
    def impossible(self) -> Bool[Tensor, "cells states"]:
        """Which states have no counts at all: none, since all are smoothed."""
        cells, _, _, states = self.table.shape
        return torch.zeros(cells, states, dtype=torch.bool, device=self.table.device)

    def log_prob(
        self, symbols: Int64[Tensor, "cells n variates"], visible: Float[Tensor, "cells n variates"] | None = None
    ) -> Float[Tensor, "cells n states"]:
        """Return log p(visible symbols | state) in nats; by default all are visible."""
        cells, variates, levels, states = self.table.shape
        rows = self.table.view(-1, states)
        total: Tensor | None = None
        for variate in range(variates):
            start = (torch.arange(cells, device=rows.device) * variates + variate) * levels
            place = (start[:, None] + symbols[:, :, variate]).flatten()
            log = rows.index_select(0, place).view(cells, -1, states)
            if visible is not None:
                log = log * visible[:, :, variate, None].to(log)
            total = log if total is None else total + log
        assert total is not None
        return total


def add_expected_values(
    total: Float[Tensor, "variates cells levels states"],
    states: Float[Tensor, "cells n states"],
    symbols: Int64[Tensor, "cells n variates"],
) -> None:
    """Add the expected counts of (value, state) of each variate to a total, for every cell."""
    _, cells, levels, count = total.shape
    start = torch.arange(cells, device=states.device)[:, None] * levels
    for variate, rows in enumerate(total):
        place = (start + symbols[:, :, variate]).flatten()
        rows.view(-1, count).index_add_(0, place, states.reshape(-1, count))
