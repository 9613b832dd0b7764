"""Each estimator's gradient against the exact one, by enumeration and quadrature, not by sampling."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgm.distributions import categorical
from rgm.distributions.categorical import hard_argmax, reinmax, straight_through
from rgm.errors import RGMError
from rgm.model.config import preset
from rgm.model.estimator import (
    CodebookHead,
    Gumbel,
    LogitsHead,
    ReinMax,
    Sampled,
    StraightThrough,
    VectorQuantised,
    named_estimator,
)
from rgm.model.recognition import ConvRecognition, Recognition
from rgm.model.spatial import SpatialRGM
from rgm.presets import ESTIMATORS

LOGITS = torch.tensor([0.7, -0.4, 1.3], dtype=torch.float64)
SLOPE = torch.tensor([1.5, -2.0, 0.3], dtype=torch.float64)
CURVE = torch.tensor([[2.0, -1.0, 0.5], [0.3, -3.0, 1.0], [4.0, 0.2, 1.0]], dtype=torch.float64)

Function = Callable[[Tensor], Tensor]


def linear(z: Tensor) -> Tensor:
    return z @ SLOPE


def quadratic(z: Tensor) -> Tensor:
    return linear(z) + torch.einsum("bi,ij,bj->b", z, CURVE, z)


def cubic(z: Tensor) -> Tensor:
    return quadratic(z) + linear(z) ** 3


def gradient(expectation: Callable[[Tensor], Tensor]) -> Tensor:
    logits = LOGITS.clone().requires_grad_()
    (found,) = torch.autograd.grad(expectation(logits), logits)
    return found


def exact(function: Function) -> Tensor:
    """Return the gradient of E[f(D)] by its definition: Σ_k π_k f(1_k)."""
    return gradient(lambda logits: logits.softmax(0) @ function(torch.eye(3, dtype=torch.float64)))


def expected_reinmax(function: Function, temperature: float = 1.0) -> Tensor:
    """Return ReinMax's gradient, its expectation over the sample D by enumeration."""
    draws = torch.eye(3, dtype=torch.float64)
    chances = LOGITS.softmax(0)

    def expectation(logits: Tensor) -> Tensor:
        return chances @ function(reinmax(logits.expand(3, 3), draws, temperature=temperature))

    return gradient(expectation)


def expected_plain(function: Function) -> Tensor:
    """Return the gradient of the plain straight-through estimator: hard samples, the gradient of softmax(logits)."""
    draws = torch.eye(3, dtype=torch.float64)
    chances = LOGITS.softmax(0)
    return gradient(lambda logits: chances @ function(straight_through(draws, logits.softmax(0).expand(3, 3))))


@pytest.mark.parametrize("function", [linear, quadratic])
def test_reinmax_is_exact_up_to_second_order(function: Function) -> None:
    torch.testing.assert_close(expected_reinmax(function), exact(function), rtol=1e-12, atol=1e-12)


def test_reinmax_is_biased_beyond_second_order_and_off_temperature_1() -> None:
    assert (expected_reinmax(cubic) - exact(cubic)).abs().max() > 0.1
    assert (expected_reinmax(quadratic, temperature=2.0) - exact(quadratic)).abs().max() > 0.01


def test_plain_straight_through_is_exact_to_first_order_alone() -> None:
    torch.testing.assert_close(expected_plain(linear), exact(linear), rtol=1e-12, atol=1e-12)
    assert (expected_plain(quadratic) - exact(quadratic)).abs().max() > 0.1


def test_reinmax_keeps_a_state_of_no_probability(generator: torch.Generator) -> None:
    logits = torch.tensor([[0.0, -2000.0, 1.0]], requires_grad=True)
    sample = ReinMax().sample(logits, generator)
    (slope,) = torch.autograd.grad(sample @ torch.tensor([1.0, 2.0, 3.0]), logits)
    assert slope.isfinite().all()
    assert slope[0, 1] == 0


def two_states(
    estimator: Gumbel | StraightThrough, function: Function, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, float]:
    """Return the samples of logits (0, 0) and d E[f] / d logits_1, the noise integrated by the midpoint rule.

    The difference of two Gumbel variables is logistic: its quantiles at the midpoints of n equal shares are the noise.
    """
    share = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    noise = torch.stack([share.logit(), torch.zeros_like(share)], dim=1)
    monkeypatch.setattr(categorical, "gumbel_noise", lambda *_: noise)
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    sample = estimator.sample(logits.expand(len(share), 2), None)
    (slope,) = torch.autograd.grad(function(sample).mean(), logits)
    return sample.detach(), float(slope[0])


