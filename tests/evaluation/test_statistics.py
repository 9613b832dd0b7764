import math

import pytest
import torch

from rgm.errors import RGMError
from rgm.evaluation.statistics import (
    Estimate,
    PerImage,
    bootstrap,
    bootstrap_mean,
    calibration_error,
    exactly,
    mean_over_draws,
)


def test_the_interval_is_the_central_limit_theorems(generator: torch.Generator) -> None:
    values = torch.randn(4000, generator=generator, dtype=torch.float64) * 3 + 1
    found = bootstrap_mean(values, "nats")
    reach = 1.96 * float(values.std()) / 4000**0.5
    assert found.estimate == pytest.approx(float(values.mean()))
    assert found.low == pytest.approx(found.estimate - reach, abs=0.15 * reach)
    assert found.high == pytest.approx(found.estimate + reach, abs=0.15 * reach)


def test_the_interval_covers_as_often_as_it_says(generator: torch.Generator) -> None:
    covered = 0
    for trial in range(100):
        values = torch.rand(200, generator=generator, dtype=torch.float64)
        found = bootstrap(values[:, None], lambda sums: sums[:, 0] / 200, "share", seed=trial)
        covered += found.low <= 0.5 <= found.high
    assert 87 <= covered <= 100


def test_a_ratio_of_sums_is_no_mean_of_ratios(generator: torch.Generator) -> None:
    """Its interval is the delta method's: the spread of part − ratio · whole over the mean whole."""
    wholes = torch.rand(4000, generator=generator, dtype=torch.float64) + 0.5
    parts = wholes.square() * 0.3
    found = PerImage(parts=parts, wholes=wholes, unit="share").estimate()
    ratio = float(parts.sum() / wholes.sum())
    reach = 1.96 * float((parts - ratio * wholes).std() / wholes.mean()) / 4000**0.5
    assert found.estimate == pytest.approx(ratio)
    assert found.low == pytest.approx(ratio - reach, abs=0.15 * reach)
    assert found.high == pytest.approx(ratio + reach, abs=0.15 * reach)


def test_a_share_of_nothing_is_not_a_number() -> None:
    none = torch.zeros(50)
    found = PerImage(parts=none, wholes=none, unit="share").estimate()
    assert all(map(math.isnan, (found.estimate, found.low, found.high)))
    assert PerImage(parts=none + 1, wholes=none, unit="ratio").value == 0


def test_pairing_takes_away_what_two_models_have_in_common(generator: torch.Generator) -> None:
    """Two scores of the same images that differ by a little noise: the paired interval is that of the noise."""
    common = torch.randn(2000, generator=generator, dtype=torch.float64) * 5
    noise = torch.randn(2000, generator=generator, dtype=torch.float64) * 0.1
    first, second = PerImage.mean(common, "nats"), PerImage.mean(common + noise + 0.05, "nats")
    found = second.minus(first)
    reach = 1.96 * float(noise.std()) / 2000**0.5
    assert found.estimate == pytest.approx(0.05 + float(noise.mean()))
    assert found.low == pytest.approx(found.estimate - reach, abs=0.15 * reach)
    assert found.high == pytest.approx(found.estimate + reach, abs=0.15 * reach)
    apart = second.estimate().minus(first.estimate())
    assert apart.estimate == pytest.approx(found.estimate)
    assert apart.high - apart.low > 20 * (found.high - found.low)
    nothing = first.minus(first)
    assert (nothing.estimate, nothing.low, nothing.high) == (0, 0, 0)
    with pytest.raises(RGMError, match="same images, but there are 2000 and 50"):
        first.minus(PerImage.mean(common[:50], "nats"))


def test_a_difference_of_independent_estimates_adds_their_variances() -> None:
    first = Estimate(estimate=3.0, low=2.4, high=3.6, unit="nats")
    second = Estimate(estimate=1.0, low=0.2, high=1.8, unit="nats")
    found = first.minus(second)
    assert (found.estimate, found.low, found.high) == (2.0, pytest.approx(1.0), pytest.approx(3.0))
    moved = first.minus(exactly(1.0, "nats"))
    assert (moved.estimate, moved.low, moved.high) == (2.0, pytest.approx(1.4), pytest.approx(2.6))


def test_calibration_of_known_cases(generator: torch.Generator) -> None:
    sure = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert calibration_error(sure, torch.tensor([0, 0, 1, 1])).estimate == pytest.approx(0.25)
    half = torch.tensor([[0.75, 0.25]]).expand(4, 2)
    assert calibration_error(half, torch.tensor([0, 0, 0, 1])).estimate == pytest.approx(0.0)
    many = torch.tensor([[0.9, 0.1]]).expand(2000, 2)
    wrong = (torch.rand(2000, generator=generator) < 0.4).long()
    found = calibration_error(many, wrong)
    assert found.low < 0.9 - 0.6 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * (0.4 * 0.6 / 2000) ** 0.5, rel=0.15)


def test_the_interval_over_draws_is_students() -> None:
    found = mean_over_draws([1.0, 2.0, 3.0], "ratio")
    reach = 4.302653 / 3**0.5  # t_{0.975, 2} s / √n with s = 1
    assert (found.estimate, found.unit) == (2, "ratio")
    assert found.low == pytest.approx(2 - reach, rel=1e-6)
    assert found.high == pytest.approx(2 + reach, rel=1e-6)
    with pytest.raises(RGMError, match="at least two draws"):
        mean_over_draws([1.0], "ratio")
