"""p(symbols | z_1) as Dirichlet counts: log-likelihoods for whole batches as one product of matrices."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Counts = Float[Tensor, "cells states variates levels"]
Symbols = Float[Tensor, "cells n symbols"]


IMPOSSIBLE = -1e30
"""log p of what cannot be; finite, so that what is not seen may have it times nothing."""


class Emission(NamedTuple):
    """log p(symbols | state), linear in the symbols: `table` for levels above the first, `base` for the first.

    A cell has `variates` symbols, each in one of `levels`; what comes in is how probable each level but the first is,
    variate by variate, so that a variate that is seen adds base + Σ symbol · table, and one that is not seen, nothing.
    """

    table: Float[Tensor, "cells symbols states"]
    base: Float[Tensor, "cells variates states"]

    @property
    def impossible(self) -> Bool[Tensor, "cells states"]:
        """Which states have no counts at all."""
        return self.base[:, 0] < IMPOSSIBLE / 2

    def log_prob(
        self, symbols: Symbols, seen: Float[Tensor, "cells n variates"] | None = None
    ) -> Float[Tensor, "cells n states"]:
        """Return log p(symbols that are seen | state) in nats, weighted as the emission is; all seen unless said."""
        if seen is None:
            return torch.baddbmm(self.base.sum(dim=1, keepdim=True), symbols, self.table)
        levels = self.table.shape[1] // self.base.shape[1]
        shown = symbols * seen.repeat_interleave(levels, dim=2)
        return torch.bmm(shown, self.table) + torch.bmm(seen, self.base)


def emission(counts: Counts, *, outliers: float = 0.0, weights: Tensor | None = None) -> Emission:
    """Return the emission of Dirichlet counts: their means, with a share of outliers spread over all levels.

    `p = (1 − levels · ε) · counts / Σ counts + ε`. A variate for which no state has counts does not exist: it says
    nothing. A state without any counts is impossible. No level is less probable than the least normal number, so that
    what is seen for the first time stays a number. `weights`, one a variate, multiply what each says.
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
    """Return the expected counts of (state, level) for each variate: over levels they sum to those of the state."""
    above = torch.bmm(states.transpose(1, 2), symbols).unflatten(2, (-1, levels - 1))
    first = states.sum(dim=1)[:, :, None, None] - above.sum(dim=3, keepdim=True)
    return torch.cat([first.clamp_min(0), above], dim=3)
