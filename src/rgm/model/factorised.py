"""Factorised priors: cells independent given the parent."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from rgm.data.jitter import Pose
from rgm.distributions.categorical import CategoricalField
from rgm.distributions.noise import Source
from rgm.model.bounds import Size
from rgm.model.decoder import PatchDecoder, decoder
from rgm.model.prior import Child, Codes, Keep, Parent, PerCell, PerCode, PerImage, Prior
from rgm.model.recognition import Shape


@dataclass(frozen=True, kw_only=True)
class DensePrior:
    """The notebook's `dec2`: one hidden layer from all of the parent to all of the child."""

    kind: Literal["dense"] = "dense"
    width: Size


@dataclass(frozen=True, kw_only=True)
class LocalPrior:
    """A local prior: each parent's children, conditioned on it and its neighbours by a patch decoder.

    For a parent that is a grid. Parameters are shared over positions: their number does not depend on the grid.
    """

    kind: Literal["local"] = "local"
    decoder: PatchDecoder


class FactorisedPrior(Prior):
    """p(z | parent) = Π_cells p(z_ij | parent)."""

    def __init__(self, config: DensePrior | LocalPrior, parent: Shape, child: Shape) -> None:
        super().__init__()
        self.child = child
        match config:
            case DensePrior():
                self.net = nn.Sequential(
                    *(nn.Flatten(), nn.Linear(math.prod(parent), config.width)),
                    *(nn.ReLU(), nn.Linear(config.width, math.prod(child))),
                )
            case LocalPrior():
                self.net = decoder(config.decoder, parent, child)

    @property
    def parents(self) -> nn.Parameter:
        """The first layer's weights."""
        first = next(layer for layer in self.net if not isinstance(layer, nn.Flatten))
        weight = first.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    def field(self, parent: Parent) -> CategoricalField:
        """Return p(z | parent) as a field of independent cells."""
        return CategoricalField(self.net(parent).reshape(-1, *self.child))

    def expected_log_prob(self, probs: Child, z: Child, parent: Parent) -> PerImage:
        """Return Σ_cells Σ_k probs(k) log p(z_ij = k | parent) in nats per image."""
        del z
        return self.field(parent).log_prob(probs)

    def score(self, z: Child, parent: Parent, generator: Source, pose: Pose | None = None) -> PerCell:
        """Return log p(z_ij | parent): independent cells have no order, and poses are ignored."""
        del generator, pose
        return (self.field(parent).log_probs() * z).sum(dim=1).flatten(1)

    def complete(
        self, codes: Codes, keep: Keep, parent: Parent, generator: Source = None, *, temperature: float = 1.0
    ) -> Codes:
        """Return `codes` with every cell outside `keep` resampled: cells are independent given the parent."""
        return torch.where(keep, codes, self.field(parent).sample(generator, temperature=temperature))

    def cell_log_probs(self, z: Child, parent: Parent, row: int, column: int) -> PerCode:
        """Return log p(z_ij = k | parent) of one cell; it does not depend on the other cells."""
        del z
        return self.field(parent).log_probs()[:, :, row, column]
