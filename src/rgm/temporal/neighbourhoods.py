"""A path a neighbourhood: what is lit carries its own belief over paths along, so that several things move apart."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Field = Float[Tensor, "n height width"]
Beliefs = Float[Tensor, "n paths height width"]
DOUBT = 1e-3
"""Share of the belief that is over all paths alike at every step."""


@dataclass(frozen=True)
class Neighbourhoods:
    """The recursion over beliefs m_u[i], that the lit pixel i moves with path u, for black and white films.

        p(x′_i = 1 | past) = λ min(1, Σ_u Σ_j w_u[j] x[i + j] m_u[i + j]) + (1 − λ) base(1)
        b_u[i] ∝ (Σ_j w_u[j] x[i + j] m_u[i + j] + doubt) Π_{i′ near i} p(x′_i′ | x, u)
        m′_u′[i] = Σ_u b_u[i] p(u′ | u, distances of what is lit near i)

    `near` is a square of `side` pixels. The next frame's pixels are independent given the past: its log-probability is
    a sum over them, exact for this model, and no path of the whole frame is left to sum over.
    """

    kernels: Float[Tensor, "paths window"]
    start: Float[Tensor, " paths"]
    follow: Tensor
    steps: Float[Tensor, "paths 2"]
    copied: float
    lit: float
    sight: int
    side: int

    @property
    def _weights(self) -> Float[Tensor, "paths 1 rows columns"]:
        rows = round(self.kernels.shape[1] ** 0.5)
        return self.kernels.view(-1, 1, rows, rows)

    def begin(self, field: Field) -> Beliefs:
        """Return beliefs before any motion was seen."""
        return self.start[None, :, None, None].expand(len(field), -1, *field.shape[1:])

    def foretell(self, field: Field, beliefs: Beliefs) -> Field:
        """Return p(x′ = 1 | past) of every pixel."""
        weights = self._weights
        moved = F.conv2d(field[:, None] * beliefs, weights.transpose(0, 1), padding=weights.shape[2] // 2)
        return self.copied * moved[:, 0].clamp_max(1) + (1 - self.copied) * self.lit

    def update(self, field: Field, beliefs: Beliefs, after: Field, visible: Bool[Tensor, "n height width"]) -> Beliefs:
        """Return beliefs at what is lit in the next frame, for the step after it."""
        weights = self._weights
        reach, paths = weights.shape[2] // 2, len(weights)
        probs = self.copied * F.conv2d(field[:, None], weights, padding=reach) + (1 - self.copied) * self.lit
        log = torch.where(after[:, None] > 0.5, probs, 1 - probs).clamp_min(1e-6).log() * visible[:, None]
        near = F.avg_pool2d(log, self.side, stride=1, padding=self.side // 2, divisor_override=1)
        carried = F.conv2d(field[:, None] * beliefs, weights, padding=reach, groups=paths)
        prior = carried + DOUBT * self.start[:, None, None]
        belief = (prior.log() + near).softmax(dim=1)
        return self._follow(belief, after)

    def _follow(self, belief: Beliefs, after: Field) -> Beliefs:
        lit = after > 0.5
        distances = self._distances(lit)
        film, row, column = lit.nonzero().unbind(dim=1)
        here = belief[film, :, row, column]
        index = []
        for axis in (0, 1):
            near, far = (found[film, row, column, None] for found in distances[axis])
            moves = self.steps[:, axis].round()
            index.append(torch.where(moves == 0, self.sight + 1, torch.where(moves < 0, near, far)))
        every = torch.arange(len(self.start), device=belief.device)
        found = torch.zeros_like(belief)
        for part in torch.arange(len(film)).split(8192):
            rows = self.follow[every, index[0][part], index[1][part]]
            found[film[part], :, row[part], column[part]] = torch.einsum("ku,kuv->kv", here[part], rows)
        return found

    def _distances(self, lit: Bool[Tensor, "n height width"]) -> list[tuple[Tensor, Tensor]]:
        """Return the distances from what is lit near each pixel to the borders before and behind, down and across."""
        found = []
        for axis in (1, 2):
            size = lit.shape[axis]
            line = torch.arange(size, device=lit.device, dtype=torch.float32)
            place = line[:, None] if axis == 1 else line[None]
            pair = []
            for where in (place, size - 1 - place):
                score = torch.where(lit, size - where, 0.0)[:, None]
                most = F.max_pool2d(score, self.side, stride=1, padding=self.side // 2)[:, 0]
                pair.append((size - most).clamp(0, self.sight).long())
            found.append((pair[0], pair[1]))
        return found
