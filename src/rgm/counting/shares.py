"""Messages to a root of many states, and p(root | x) over them for the few states that matter.

Messages to all states of every cell would not fit into a processor's caches: they are computed cell by cell.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

MANY = 256
"""Root states from which on messages are not kept, and those of negligible probability are left out."""
NEGLIGIBLE = 1e-7
"""Posterior probability of a root state below which it is left out: the resolution of single precision."""
_IMPOSSIBLE = -1e30
"""log p of impossible events; finite, so that the product with 0 is 0."""
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
    def of(cls, root: Float[Tensor, "n roots"], cells: int = 1) -> "FewRoots | None":
        """Return p(root | x) of the states that matter, as weights in every cell; None where they are not few."""
        if root.shape[1] < MANY:
            return None
        kept = root > NEGLIGIBLE
        images, states = kept.nonzero(as_tuple=True)
        if len(images) > _DENSE * root.numel():
            return None
        share = root[images, states] / torch.where(kept, root, 0.0).sum(dim=1)[images]
        return cls(images, states, share.expand(cells, -1), *root.shape)

    def sent(self, link: Float[Tensor, "cells roots states"]) -> Float[Tensor, "cells n states"]:
        """Return Σ_r weight_r · link_r of every cell and image."""
        return _sums(self.weights, self.states, link, self.images, self.count)

    def expected(self, here: Float[Tensor, "cells n states"]) -> Float[Tensor, "cells roots states"]:
        """Return Σ_n weight_n · here_n of every cell and root state."""
        order = self.states.argsort(stable=True)
        return _sums(self.weights[:, order], self.images[order], here, self.states[order], self.roots)


@dataclass(frozen=True)
class AllRoots:
    """The factors of `rgm.counting.tree.Pairs` for all root states, computed again where they are used."""

    root: Float[Tensor, "n roots"]
    here: Float[Tensor, "cells n states"]
    link: Float[Tensor, "cells roots states"]

    def sent(self, link: Float[Tensor, "cells roots states"]) -> Float[Tensor, "cells n states"]:
        """Return Σ_r weight_r · link_r of every cell and image."""
        return torch.stack([share @ cell for share, cell in zip(self._weights(), link, strict=True)])

    def expected(self, here: Float[Tensor, "cells n states"]) -> Float[Tensor, "cells roots states"]:
        """Return Σ_n weight_n · here_n of every cell and root state."""
        return torch.stack([share.T @ cell for share, cell in zip(self._weights(), here, strict=True)])

    def _weights(self) -> Iterator[Float[Tensor, "n roots"]]:
        """Yield p(root | x) over the message to the root of every cell."""
        for here, link in zip(self.here, self.link, strict=True):
            yield self.root / (here @ link.T).clamp_min_(torch.finfo(here.dtype).tiny)


def root_shares(
    root: Float[Tensor, "n roots"], here: Float[Tensor, "cells n states"], link: Float[Tensor, "cells roots states"]
) -> FewRoots | AllRoots:
    """Return the factors of the root states that matter: few of each image, or all where they are not few."""
    few = FewRoots.of(root, len(here))
    if few is None:
        return AllRoots(root, here, link)
    sent = [
        (cell.index_select(0, few.images) * some.index_select(0, few.states)).sum(dim=1)
        for cell, some in zip(here, link, strict=True)
    ]
    return replace(few, weights=few.weights / torch.stack(sent).clamp_min_(torch.finfo(here.dtype).tiny))


def log_product(
    here: Float[Tensor, "cells n states"], link: Float[Tensor, "cells roots states"]
) -> Float[Tensor, "n roots"]:
    """Return Σ_cells log Σ_k p(k | root) · here_k, the log of the product of all messages to the root.

    Half of the cells of usual images are alike, as blank ones are: each cell's commonest message is computed once.
    """
    cells = torch.arange(len(here), device=here.device)
    common = here[cells, here.sum(dim=2).mode(dim=1).indices]
    alike = (here == common[:, None]).all(dim=2)
    log_common = here.new_empty(link.shape[:2])
    total = here.new_zeros(here.shape[1], link.shape[1])
    for number, known in enumerate(alike):
        others = (~known).nonzero().flatten()
        rows = torch.cat([common[number, None], here[number].index_select(0, others)])
        log = (rows @ link[number].T).log_()
        log_common[number] = log[0]
        total.index_add_(0, others, log[1:])
    return total.addmm_(alike.T.to(here), log_common.clamp_min_(_IMPOSSIBLE))


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
