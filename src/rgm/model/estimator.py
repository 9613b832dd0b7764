"""Gradient estimators: samples of discrete codes in training, and their gradients."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Discriminator
from torch import Tensor, nn

from rgm.distributions.categorical import gumbel_noise, gumbel_softmax, hard_argmax, reinmax, straight_through
from rgm.distributions.noise import BatchSlice, Source
from rgm.errors import unknown
from rgm.model.bounds import Positive, Size
from rgm.presets import ESTIMATORS
from rgm.runtime.device import shapes_alone
from rgm.runtime.distributed import total


@dataclass(frozen=True, kw_only=True)
class Gumbel:
    """Gumbel-Softmax samples of the logits at a fixed temperature (Jang, Gu and Poole 2017)."""

    kind: Literal["gumbel"] = "gumbel"
    temperature: Positive = 1.0

    def sample(self, logits: Tensor, generator: Source) -> Tensor:
        """Return a relaxed sample over axis 1."""
        return gumbel_softmax(logits, temperature=self.temperature, generator=generator)


@dataclass(frozen=True, kw_only=True)
class StraightThrough:
    """Hard samples with the gradient of the relaxed ones (Jang, Gu and Poole 2017, section 2.2)."""

    kind: Literal["straight-through"] = "straight-through"
    temperature: Positive = 1.0

    def sample(self, logits: Tensor, generator: Source) -> Tensor:
        """Return a one-hot sample over axis 1: the argmax of the relaxed one."""
        soft = gumbel_softmax(logits, temperature=self.temperature, generator=generator)
        return straight_through(hard_argmax(soft), soft)


@dataclass(frozen=True, kw_only=True)
class ReinMax:
    """Hard samples with a gradient that is accurate to second order (Liu et al. 2023, algorithm 2)."""

    kind: Literal["reinmax"] = "reinmax"
    temperature: Positive = 1.0

    def sample(self, logits: Tensor, generator: Source) -> Tensor:
        """Return a one-hot sample over axis 1."""
        drawn = hard_argmax(logits.detach() + gumbel_noise(logits, generator))
        return reinmax(logits, drawn, temperature=self.temperature)


@dataclass(frozen=True, kw_only=True)
class VectorQuantised:
    """Nearest entry of a learned codebook (van den Oord et al. 2017).

    `q(z = k | x) = softmax_k(−sharpness · ‖e(x) − c_k‖²)`; training uses its mode, with the straight-through
    gradient to e. `commitment` weighs ‖e − sg c‖² against the codebook's own ‖sg e − c‖².
    """

    kind: Literal["vector-quantised"] = "vector-quantised"
    dimension: Size = 16
    commitment: Positive = 0.25
    sharpness: Positive = 4.0


Sampled = Gumbel | StraightThrough | ReinMax
"""Estimators that sample from logits."""

Estimator = Annotated[Sampled | VectorQuantised, Discriminator("kind")]


def named_estimator(name: str) -> Estimator:
    """Return the estimator of a name, with its defaults; raise RGMError for an unknown one."""
    for kind in (Gumbel, StraightThrough, VectorQuantised, ReinMax):
        if kind.kind == name:
            return kind()
    raise unknown("estimator", name, ESTIMATORS)


class LogitsHead(nn.Module):
    """Logits by a linear map; the estimator's samples in training, the one-hot argmax in evaluation."""

    def __init__(self, project: nn.Module, estimator: Sampled) -> None:
        super().__init__()
        self.project = project
        self.estimator = estimator

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        return self.project(features)

    def read(self, z: Tensor) -> Tensor:
        """Return `z` unchanged: without a codebook, the states are the channels."""
        return z

    def relax(self, features: Tensor, generator: Source) -> tuple[Tensor, Tensor, None]:
        """Return logits, a sample that carries gradient, and no cost."""
        logits = self(features)
        sample = self.estimator.sample(logits, generator) if self.training else hard_argmax(logits)
        return logits, sample, None