@pytest.mark.parametrize("estimator", [Gumbel(), StraightThrough()])
def test_gumbel_and_straight_through_are_biased_even_for_linear_functions(
    estimator: Gumbel | StraightThrough, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At temperature 1 and equal odds the relaxed sample y is uniform: E[y (1 − y)] is 1/6, where π (1 − π) is 1/4."""
    sample, slope = two_states(estimator, lambda z: z[:, 0], monkeypatch)
    assert slope == pytest.approx(1 / 6, rel=1e-6)
    assert float(sample[:, 0].mean()) == pytest.approx(1 / 2)


def test_straight_through_is_exact_for_linear_functions_as_it_cools(monkeypatch: pytest.MonkeyPatch) -> None:
    slopes = [
        two_states(StraightThrough(temperature=t), lambda z: z[:, 0], monkeypatch)[1] for t in (1.0, 0.3, 0.1, 0.03)
    ]
    assert slopes == sorted(slopes)
    assert slopes[-1] == pytest.approx(1 / 4, rel=5e-3)


def test_the_relaxed_sample_sees_another_function_than_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """z₁² is z₁ for one-hot samples and not between them: E[y²] is 1/3 where E[D²] is 1/2."""
    relaxed, _ = two_states(Gumbel(), lambda z: z[:, 0] ** 2, monkeypatch)
    hard, slope = two_states(StraightThrough(), lambda z: z[:, 0] ** 2, monkeypatch)
    assert float((relaxed[:, 0] ** 2).mean()) == pytest.approx(1 / 3, rel=1e-6)
    assert float((hard[:, 0] ** 2).mean()) == pytest.approx(1 / 2)
    assert slope == pytest.approx(1 / 6, rel=1e-6)


@pytest.mark.parametrize("estimator", [StraightThrough(temperature=0.7), ReinMax(temperature=1.3)])
def test_hard_samples_are_one_hot_to_the_bit_and_follow_softmax(
    estimator: StraightThrough | ReinMax, generator: torch.Generator
) -> None:
    logits = LOGITS.float()[None, :, None, None].expand(400, 3, 7, 7).clone().requires_grad_()
    sample = estimator.sample(logits, generator)
    assert sample.requires_grad
    assert torch.equal(sample.detach(), hard_argmax(sample.detach()))
    share = sample.detach().mean(dim=(0, 2, 3)).double()
    error = (share - LOGITS.softmax(0)).abs() / (LOGITS.softmax(0) * (1 - LOGITS.softmax(0)) / 19_600).sqrt()
    assert error.max() < 4


@pytest.mark.parametrize("estimator", [kind() for kind in get_args(Sampled)], ids=lambda e: e.kind)
def test_the_generator_decides_the_sample_and_evaluation_draws_nothing(estimator: Sampled) -> None:
    head = LogitsHead(nn.Identity(), estimator)
    logits = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    one, two, three = (head.relax(logits, torch.Generator().manual_seed(seed))[1] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    still = torch.Generator().manual_seed(1)
    before = still.get_state()
    field, sample, cost = head.eval().relax(logits, still)
    assert torch.equal(field, logits)
    assert torch.equal(sample, hard_argmax(logits))
    assert cost is None
    assert torch.equal(still.get_state(), before)


def test_every_name_is_an_estimator_and_the_grids_get_it() -> None:
    assert {named_estimator(name).kind for name in ESTIMATORS} == set(ESTIMATORS)
    for name in ESTIMATORS:
        *grids, concept = preset("three-level", (1, 28, 28), 10, estimator=name).levels
        assert [grid.recognition.estimator for grid in grids] == [named_estimator(name)] * 2
        assert concept.recognition.estimator == Gumbel()
    with pytest.raises(RGMError, match="unknown estimator 'reimax': did you mean 'reinmax'"):
        preset("standard", (1, 28, 28), 10, estimator="reimax")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_preset_whose_embeddings_start_as_patches_takes_every_estimator(name: str) -> None:
    config = preset("colour32", (3, 8, 8), 4, estimator=name)
    recognition = config.levels[0].recognition
    own = name == "vector-quantised"
    assert recognition.estimator == (VectorQuantised(dimension=48) if own else named_estimator(name))
    assert isinstance(recognition, ConvRecognition)
    assert recognition.patches == own
    Recognition(recognition, (3, 8, 8), (512, 2, 2))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_gradient_reaches_the_image_features(name: str, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    config = preset("quick", (1, 8, 8), 3, estimator=name)
    grid, concept = config.levels
    assert isinstance(grid.recognition, ConvRecognition)
    plain = replace(grid, recognition=replace(grid.recognition, patches=False))  # else embeddings are patches at first
    model = SpatialRGM(config=replace(config, levels=(plain, concept))).train()
    images = torch.rand(2, 1, 8, 8, generator=generator)
    F.mse_loss(model(images), images).backward()
    slopes = [weight.grad for weight in model.recognition(1).features.parameters()]
    assert all(slope is not None and slope.abs().sum() > 0 for slope in slopes)


def test_a_codebook_in_evaluation_gives_hard_codes_without_gradient_or_cost() -> None:
    head = CodebookHead(nn.Conv2d(3, 4, 1), 5, VectorQuantised(dimension=4)).eval()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    features = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    logits, sample, cost = head.relax(features, None)
    assert torch.equal(sample, hard_argmax(logits))
    assert not sample.requires_grad
    assert cost is None
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
