import pytest
import torch

from rgm.evidence.statistics import bootstrap_mean, calibration_error


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


def test_calibration_of_known_cases() -> None:
    sure = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert calibration_error(sure, torch.tensor([0, 0, 1, 1])) == pytest.approx(0.25)
    half = torch.tensor([[0.75, 0.25]]).expand(4, 2)
    assert calibration_error(half, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.0)