REACH = 2
"""Rows above and columns on either side of a cell within which the cells before it change its logits."""


class AutoregressiveHead(nn.Module):
    """Logits of each cell given the features and the codes of the cells before it, in raster order.

    `a_t(k) = W h_t + V ReLU(U h_t + Σ_s C_{s−t} z_s)`, h_t the features of cell t, and s the cells before t that are at
    most two rows and two columns away. V starts as zeros: the cells are independent at first.
    """

    def __init__(self, project: nn.Conv2d, grid: tuple[int, int], estimator: Sampled) -> None:
        super().__init__()
        self.project = project
        self.grid, self.estimator = grid, estimator
        states, width = project.out_channels, max(1, project.in_channels // 2)
        self.code = nn.Linear(states, width, bias=False)
        self.local = nn.Conv2d(project.in_channels, width, 1)
        self.near = nn.Linear(len(_before()) * width, width, bias=False)
        self.change = nn.Linear(width, states, bias=False)
        if not shapes_alone():
            nn.init.zeros_(self.change.weight)

    def walk(self, features: Tensor, pick: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits of the cells, each given the codes that `pick` chose before, and these codes."""
        height, width = self.grid
        alone, local = self.project(features), self.local(features)
        nothing = torch.zeros_like(local[:, :, 0, 0])
        logits: list[Tensor] = []
        chosen: list[Tensor] = []
        known: dict[tuple[int, int], Tensor] = {}
        for row, column in product(range(height), range(width)):
            near = [known.get((row + down, column + across), nothing) for down, across in _before()]
            hidden = F.relu(local[:, :, row, column] + self.near(torch.cat(near, dim=1)))
            logits.append(alone[:, :, row, column] + self.change(hidden))
            chosen.append(pick(logits[-1]))
            known[row, column] = self.code(chosen[-1])
        return (torch.stack(logits, dim=2).unflatten(2, self.grid), torch.stack(chosen, dim=2).unflatten(2, self.grid))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of each cell given the most probable codes of the cells before it."""
        return self.walk(features, hard_argmax)[0]

    def draw(self, features: Tensor, generator: Source) -> tuple[Tensor, Tensor]:
        """Return one-hot samples of q, and the logits of each cell given those of the cells before it."""
        return self.walk(features, lambda logits: hard_argmax(logits + gumbel_noise(logits, generator)))

    def read(self, z: Tensor) -> Tensor:
        """Return `z` unchanged: without a codebook, the states are the channels."""
        return z

    def relax(self, features: Tensor, generator: Source) -> tuple[Tensor, Tensor, None]:
        """Return logits, samples of all cells that carry gradient, and no cost."""
        pick = partial(self.estimator.sample, generator=generator) if self.training else hard_argmax
        return (*self.walk(features, pick), None)


def _before() -> list[tuple[int, int]]:
    """Return the rows down and columns across from a cell to those before it that change its logits."""
    near = range(-REACH, REACH + 1)
    return [(down, across) for down in range(-REACH, 1) for across in near if (down, across) < (0, 0)]


_MEMORY = 0.99
"""Decay of the running mean of usage, over about a hundred steps."""
_DEAD = 0.05
"""An entry used less than this fraction of the uniform share is moved."""


class CodebookHead(nn.Module):
    """An embedding e of every cell, and a codebook; the code is the entry nearest to e."""

    def __init__(self, project: nn.Module, states: int, config: VectorQuantised) -> None:
        super().__init__()
        self.project = project
        shape = (states, config.dimension)
        self.codebook = nn.Parameter(torch.empty(shape) if shapes_alone() else 0.5 * torch.randn(shape))
        self.usage: Tensor
        self.register_buffer("usage", torch.ones(states))
        self.commitment = config.commitment
        self.sharpness = config.sharpness

    def forward(self, features: Tensor) -> Tensor:
        """Return logits −sharpness · ‖e − c_k‖²."""
        return self._logits(self.project(features))

    def read(self, z: Tensor) -> Tensor:
        """Return the codebook entries of a one-hot or relaxed field, (batch, dimension, h, w)."""
        return torch.einsum("bkhw,kd->bdhw", z, self.codebook)

    def relax(self, features: Tensor, generator: Source) -> tuple[Tensor, Tensor, Float[Tensor, ""] | None]:
        """Return logits, the one-hot code with a straight-through gradient to e, and the codebook loss.

        In evaluation, the code has no gradient, and there is no loss.

        The sample is one-hot plus `(e − sg e) C⁺`, which is zero in value. `read` maps it to `c_k + (e − sg e)`:
        exactly the straight-through estimator of van den Oord et al. (2017), section 3.2, while the sample stays
        one-hot in value.
        """
        e = self.project(features)
        if not self.training:
            logits = self._logits(e)
            return logits, hard_argmax(logits), None
        dead = self.usage < _DEAD
        if bool(dead.any()):
            with torch.no_grad():  # rarely used entries are moved to embeddings of this batch
                self.codebook.copy_(torch.where(dead[:, None], self._picked(e, generator), self.codebook))
        logits = self._logits(e)
        hard = hard_argmax(logits)
        self._count(hard, dead)
        nearest = self.read(hard)
        cost = F.mse_loss(nearest, e.detach()) + self.commitment * F.mse_loss(e, nearest.detach())
        # C⁺ by the normal equations with a small ridge; far cheaper than a decomposition.
        c = self.codebook.detach()
        gram = c.T @ c + 1e-6 * torch.eye(c.shape[1], device=c.device, dtype=c.dtype)
        inverse = torch.linalg.solve(gram, c.T)
        sample = hard + torch.einsum("bdhw,dk->bkhw", e - e.detach(), inverse)
        return logits, sample, cost

    @torch.no_grad()
    def _count(self, hard: Float[Tensor, "batch states h w"], moved: Bool[Tensor, " states"]) -> None:
        """Update the running mean of each entry's share times the number of entries: 1 for uniform use."""
        counts = total(hard.sum(dim=(0, 2, 3)))
        share = counts * len(moved) / counts.sum()
        self.usage.copy_(torch.where(moved, 1.0, _MEMORY * self.usage + (1 - _MEMORY) * share))

    def _picked(self, e: Float[Tensor, "batch d h w"], source: Source) -> Float[Tensor, "states d"]:
        """Return one embedding of this batch for each entry, from all processes' cells.

        They are sampled in proportion to the squared distance from their entry, as in k-means++ (Arthur and
        Vassilvitskii 2007): most cells of an image may be alike, and well quantised already.
        """
        flat, squared = (e.movedim(1, -1).flatten(0, 2), -self._logits(e).amax(dim=1).flatten(1) / self.sharpness)
        squared = squared.clamp_min(torch.finfo(squared.dtype).tiny)
        if not isinstance(source, BatchSlice):
            return flat[torch.multinomial(squared.flatten(), len(self.usage), True, generator=source)]
        weights = squared.new_zeros(source.total, squared.shape[1])
        weights[source.rows] = squared
        weights = total(weights).flatten()
        picked = torch.multinomial(weights, len(self.usage), True, generator=source.generator)
        row, cell = picked // squared.shape[1], picked % squared.shape[1]
        local = source.rows[:, None] == row
        found = e.flatten(2)[local.long().argmax(dim=0), :, cell]
        return total(torch.where(local.any(dim=0)[:, None], found, 0.0))

    def _logits(self, e: Float[Tensor, "batch d h w"]) -> Float[Tensor, "batch states h w"]:
        cross = torch.einsum("bdhw,kd->bkhw", e, self.codebook)
        norms = self.codebook.square().sum(dim=1)[:, None, None]
        return -self.sharpness * (e.square().sum(dim=1, keepdim=True) - 2 * cross + norms)
