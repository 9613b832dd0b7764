"""Priors p(z_ℓ | z_{ℓ+1}) over a grid of codes given its parent."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from rgm.data.jitter import Pose
from rgm.distributions.noise import Source
from rgm.model.recognition import Shape

Parent = Float[Tensor, "batch parents height_above width_above"]
Child = Float[Tensor, "batch states height width"]
Codes = Int64[Tensor, "batch height width"]
Keep = Bool[Tensor, "batch height width"]
PerImage = Float[Tensor, " batch"]
PerCell = Float[Tensor, "batch cells"]
PerCode = Float[Tensor, "batch states"]


class Prior(nn.Module, ABC):
    """p(z | parent) over a whole grid: children one-hot (or relaxed), the parent embedded by `Recognition.read`."""

    child: Shape

    def log_prob(self, z: Child, parent: Parent) -> PerImage:
        """Return log p(z | parent) in nats per image."""
        return self.expected_log_prob(z, z, parent)

    @abstractmethod
    def expected_log_prob(self, probs: Child, z: Child, parent: Parent) -> PerImage:
        """Return Σ_t Σ_k probs_t(k) log p(z_t = k | z_<t, parent) in nats, over the cells t in the prior's order.

        With z sampled from independent cells of these probabilities, it estimates E[log p(z | parent)] with less
        variance than log p(z | parent): every cell's own sample is summed out.
        """

    @abstractmethod
    def score(self, z: Child, parent: Parent, generator: Source, pose: Pose | None = None) -> PerCell:
        """Return the training objective: log p of each cell in nats, given the parent and the cells before it.

        The prior chooses the order, at random for some images; the sum over cells is log p(z | parent). A prior that
        ignores `pose` is trained on augmented images as ordinary data.
        """

    @abstractmethod
    def complete(
        self, codes: Codes, keep: Keep, parent: Parent, generator: Source = None, *, temperature: float = 1.0
    ) -> Codes:
        """Return grids whose cells in `keep` are those of `codes`, the rest sampled given them and the parent."""

    @abstractmethod
    def cell_log_probs(self, z: Child, parent: Parent, row: int, column: int) -> PerCode:
        """Return log p(z_ij = k | all other cells, parent) in nats, for the cell (i, j) and every code k."""

    def sample(self, parent: Parent, generator: Source = None, *, temperature: float = 1.0) -> Codes:
        """Return a grid of codes for each parent, sampled at `temperature`."""
        blank = torch.zeros(len(parent), *self.grid, dtype=torch.int64, device=parent.device)
        return self.complete(
            blank, torch.zeros_like(blank, dtype=torch.bool), parent, generator, temperature=temperature
        )

    def hidden(self) -> list[nn.Parameter]:
        """Return the matrices between hidden layers, without input and output layers."""
        return []

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the child's grid."""
        return self.child[1:]

    @property
    @abstractmethod
    def parents(self) -> nn.Parameter:
        """The weights of a single-cell parent's states, on axis 1."""
