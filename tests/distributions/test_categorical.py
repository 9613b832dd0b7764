import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, kl_divergence

from rgm.distributions.categorical import CategoricalField, gumbel_noise, gumbel_softmax, hard_argmax, one_hot


def random_field(seed: int, states: int = 5) -> CategoricalField:
    logits = torch.randn(3, states, 2, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return CategoricalField(3 * logits)


def reference(field: CategoricalField) -> Categorical:
    return Categorical(logits=field.logits.movedim(1, -1))


@given(st.integers(0, 10_000), st.integers(2, 9))
@settings(max_examples=25, deadline=None)
def test_agrees_with_torch_distributions(seed: int, states: int) -> None:
    p, q = random_field(seed, states), random_field(seed + 1, states)
    codes = q.mode()
    torch.testing.assert_close(p.entropy(), reference(p).entropy().sum((1, 2)))
    torch.testing.assert_close(p.kl(q), kl_divergence(reference(p), reference(q)).sum((1, 2)))
    z = one_hot(codes, states).double()
    torch.testing.assert_close(p.log_prob(z), reference(p).log_prob(codes).sum((1, 2)))


def test_samples_follow_the_probabilities_cell_by_cell(generator: torch.Generator) -> None:
    """The notebook's bug: its samples ran over an image axis, so cells did not hold one code each."""
    field = random_field(1)
    draws = 4000
    repeated = CategoricalField(field.logits.repeat(draws, 1, 1, 1))
    counts = one_hot(repeated.sample(generator), 5).reshape(draws, 3, 5, 2, 4).mean(0).double()
    error = (counts - field.probs()).abs() / (field.probs() * (1 - field.probs()) / draws).sqrt().clamp_min(1e-3)
    assert error.max() < 5


def test_low_temperature_draws_the_mode(generator: torch.Generator) -> None:
    field = random_field(2)
    assert torch.equal(field.sample(generator, temperature=1e-6), field.mode())


def test_gumbel_noise_has_gumbel_moments(generator: torch.Generator) -> None:
    noise = gumbel_noise(torch.empty(200_000, dtype=torch.float64), generator)
    assert noise.isfinite().all()
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.02)
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, rel=0.02)


def test_gumbel_softmax_is_a_distribution_over_states(generator: torch.Generator) -> None:
    sample = gumbel_softmax(torch.randn(4, 6, 3, 3, generator=generator), generator=generator)
    torch.testing.assert_close(sample.sum(1), torch.ones(4, 3, 3))


def test_gumbel_softmax_argmax_follows_softmax(generator: torch.Generator) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(20_000, 3)
    share = hard_argmax(gumbel_softmax(logits, generator=generator)).mean(0)
    torch.testing.assert_close(share, logits[0].softmax(0), atol=0.015, rtol=0)


def test_one_hot_and_argmax_are_inverse(generator: torch.Generator) -> None:
    codes = torch.randint(7, (2, 3, 4), generator=generator)
    z = one_hot(codes, 7)
    assert torch.equal(z.argmax(1), codes)
    assert torch.equal(hard_argmax(z), z)
