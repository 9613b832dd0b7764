"""p(root | x) over the messages to the root, for the few root states that matter of many."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

MANY = 256
"""Root states from which on those of negligible probability are left out."""
NEGLIGIBLE = 1e-9
"""Posterior probability of a root state below which it is left out."""
_DENSE = 1 / 8
"""Share of root states from which on all are computed."""


@dataclass(frozen=True)
class FewRoots:
    """The factors of `rgm.counting.tree.Pairs` for some root states of each image: pairs of an image and a state.

    `weights[cell, pair]` is p(root | x) over the cell's message to the root; the probabilities of the states that are
    left out are distributed over the others in proportion.
    """

    images: Int64[Tensor, " pairs"]
    states: Int64[Tensor, " pairs"]
    weights: Float[Tensor, "cells pairs"]
    count: int
    roots: int

    @classmethod
    def of(cls, root: Float[Tensor, "n roots"], above: Float[Tensor, "cells n roots"]) -> "FewRoots | None":
        """Return the factors of few of many root states, given the messages to them; None where all are needed."""
        count, roots = root.shape
        if roots < MANY:
            return None
        kept = root > NEGLIGIBLE
        images, states = kept.nonzero(as_tuple=True)
        if len(images) > _DENSE * root.numel():
            return None
        share = (root / torch.where(kept, root, 0.0).sum(dim=1, keepdim=True))[images, states]
        weights = share / above[:, images, states].clamp_min(torch.finfo(above.dtype).tiny)
        return cls(images, states, weights, count, roots)

    def sent(self, link: Float[Tensor, "cells roots states"]) -> Float[Tensor, "cells n states"]:
        """Return Σ_r weight_r · link_r of every cell and image."""
        return _sums(self.weights, self.states, link, self.images, self.count)

    def expected(self, here: Float[Tensor, "cells n states"]) -> Float[Tensor, "cells roots states"]:
        """Return Σ_n weight_n · here_n of every cell and root state."""
        order = self.states.argsort(stable=True)
        return _sums(self.weights[:, order], self.images[order], here, self.states[order], self.roots)


def _sums(
    weights: Float[Tensor, "cells pairs"],
    rows: Int64[Tensor, " pairs"],
    table: Float[Tensor, "cells rows states"],
    bags: Int64[Tensor, " pairs"],
    count: int,
) -> Float[Tensor, "cells bags states"]:
    """Return the weighted sums of rows of each cell's table in `count` bags; pairs are in the order of their bags."""
    cells, pairs = weights.shape
    cell = torch.arange(cells, device=rows.device)[:, None]
    places = (cell * table.shape[1] + rows).flatten()
    starts = torch.searchsorted(bags, torch.arange(count, device=bags.device))
    offsets = (cell * pairs + starts).flatten()
    sums = F.embedding_bag(
        places, table.flatten(0, 1), offsets, mode="sum", per_sample_weights=weights.flatten().contiguous()
    )
    return sums.unflatten(0, (cells, count))
