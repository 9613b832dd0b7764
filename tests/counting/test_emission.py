"""p(symbols | state) against torch.distributions and sums symbol by symbol."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical

from rgm.counting.emission import IMPOSSIBLE, emission, expected_symbols

CELLS, STATES, VARIATES = 2, 3, 5


def made(levels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return counts, hard levels (cells, n, variates) and the same as symbols."""
    generator = torch.Generator().manual_seed(levels)
    counts = torch.empty(CELLS, STATES, VARIATES, levels, dtype=torch.float64)
    counts.exponential_(generator=generator)
    hard = torch.randint(levels, (CELLS, 7, VARIATES), generator=generator)
    return counts, hard, shown(hard, levels)


def shown(hard: Tensor, levels: int) -> Tensor:
    return (hard[..., None] == torch.arange(1, levels)).flatten(2).double()


def by_distributions(counts: Tensor, hard: Tensor, outliers: float = 0.0) -> Tensor:
    """Return log p of each variate, (cells, n, states, variates)."""
    share = counts / counts.sum(dim=3, keepdim=True)
    mixed = Categorical(probs=(1 - counts.shape[3] * outliers) * share + outliers)
    return mixed.log_prob(hard.permute(1, 0, 2)[:, :, None]).permute(1, 0, 2, 3)


@pytest.mark.parametrize("levels", [2, 7])
@pytest.mark.parametrize("outliers", [0.0, 0.01])
def test_log_probabilities_are_the_categoricals(levels: int, outliers: float) -> None:
    counts, hard, symbols = made(levels)
    expected = by_distributions(counts, hard, outliers)
    learned = emission(counts, outliers=outliers)
    torch.testing.assert_close(learned.log_prob(symbols), expected.sum(dim=3))
    weights = torch.tensor([0.5, 0.0, 1.0, 2.0, 0.25])
    weighed = emission(counts, outliers=outliers, weights=weights)
    torch.testing.assert_close(weighed.log_prob(symbols), (expected * weights).sum(dim=3))
    visible = torch.rand(CELLS, 7, VARIATES, generator=torch.Generator().manual_seed(0)).round().double()
    torch.testing.assert_close(learned.log_prob(symbols, visible), (expected * visible[:, :, None]).sum(dim=3))
    assert not learned.log_prob(symbols, torch.zeros_like(visible)).any()


def test_levels_sum_to_one() -> None:
    counts, _, _ = made(3)
    every = shown(torch.cartesian_prod(*[torch.arange(3)] * VARIATES).expand(CELLS, -1, -1), 3)
    total = emission(counts, outliers=0.05).log_prob(every).logsumexp(dim=1)
    torch.testing.assert_close(total, torch.zeros_like(total))


def test_a_symbol_between_levels_has_their_mean_log_likelihood() -> None:
    counts, _, _ = made(2)
    learned = emission(counts)
    off, on, half = (learned.log_prob(torch.full((CELLS, 1, VARIATES), grey).double()) for grey in (0.0, 1.0, 0.5))
    torch.testing.assert_close(half, (off + on) / 2)


def test_missing_variates_are_ignored() -> None:
    counts, hard, symbols = made(7)
    counts[:, :, 2] = 0
    expected = by_distributions(counts[:, :, [0, 1, 3, 4]], hard[:, :, [0, 1, 3, 4]])
    torch.testing.assert_close(emission(counts).log_prob(symbols), expected.sum(dim=3))


@pytest.mark.parametrize("weights", [None, torch.zeros(VARIATES)])
def test_a_state_without_counts_is_impossible(weights: Tensor | None) -> None:
    counts, _, symbols = made(7)
    counts[0, 1] = 0
    learned = emission(counts, weights=weights)
    log = learned.log_prob(symbols)
    assert learned.impossible.nonzero().tolist() == [[0, 1]]
    assert bool((log[0, :, 1] < IMPOSSIBLE / 2).all())
    assert log[:, :, [0, 2]].isfinite().all()
    assert not log.softmax(dim=2)[0, :, 1].any()
    hidden = learned.log_prob(symbols, torch.zeros(CELLS, 7, VARIATES, dtype=torch.float64))
    assert not hidden.isnan().any()


@pytest.mark.parametrize("levels", [2, 7])
def test_a_level_never_met_stays_a_number(levels: int) -> None:
    """Without outliers, a pixel is white for the first time."""
    counts, hard, symbols = made(levels)
    counts[:, 0, :, 0] = 0
    counts[:, 1, :, -1] = 0
    log = emission(counts).log_prob(symbols)
    assert log.isfinite().all()
    never = (hard[:, :, None] == torch.tensor([0, levels - 1, -1])[:, None]).sum(dim=3)
    tiny = math.log(torch.finfo(torch.float64).tiny)
    torch.testing.assert_close((log / tiny).round().long(), never)
    inside = by_distributions(counts.clamp_min(1e-300), hard)
    kept = (never == 0).expand_as(log)
    torch.testing.assert_close(log[kept], inside.sum(dim=3)[kept], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("levels", [2, 7])
def test_expected_symbols_are_counted_one_by_one(levels: int) -> None:
    _, hard, symbols = made(levels)
    states = torch.rand(CELLS, 7, STATES, generator=torch.Generator().manual_seed(1)).double().softmax(dim=2)
    found = expected_symbols(states, symbols, levels)
    expected = torch.zeros(CELLS, STATES, VARIATES, levels, dtype=torch.float64)
    for cell in range(CELLS):
        for image in range(7):
            for variate in range(VARIATES):
                expected[cell, :, variate, hard[cell, image, variate]] += states[cell, image]
    torch.testing.assert_close(found, expected)
    sizes = states.sum(dim=1)[..., None].expand(-1, -1, VARIATES)
    torch.testing.assert_close(found.sum(dim=3), sizes)
