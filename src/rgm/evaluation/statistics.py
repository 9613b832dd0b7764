"""Estimates with their intervals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import Tensor

from rgm.errors import RGMError

RESAMPLES = 1000
_AT_ONCE = 50
"""Resamples summed at once, which bounds memory."""
Sums = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval and its unit."""

    estimate: float
    low: float
    high: float
    unit: str

    def minus(self, other: "Estimate") -> "Estimate":
        """Return the difference from an estimate that was made of other images or draws, with its interval.

        The limits are those of Zou and Donner 2008 (equation 6), which need no more than both intervals.
        """
        middle = self.estimate - other.estimate
        below = np.hypot(self.estimate - self.low, other.high - other.estimate)
        above = np.hypot(self.high - self.estimate, other.estimate - other.low)
        return Estimate(estimate=middle, low=float(middle - below), high=float(middle + above), unit=self.unit)


def exactly(value: float, unit: str) -> Estimate:
    """Return a number that is counted or computed, not estimated."""
    return Estimate(estimate=value, low=value, high=value, unit=unit)


@dataclass(frozen=True, kw_only=True, eq=False)
class PerImage:
    """A number that is a ratio of sums over images, Σ parts / Σ wholes; a mean where every whole is 1."""

    parts: Float[Tensor, " n"]
    wholes: Float[Tensor, " n"]
    unit: str

    @classmethod
    def mean(cls, values: Tensor, unit: str) -> "PerImage":
        """Return the mean of values (or the share of images for which something is true)."""
        return cls(parts=values.double(), wholes=torch.ones(len(values), dtype=torch.float64), unit=unit)

    def estimate(self) -> Estimate:
        """Return the ratio with its bootstrap interval over images; nothing where the wholes sum to nothing."""
        return bootstrap(self._numbers(), lambda sums: sums[:, 0] / sums[:, 1], self.unit)

    @property
    def value(self) -> float:
        """The ratio alone; 0 where the wholes sum to nothing."""
        whole = float(self.wholes.double().sum())
        return float(self.parts.double().sum()) / whole if whole else 0.0

    def minus(self, other: "PerImage") -> Estimate:
        """Return the paired difference from the same ratio on the same images; raise RGMError where they are not."""
        if len(self.parts) != len(other.parts):
            raise RGMError(
                f"what is paired must be of the same images, but there are {len(self.parts)} and {len(other.parts)}"
            )
        both = torch.cat([self._numbers(), other._numbers()], dim=1)
        return bootstrap(both, lambda sums: sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3], self.unit)

    def _numbers(self) -> Float[Tensor, "n 2"]:
        return torch.stack([self.parts.double().cpu(), self.wholes.double().cpu()], dim=1)


Findings = dict[str, Estimate | PerImage]
"""Numbers by the name of their measure."""


def values(findings: Findings) -> dict[str, float]:
    """Return numbers by name, without their intervals."""
    return {name: found.value if isinstance(found, PerImage) else found.estimate for name, found in findings.items()}


def bootstrap(
    numbers: Float[Tensor, "n k"], statistic: Callable[[Sums], Sums], unit: str, *, seed: int = 0
) -> Estimate:
    """Return a statistic of sums over images with its bootstrap interval: 1,000 resamples, percentiles 2.5 and 97.5.

    `statistic` maps rows of sums to a number each. The resamples depend on the number of images and the seed alone.
    """
    values = numbers.double().cpu().numpy()
    taken = _resamples(len(values), seed)
    parts = (taken[first : first + _AT_ONCE] @ values for first in range(0, RESAMPLES, _AT_ONCE))
    sums = np.concatenate([values.sum(axis=0)[None], *parts])
    with np.errstate(divide="ignore", invalid="ignore"):  # of nothing there is no ratio, and no interval
        found = statistic(sums)
    if not np.isfinite(found).all():
        return Estimate(estimate=float(found[0]), low=math.nan, high=math.nan, unit=unit)
    low, high = np.percentile(found[1:], [2.5, 97.5])
    if np.ptp(found) <= 1e-12 * abs(found[0]):  # equal but for rounding
        low = high = found[0]
    return Estimate(estimate=float(found[0]), low=float(low), high=float(high), unit=unit)


@lru_cache(maxsize=2)
def _resamples(count: int, seed: int) -> NDArray[np.uint8]:
    """Return how often every image occurs in each resample: the same for all measures of the same images."""
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(count, size=count) for _ in range(RESAMPLES))
    return np.stack([np.bincount(one, minlength=count).astype(np.uint8) for one in drawn])


def bootstrap_mean(values: Float[Tensor, " n"], unit: str) -> Estimate:
    """Return the mean over images with its bootstrap interval."""
    return PerImage.mean(values, unit).estimate()


def mean_over_draws(values: Sequence[float], unit: str) -> Estimate:
    """Return the mean of independent draws with its t-interval, mean ± t_{0.975, n−1} s / √n (Student 1908).

    Raises RGMError for fewer than two.
    """
    if len(values) < 2:
        raise RGMError(f"an interval needs at least two draws, but there are {len(values)}")
    mean = float(np.mean(values))
    reach = float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / len(values) ** 0.5)
    return Estimate(estimate=mean, low=mean - reach, high=mean + reach, unit=unit)


def calibration_error(
    probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], *, bins: int = 15
) -> Estimate:
    """Return the expected calibration error (Guo et al. 2017, equation 3), with `bins` bins of equal width.

    Σ_b (n_b / n) · |share right in b − mean confidence in b|; the interval is over images.
    """
    confidence, predicted = probabilities.double().max(dim=1)
    right = (predicted == labels).double()
    bin_ = (confidence * bins).ceil().clamp(1, bins).long() - 1
    gaps = torch.zeros(len(labels), bins, dtype=torch.float64)
    gaps[torch.arange(len(labels)), bin_] = right - confidence
    return bootstrap(gaps, lambda sums: np.abs(sums).sum(axis=1) / len(labels), "share")
