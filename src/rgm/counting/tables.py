"""Quantities derived from the counts of a tree."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.counting.emission import Emission, emission
from rgm.counting.symbols import Leaves
from rgm.counting.tree import Grid, Tree
from rgm.distributions.noise import exponential


@dataclass(frozen=True)
class Tables:
    """Quantities derived from the counts: the tree's links, p(root | class), emissions and appearances of states.

    `weighted` has the weights of symbols for inference of codes and classes, `likelihood` those in p(image).
    """

    tree: Tree
    log_top: Float[Tensor, "classes roots"]
    weighted: Emission
    likelihood: Emission
    appearance: Float[Tensor, "groups states features"]

    @cached_property
    def top(self) -> Float[Tensor, "classes roots"]:
        """p(root | class)."""
        return self.log_top.exp()


def derive_tables(counts: Sequence[Tensor], grids: tuple[Grid, ...], leaves: Leaves, *, outliers: float) -> Tables:
    """Return the quantities derived from counts, from the symbols to the class."""
    symbols, *links, top = counts
    exists = leaves.exists().to(symbols.device)[:, None, :, None]
    tiny = torch.finfo(symbols.dtype).tiny
    shares = symbols / symbols.sum(dim=3, keepdim=True).clamp_min(tiny)
    return Tables(
        tree=Tree(grids, [link / link.sum(dim=2, keepdim=True).clamp_min(tiny) for link in links]),
        log_top=(top / top.sum(dim=1, keepdim=True).clamp_min(tiny)).log(),
        weighted=emission(symbols * exists, outliers=outliers, weights=leaves.weights()),
        likelihood=emission(symbols * exists, outliers=outliers, weights=leaves.likelihood_weights()),
        appearance=leaves.appearance(shares),
    )


def safe_log(values: Tensor) -> Tensor:
    """Return log values, finite for 0."""
    return values.clamp_min(torch.finfo(values.dtype).tiny).log()


def sample_states(log: Float[Tensor, "n states"], generator: torch.Generator | None, temperature: float) -> Tensor:
    """Return one state per row, sampled from p ∝ exp(log / temperature)."""
    return (log / temperature - exponential(log, generator).log()).argmax(dim=1)
