"""Priors p(z_ℓ | z_{ℓ+1}): how a parent's codes become a grid of codes beneath it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from rgm.categorical import CategoricalField
from rgm.model.recognition import Shape

Parent = Float[Tensor, "batch parents height_above width_above"]
Child = Float[Tensor, "batch states height width"]
Codes = Int64[Tensor, "batch height width"]


@dataclass(frozen=True, kw_only=True)
class DensePrior:
    """The notebook's `dec2`: every cell independent given the parent; one hidden layer from all of the parent."""

    kind: Literal["dense"] = "dense"
    width: int


PriorConfig = DensePrior


class Prior(nn.Module, ABC):
    """p(z | parent) over a whole grid. Parents and children are one-hot (or relaxed) fields."""

    @abstractmethod
    def log_prob(self, z: Child, parent: Parent) -> Float[Tensor, " batch"]:
        """Return log p(z | parent) in nats per image."""

    @abstractmethod
    def sample(
        self, parent: Parent, generator: torch.Generator | None = None, *, temperature: float = 1.0
    ) -> Codes:
        """Return a grid of codes for each parent, drawn at `temperature`."""


class FactorisedPrior(Prior):
    """p(z | parent) = Π_cells p(z_ij | parent)."""

    def __init__(self, config: DensePrior, parent: Shape, child: Shape) -> None:
        super().__init__()
        self.child = child
        states, height, width = child
        parents = parent[0] * parent[1] * parent[2]
        self.net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(parents, config.width),
            nn.ReLU(),
            nn.Linear(config.width, states * height * width),
        )

    def field(self, parent: Parent) -> CategoricalField:
        """Return the independent cells' distribution."""
        return CategoricalField(self.net(parent).reshape(-1, *self.child))

    def log_prob(self, z: Child, parent: Parent) -> Float[Tensor, " batch"]:
        """Return log p(z | parent) in nats per image."""
        return self.field(parent).log_prob(z)

    def sample(
        self, parent: Parent, generator: torch.Generator | None = None, *, temperature: float = 1.0
    ) -> Codes:
        """Return every cell drawn on its own."""
        return self.field(parent).sample(generator, temperature=temperature)
