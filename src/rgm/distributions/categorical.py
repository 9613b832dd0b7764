"""The discrete latent field: a grid of categorical variables, its samples, entropy and divergence."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.distributions.noise import Source, exponential

Logits = Float[Tensor, "batch states height width"]
OneHot = Float[Tensor, "batch states height width"]
Codes = Int64[Tensor, "batch height width"]
PerImage = Float[Tensor, " batch"]


@dataclass(frozen=True)
class CategoricalField:
    """Independent categorical variables on a grid, one field per image.

    `p(z = k at cell (i, j)) = softmax(logits)[k, i, j]`. Batch shape (batch,), event shape (height, width);
    `log_prob`, `entropy` and `kl` are summed over the cells and in nats per image.

    Of autoregressive variables, these are the probabilities of each cell given a sample of the cells before it, whose
    log-probability is the same sum.
    """

    logits: Logits

    @property
    def states(self) -> int:
        """Number of states of a cell."""
        return self.logits.shape[1]

    def probs(self) -> Logits:
        """Return the probability of every state at every cell."""
        return F.softmax(self.logits, dim=1)

    def log_probs(self) -> Logits:
        """Return the log-probability of every state at every cell, in nats."""
        return F.log_softmax(self.logits, dim=1)

    def mode(self) -> Codes:
        """Return the most probable code of each cell."""
        return self.logits.argmax(dim=1)

    def sample(self, generator: Source = None, *, temperature: float = 1.0) -> Codes:
        """Return codes sampled from the field, by the Gumbel-max trick over the *states* axis."""
        return (self.logits / temperature + gumbel_noise(self.logits, generator)).argmax(dim=1)

    def log_prob(self, z: OneHot) -> PerImage:
        """Return Σ_cells Σ_k z_k log p_k in nats, for hard one-hot or relaxed `z`."""
        return (z * self.log_probs()).sum(dim=(1, 2, 3))

    def entropy(self) -> PerImage:
        """Return the entropy in nats, summed over cells."""
        return -(self.probs() * self.log_probs()).sum(dim=(1, 2, 3))

    def kl(self, other: "CategoricalField") -> PerImage:
        """Return KL(self ‖ other) in nats, summed over cells."""
        log_probs = self.log_probs()
        return (log_probs.exp() * (log_probs - other.log_probs())).sum(dim=(1, 2, 3))


def one_hot(codes: Codes, states: int, *, dtype: torch.dtype = torch.float32) -> OneHot:
    """Return integer codes as a hard one-hot field, states on axis 1."""
    return F.one_hot(codes, states).movedim(-1, 1).to(dtype)


def gumbel_noise(like: Tensor, generator: Source = None) -> Tensor:
    """Return independent Gumbel(0, 1) noise of the shape, type and device of `like`."""
    return -exponential(like, generator).log()


def gumbel_softmax(logits: Tensor, *, temperature: float = 1.0, generator: Source = None) -> Tensor:
    """Return a relaxed sample over axis 1 (Jang, Gu and Poole 2017, equation 2).

    `y = softmax((logits + g) / temperature)` with Gumbel noise g; any shape with the states on axis 1.
    """
    return F.softmax((logits + gumbel_noise(logits, generator)) / temperature, dim=1)


def hard_argmax(logits: Tensor) -> Tensor:
    """Return the one-hot argmax over axis 1, in the type of `logits`."""
    index = logits.argmax(dim=1, keepdim=True)
    return torch.zeros_like(logits).scatter_(1, index, 1.0)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return `hard`, bit-identical, with the gradient of `soft`: x − x is zero for every finite x."""
    return hard + (soft - soft.detach())


def reinmax(logits: Tensor, hard: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return a one-hot draw D of softmax(logits), with the ReinMax gradient; states on axis 1.

    `π₀ = softmax(logits)`, `π₁ = (D + softmax(logits / temperature)) / 2`, and the gradient is that of `2 π₁′ − π₀ /
    2`, where π₁′ is π₁ as a softmax of shifted logits (Liu et al. 2023, algorithm 2). At temperature 1 its expectation
    over D is the gradient of E[f(D)] for every quadratic f: Heun's rule is exact there.
    """
    mixed = (hard + F.softmax(logits / temperature, dim=1)) / 2
    moving = F.softmax((mixed.log() - logits).detach() + logits, dim=1)
    return straight_through(hard, 2 * moving - F.softmax(logits, dim=1) / 2)
