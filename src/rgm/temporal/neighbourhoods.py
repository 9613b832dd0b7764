"""A path a neighbourhood: what is seen carries its own belief over paths along, so that several things move apart."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Field = Float[Tensor, "n height width"]
Beliefs = Float[Tensor, "n paths height width"]
DOUBT = 1e-3
"""Share of the belief that is over all paths alike at every step."""
GREY_DOUBT = 1e-2
"""The same for grey films, over the paths as they are in films."""
EVIDENCE = 0.1
"""Weight of the log-probability of a grey neighbourhood or block: pixels close together err together."""
TINY = 1e-30


class Recursion(ABC):
    """What a recursion over beliefs of neighbourhoods does; what `predict` returns is its own."""

    @abstractmethod
    def begin(self, field: Field) -> Beliefs:
        """Return beliefs before any motion was seen."""

    @abstractmethod
    def predict(self, field: Field, beliefs: Beliefs) -> Any:
        """Return what is known of the next frame."""

    @abstractmethod
    def guess(self, ahead: Any, generator: torch.Generator | None) -> Field:
        """Return the next frame, expected or drawn."""

    @abstractmethod
    def log_prob(self, ahead: Any, after: Field) -> Field:
        """Return log p(x′ | past) of every pixel, in nats."""

    @abstractmethod
    def update(self, field: Field, beliefs: Beliefs, after: Field, visible: Bool[Tensor, "n height width"]) -> Beliefs:
        """Return beliefs once the visible pixels of the next frame were seen."""


@dataclass(frozen=True)
class Neighbourhoods(Recursion):
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

    def predict(self, field: Field, beliefs: Beliefs) -> Field:
        """Return p(x′ = 1 | past) of every pixel."""
        weights = self._weights
        moved = F.conv2d(field[:, None] * beliefs, weights.transpose(0, 1), padding=weights.shape[2] // 2)
        return self.copied * moved[:, 0].clamp_max(1) + (1 - self.copied) * self.lit

    def guess(self, probs: Field, generator: torch.Generator | None) -> Field:
        """Return what is expected to be lit, or with a generator a draw, pixel by pixel."""
        return probs if generator is None else torch.bernoulli(probs, generator=generator)

    def log_prob(self, probs: Field, after: Field) -> Field:
        """Return log p(x′ | past) of every pixel, in nats."""
        return torch.where(after > 0.5, probs, 1 - probs).clamp_min(TINY).log()

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


@dataclass(frozen=True)
class Ahead:
    """What a grey frame predicts: the tones of every pixel's sources, (n, window, height, width), and their shares."""

    sources: Float[Tensor, "n window height width"]
    shares: Float[Tensor, "n window height width"]


@dataclass(frozen=True)
class GreyNeighbourhoods(Recursion):
    """The recursion over beliefs m_u[i], that the pixel i moves with path u, for grey films.

        s_j[i] ∝ Σ_u w_u[j] m_u[i + j], the share of the pixel i + j in what moves to i
        p(x′_i = v | past) = λ Σ_j s_j[i] K(v | x[i + j]) + (1 − λ) base(v)
        b_u[i] ∝ (Σ_j w_u[j] m_u[i + j] + doubt) Π_{i′ near i} p(x′_i′ | x, u)^weight
        m′_u′[i] = Σ_u b_u[i] p(u′ | u)

    `near` is a square of `side` pixels, `weight` is `EVIDENCE`. The next frame's pixels are independent given the past.
    Fields are tones, or lie between two where they are expected: then K is interpolated.
    """

    kernels: Float[Tensor, "paths window"]
    start: Float[Tensor, " paths"]
    follow: Float[Tensor, "paths paths"]
    noise: Float[Tensor, "tones tones"]
    base: Float[Tensor, " tones"]
    background: int
    copied: float
    side: int

    @property
    def _rows(self) -> int:
        return round(self.kernels.shape[1] ** 0.5)

    def begin(self, field: Field) -> Beliefs:
        """Return beliefs before any motion was seen."""
        return self.start[None, :, None, None].expand(len(field), -1, *field.shape[1:])

    def predict(self, field: Field, beliefs: Beliefs) -> Ahead:
        """Return the sources of every pixel and their shares, none for what lies outside of the frame."""
        window, rows = self.kernels.shape[1], self._rows
        moving = torch.einsum("uj,nuhw->njhw", self.kernels, beliefs)  # what leaves each pixel by each of the window
        each = torch.eye(window, dtype=field.dtype, device=field.device).view(window, 1, rows, rows)
        arriving = F.conv2d(moving, each, padding=rows // 2, groups=window) + TINY
        return Ahead(self._sources(field), arriving / arriving.sum(dim=1, keepdim=True))

    def guess(self, ahead: Ahead, generator: torch.Generator | None) -> Field:
        """Return expected tones, or with a generator a draw, pixel by pixel."""
        if generator is None:
            every = torch.arange(len(self.base), dtype=self.base.dtype, device=self.base.device)
            copied = (ahead.shares * ahead.sources).sum(dim=1)
            return self.copied * copied + (1 - self.copied) * float(self.base @ every)
        tones = [self._probs(ahead, torch.full_like(ahead.sources[:, 0], tone)) for tone in range(len(self.base))]
        probs = torch.stack(tones, dim=-1)
        drawn = probs.flatten(0, -2).multinomial(1, generator=generator)
        return drawn.view(probs.shape[:-1]).to(ahead.sources)

    def log_prob(self, ahead: Ahead, after: Field) -> Field:
        """Return log p(x′ | past) of every pixel, in nats."""
        return self._probs(ahead, after).clamp_min(TINY).log()

    def update(self, field: Field, beliefs: Beliefs, after: Field, visible: Bool[Tensor, "n height width"]) -> Beliefs:
        """Return beliefs at every pixel of the next frame, for the step after it."""
        weights = self.kernels.view(-1, 1, self._rows, self._rows)
        copied = torch.einsum("uj,njhw->nuhw", self.kernels, self._agreement(self._sources(field), after))
        probs = self.copied * copied + (1 - self.copied) * self.base[after.round().long()][:, None]
        log = probs.clamp_min(TINY).log() * visible[:, None]
        near = F.avg_pool2d(log, self.side, stride=1, padding=self.side // 2, divisor_override=1)
        carried = F.conv2d(beliefs, weights, padding=self._rows // 2, groups=len(weights))
        prior = carried + GREY_DOUBT * self.start[:, None, None]
        belief = (prior.log() + EVIDENCE * near).softmax(dim=1)
        return torch.einsum("nuhw,uv->nvhw", belief, self.follow)

    def _sources(self, field: Field) -> Float[Tensor, "n window height width"]:
        reach = self._rows // 2
        padded = F.pad(field, (reach, reach, reach, reach), value=self.background)
        return F.unfold(padded[:, None], self._rows).unflatten(2, field.shape[1:])

    def _probs(self, ahead: Ahead, after: Field) -> Field:
        copied = (ahead.shares * self._agreement(ahead.sources, after)).sum(dim=1)
        return self.copied * copied + (1 - self.copied) * self.base[after.round().long()]

    def _agreement(self, sources: Tensor, after: Field) -> Float[Tensor, "n window height width"]:
        """Return K(x′_i | x[i + j])."""
        target, low = after.round().long()[:, None], sources.floor().long()
        high, rest = (low + 1).clamp_max(len(self.base) - 1), sources - low
        return (1 - rest) * self.noise[low, target] + rest * self.noise[high, target]
