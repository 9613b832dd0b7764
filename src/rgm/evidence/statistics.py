"""Estimates with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.special import stdtrit
from torch import Tensor

from rgm.errors import RGMError

RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval and its unit."""

    estimate: float
    low: float
    high: float
    unit: str


def bootstrap_mean(values: Float[Tensor, " n"], unit: str, *, seed: int = 0) -> Estimate:
    """Return the mean over images with its bootstrap interval: 1,000 resamples of images, percentiles 2.5 and 97.5."""
    return bootstrap_ratio(values, torch.ones_like(values), unit, seed=seed)


def bootstrap_ratio(
    parts: Float[Tensor, " n"], wholes: Float[Tensor, " n"], unit: str, *, seed: int = 0
) -> Estimate:
    """Return Σ parts / Σ wholes over images with its bootstrap interval, as `bootstrap_mean`; wholes are positive."""
    numbers = torch.stack([parts, wholes], dim=1).double().cpu().numpy()
    rng = np.random.default_rng(seed)
    # A resample of n images is a multinomial draw of how often each is taken.
    even = np.full(len(numbers), 1 / len(numbers))
    sums = np.concatenate(
        [rng.multinomial(len(numbers), even, size=100) @ numbers for _ in range(RESAMPLES // 100)]
    )
    low, high = np.percentile(sums[:, 0] / sums[:, 1], [2.5, 97.5])
    total = numbers.sum(axis=0)
    return Estimate(estimate=float(total[0] / total[1]), low=float(low), high=float(high), unit=unit)


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
) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 3), with `bins` bins of equal width.

    Σ_b (n_b / n) · |share right in b − mean confidence in b|.
    """
    confidence, predicted = probabilities.double().max(dim=1)
    right = (predicted == labels).double()
    bin_ = (confidence * bins).ceil().clamp(1, bins).long() - 1
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_, right - confidence)
    return float(gaps.abs().sum() / len(labels))
