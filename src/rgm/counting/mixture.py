"""Mixtures of states in every group at once, by expectation–maximisation on counts."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.counting.emission import Counts, Emission, Symbols, emission, expected_symbols

Batches = Callable[[], Iterable[Symbols]]
KEEP = 0.8
"""How much of the image that a state starts from is in its first counts; the rest is the mean of all."""


class Mixture(NamedTuple):
    """Dirichlet counts of every group's states, and how often each state is met."""

    counts: Counts
    sizes: Float[Tensor, "cells states"]

    def emission(self, outliers: float, weights: Tensor | None = None) -> Emission:
        """Return log p(symbols | state)."""
        return emission(self.counts, outliers=outliers, weights=weights)

    def log_shares(self) -> Float[Tensor, "cells 1 states"]:
        """Return the log of each state's share in its group; a state that is never met keeps one image's."""
        sizes = self.sizes + 1
        return (sizes / sizes.sum(dim=1, keepdim=True)).log()[:, None]


def mixture(
    batches: Batches,
    starts: Symbols,
    levels: int,
    *,
    passes: int,
    smoothing: float,
    outliers: float,
    weights: Tensor | None = None,
) -> Mixture:
    """Return mixtures of categorical variates, one for each group, fitted to symbols that come in batches.

    `starts` (groups, states, symbols) are the images that the states begin from. Each pass sums every state's expected
    counts under p(state | symbols), and adds a Dirichlet prior of weight `smoothing` around the mean of all images:
    `counts = Σ_n p(state | n) · symbols_n + smoothing · mean` (Dempster, Laird and Rubin 1977). `weights` are what each
    variate counts in p(state | symbols).
    """
    mean = _mean(batches, levels)
    near = starts.unflatten(2, (-1, levels - 1))
    first = (1 - near.sum(dim=3, keepdim=True)).clamp_min(0)
    found = Mixture(
        KEEP * torch.cat([first, near], dim=3) + (1 - KEEP) * mean, starts.new_zeros(starts.shape[:2])
    )
    for _ in range(passes):
        said, shares = found.emission(outliers, weights), found.log_shares()
        counts, sizes = torch.zeros_like(found.counts), torch.zeros_like(found.sizes)
        for symbols in batches():
            states = (said.log_prob(symbols) + shares).softmax(dim=2)
            counts += expected_symbols(states, symbols, levels)
            sizes += states.sum(dim=1)
        found = Mixture(counts + smoothing * mean, sizes)
    return found


def _mean(batches: Batches, levels: int) -> Float[Tensor, "cells 1 variates levels"]:
    """Return how often each level of each variate is met, over all images."""
    total, count = None, 0
    for symbols in batches():
        part = symbols.sum(dim=1)
        total, count = part if total is None else total + part, count + symbols.shape[1]
    assert total is not None
    above = (total / count).unflatten(1, (-1, levels - 1))
    first = (1 - above.sum(dim=2, keepdim=True)).clamp_min(0)
    return torch.cat([first, above], dim=2)[:, None]
