"""Mixtures in every group at once, by expectation–maximisation on counts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.counting.emission import Counts, Emission, Symbols, emission, with_first_level
from rgm.counting.shares import FewRoots

Batches = Callable[[], Iterable[Symbols]]
IMAGE_WEIGHT = 0.6
"""Weight of a single image in a state's initial counts; the rest is the mean of all."""


class Mixture(NamedTuple):
    """Dirichlet counts of every group's states, and the share of images in each state."""

    counts: Counts
    shares: Float[Tensor, "cells states"]

    def log_joint(self, likelihood: Emission, symbols: Symbols) -> Float[Tensor, "cells n states"]:
        """Return log p(symbols, state) for an emission of the counts."""
        offset = likelihood.base.sum(dim=1, keepdim=True) + self.shares.log()[:, None]
        return torch.baddbmm(offset, symbols, likelihood.table)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a mixture's counts are fitted: pseudo-counts, outliers, and a weight per variate (1 by default)."""

    levels: int
    smoothing: float
    outliers: float
    weights: Tensor | None = None

    def emission(self, found: Mixture) -> Emission:
        """Return log p(symbols | state)."""
        return emission(found.counts, outliers=self.outliers, weights=self.weights)

    def start(self, starts: Symbols, batches: Batches) -> Mixture:
        """Return initial mixtures: each state one image, shrunk to the mean of all."""
        total, count = starts.new_zeros(()), 0
        for symbols in batches():
            total, count = total + symbols.sum(dim=1, keepdim=True), count + symbols.shape[1]
        blend = IMAGE_WEIGHT * starts + (1 - IMAGE_WEIGHT) * total / count
        above = blend.unflatten(2, (-1, self.levels - 1))
        first = (1 - above.sum(dim=3, keepdim=True)).clamp_min(0)
        even = starts.new_full(starts.shape[:2], 1 / starts.shape[1])
        return Mixture(torch.cat([first, above], dim=3), even)

    def em_pass(self, found: Mixture, batches: Batches) -> Mixture:
        """Return the mixtures after one more pass of expectation–maximisation.

        `counts = Σ_n p(state | n) · symbols_n + smoothing · mean`, the mean over all images: a Dirichlet prior
        (Dempster, Laird and Rubin 1977). Shares have a pseudo-count of 1.
        """
        likelihood = self.emission(found)
        offset = likelihood.base.sum(dim=1) + found.shares.log()
        above, sizes = torch.zeros_like(likelihood.table.transpose(1, 2)), torch.zeros_like(found.shares)
        for symbols in batches():
            for cell, read in enumerate(symbols):  # one after another: a cell's states fit into a processor's caches
                states = torch.addmm(offset[cell], read, likelihood.table[cell]).softmax(dim=1)
                few = FewRoots.of(states)
                above[cell] += states.T @ read if few is None else few.expected(read[None])[0]
                sizes[cell] += states.sum(dim=0)
        counts = with_first_level(above, sizes, self.levels)
        mean = counts.sum(dim=1, keepdim=True) / sizes.sum(dim=1)[:, None, None, None]
        return Mixture(counts + self.smoothing * mean, (sizes + 1) / (sizes + 1).sum(dim=1, keepdim=True))
