"""Smoothing of expected counts: Dirichlet priors whose means are pooled over cells, classes and neighbouring greys."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

REACH = 6 / 256
"""Share of the grey range on each side of a value over which the prior's mean is smoothed, with linear weights."""
BRIGHT = 4 / 256
"""Share of the values, the brightest, that are not smoothed, like the darkest one: they stand for saturated pixels."""
POOLED = 50.0
"""Pseudo-counts of a state's histogram over all cells in the mean of its prior in one cell."""
EVEN = 1e-3
"""Share of the pooled histogram that is the same for all values, so that none is impossible."""


def smoothed_values(
    counts: Float[Tensor, "cells states variates levels"], strength: float, exists: Bool[Tensor, "cells variates"]
) -> Float[Tensor, "cells states variates levels"]:
    """Return p(value | state) = (counts + α · m) / (Σ counts + α) with m the state's own smoothed histogram.

    m ∝ S (counts + `POOLED` · h): S smooths over neighbouring values, and h is the state's histogram over all cells and
    variates, so that what a state has not shown in a cell is learned from similar values and from the other cells.
    Variates that do not exist have probability 1.
    """
    pooled = (counts * exists[:, None, :, None]).sum(dim=(0, 2))
    levels = pooled.shape[1]
    pooled = pooled + EVEN * pooled.sum(dim=0) / len(pooled) + torch.finfo(counts.dtype).tiny
    everywhere = pooled.sum(dim=0)
    mean = torch.lerp(pooled / pooled.sum(dim=1, keepdim=True), torch.full_like(pooled, 1 / levels), EVEN)
    shares = (counts + POOLED * mean[:, None]) @ _neighbours(everywhere)
    shares *= strength / shares.sum(dim=3, keepdim=True)
    shares += counts
    shares /= shares.sum(dim=3, keepdim=True)
    return shares.masked_fill_(~exists[:, None, :, None], 1.0)


def _neighbours(everywhere: Float[Tensor, " levels"]) -> Float[Tensor, "levels levels"]:
    """Return the matrix S that moves counts of a value to neighbouring values, in proportion to these counts of all."""
    levels = len(everywhere)
    value = torch.arange(levels, device=everywhere.device)
    inner = (value > 0) & (value < levels - math.ceil(BRIGHT * levels))
    distance = (value[:, None] - value).abs().to(everywhere)
    weight = (1 - distance / max(1.0, REACH * levels)).clamp_min(0) * inner[:, None] * inner
    near = weight @ everywhere
    return torch.where(
        inner,
        weight * everywhere / near.clamp_min(torch.finfo(near.dtype).tiny),
        torch.eye(levels, dtype=near.dtype, device=near.device),
    )


def smoothed_links(
    counts: Float[Tensor, "cells parents states"], strength: float
) -> Float[Tensor, "cells parents states"]:
    """Return p(state | parent) = (counts + α · m) / (Σ counts + α) with m the cell's own frequencies of states."""
    shares = counts + strength * _frequencies(counts.sum(dim=1))[:, None]
    return shares / shares.sum(dim=2, keepdim=True)


def smoothed_forest(
    counts: Float[Tensor, "roots cells parents states"],
    strength: float,
    edges: Int64[Tensor, "roots cells"],
    orders: Int64[Tensor, "roots cells"],
) -> Float[Tensor, "roots cells parents states"]:
    """Return p(state | parent, root) = (counts + α · m) / (Σ counts + α) with m that of all trees of the same edge.

    `edges` are the cells' parents, and cells are returned in the `orders`. m itself is smoothed towards the frequencies
    of states in the cell, with a pseudo-count of one.
    """
    roots, cells = edges.shape
    edge, group = (torch.arange(cells, device=edges.device) * (cells + 1) + edges + 1).unique(return_inverse=True)
    mean = counts.new_zeros(len(edge), *counts.shape[2:]).index_add_(0, group.flatten(), counts.flatten(0, 1))
    mean += _frequencies(mean.sum(dim=1))[:, None]
    mean /= mean.sum(dim=2, keepdim=True)
    shares = torch.empty_like(counts)
    for root in range(roots):
        order = orders[root]
        torch.add(counts[root][order], mean[group[root][order]], alpha=strength, out=shares[root])
        shares[root] /= shares[root].sum(dim=2, keepdim=True)
    return shares


def _frequencies(counts: Float[Tensor, "cells states"]) -> Float[Tensor, "cells states"]:
    """Return the frequencies of states, with a small pseudo-count."""
    found = counts + 1e-2
    return found / found.sum(dim=1, keepdim=True)
