import pytest
import torch

from rgm.errors import RGMError
from rgm.evidence.statistics import bootstrap_mean, bootstrap_ratio, calibration_error, mean_over_draws


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
        found = bootstrap_mean(values, "share", seed=trial)
        covered += found.low <= 0.5 <= found.high
    assert 87 <= covered <= 100


def test_a_ratio_of_sums_is_no_mean_of_ratios(generator: torch.Generator) -> None:
    """Its interval is the delta method's: the spread of part − ratio · whole over the mean whole."""
    wholes = torch.rand(4000, generator=generator, dtype=torch.float64) + 0.5
    parts = wholes.square() * 0.3
    found = bootstrap_ratio(parts, wholes, "share")
    ratio = float(parts.sum() / wholes.sum())
    reach = 1.96 * float((parts - ratio * wholes).std() / wholes.mean()) / 4000**0.5
    assert found.estimate == pytest.approx(ratio)
    assert found.low == pytest.approx(ratio - reach, abs=0.15 * reach)
    assert found.high == pytest.approx(ratio + reach, abs=0.15 * reach)


def test_calibration_of_known_cases() -> None:
    sure = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert calibration_error(sure, torch.tensor([0, 0, 1, 1])) == pytest.approx(0.25)
    half = torch.tensor([[0.75, 0.25]]).expand(4, 2)
    assert calibration_error(half, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.0)


def test_the_interval_over_draws_is_students() -> None:
    found = mean_over_draws([1.0, 2.0, 3.0], "ratio")
    reach = 4.302653 / 3**0.5  # t_{0.975, 2} s / √n with s = 1
    assert (found.estimate, found.unit) == (2, "ratio")
    assert found.low == pytest.approx(2 - reach, rel=1e-6)
    assert found.high == pytest.approx(2 + reach, rel=1e-6)
    with pytest.raises(RGMError, match="at least two draws"):
        mean_over_draws([1.0], "ratio")
