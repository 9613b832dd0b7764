"""Smoothing of expected counts: Dirichlet priors whose means are pooled over cells, classes and neighbouring greys."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

KERNEL = (0.25, 0.5, 1.0, 0.5, 0.25)
"""Weights of a grey value's neighbours in the mean of a state's prior."""
NEAR = 0.3
"""Share of the prior's mean that is smoothed over neighbouring greys; the rest is the pooled histogram itself."""
EVEN = 1e-3
"""Share of the prior's mean that is the same for all values, so that none is impossible."""


def smoothed_values(
    counts: Float[Tensor, "cells states variates levels"], strength: float, exists: Bool[Tensor, "cells variates"]
) -> Float[Tensor, "cells states variates levels"]:
    """Return p(value | state) = (counts + α · m) / (Σ counts + α) with m the state's histogram over all cells.

    m is pooled over cells and variates and partly smoothed over neighbouring values, so that what a state has not shown
    in a cell is learned from the others. Variates that do not exist have probability 1.
    """
    pooled = (counts * exists[:, None, :, None]).sum(dim=(0, 2))
    levels = pooled.shape[1]
    pooled = pooled + EVEN * pooled.sum(dim=0) / len(pooled) + torch.finfo(counts.dtype).tiny
    pooled = pooled / pooled.sum(dim=1, keepdim=True)
    kernel = torch.tensor(KERNEL, dtype=counts.dtype, device=counts.device)
    near = F.conv1d(F.pad(pooled[:, None], (2, 2)), kernel[None, None])[:, 0]
    near = near / near.sum(dim=1, keepdim=True)
    mean = (1 - EVEN) * torch.lerp(pooled, near, NEAR) + EVEN / levels
    shares = counts + strength * mean[:, None]
    shares /= shares.sum(dim=3, keepdim=True)
    return torch.where(exists[:, None, :, None], shares, 1.0)


def smoothed_links(
    counts: Float[Tensor, "cells parents states"], strength: float
) -> Float[Tensor, "cells parents states"]:
    """Return p(state | parent) = (counts + α · m) / (Σ counts + α) with m the cell's own frequencies of states."""
    shares = counts + strength * _frequencies(counts.sum(dim=1))[:, None]
    return shares / shares.sum(dim=2, keepdim=True)


def smoothed_forest(
    counts: Float[Tensor, "roots cells parents states"], strength: float
) -> Float[Tensor, "roots cells parents states"]:
    """Return p(state | parent, root) = (counts + α · m) / (Σ counts + α) with m that of all trees together.

    m itself is smoothed towards the frequencies of states in the cell, with a pseudo-count of one.
    """
    mean = counts.sum(dim=0)
    mean = mean + _frequencies(mean.sum(dim=1))[:, None]
    mean /= mean.sum(dim=2, keepdim=True)
    shares = counts + strength * mean
    shares /= shares.sum(dim=3, keepdim=True)
    return shares


def _frequencies(counts: Float[Tensor, "cells states"]) -> Float[Tensor, "cells states"]:
    """Return the frequencies of states, with a small pseudo-count."""
    found = counts + 1e-2
    return found / found.sum(dim=1, keepdim=True)
