import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.distributions.categorical import one_hot
from rgm.evaluation.bound import evaluate, importance_bound
from rgm.evaluation.information import code_rate_bits, level_rates_bits
from rgm.evaluation.split import infer_split
from rgm.model import free_energy
from rgm.model.estimator import CodebookHead
from rgm.model.spatial import SpatialRGM


@pytest.fixture(scope="module")
def few(digits: ImageSet) -> ImageSet:
    return replace(digits, images=digits.images[:40], labels=digits.labels[:40])  # type: ignore[index]


@pytest.fixture
def model() -> SpatialRGM:
    torch.manual_seed(0)
    return SpatialRGM.from_preset("seed").eval()


@torch.no_grad()
def test_the_importance_bound_tightens_with_samples(model: SpatialRGM, few: ImageSet) -> None:
    images = to_unit(few.images)
    free = torch.stack(
        [model.free_energy(images, generator=torch.Generator().manual_seed(s)).total_nats for s in range(20)]
    ).mean()
    one, many = (float(importance_bound(model, images, k, torch.Generator().manual_seed(0)).mean()) for k in (1, 64))
    assert many < one < float(free) + 3


@torch.no_grad()
def test_rate_is_the_priors_cross_entropy(model: SpatialRGM, few: ImageSet) -> None:
    result = model.infer(to_unit(few.images))
    parent = F.one_hot(result.concept.argmax(1), 10).float()
    log_probs = model.dec2(parent).reshape(-1, 32, 49).log_softmax(1)
    expected = -log_probs.gather(1, result.z1.reshape(-1, 1, 49)).sum((1, 2)) / math.log(2)
    torch.testing.assert_close(code_rate_bits(model, few), expected)


def test_every_level_has_its_rate(few: ImageSet) -> None:
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("three-level").eval()
    codes = model.read(to_unit(few.images))
    rates = level_rates_bits(model, codes)
    assert rates.shape == (40, 3)
    torch.testing.assert_close(rates[:, 0], code_rate_bits(model, few))
    assert rates[:, 2].tolist() == pytest.approx([math.log2(10)] * 40)
    prior, read = model.prior(2), model.recognition(3).read
    concept = F.one_hot(codes[2], 10).movedim(-1, 1).float()
    z2 = F.one_hot(codes[1], model.config.levels[1].states).movedim(-1, 1).float()
    torch.testing.assert_close(rates[:, 1], -prior.log_prob(z2, read(concept)) / math.log(2))


def test_an_evaluation_adds_up(model: SpatialRGM, few: ImageSet) -> None:
    found = evaluate(infer_split(model, few, None), few, samples=4, importance_images=10)
    parts = found.distortion_nats.estimate + sum(rate.estimate for rate in found.level_rates_nats)
    assert found.free_energy_nats.estimate == pytest.approx(parts, rel=1e-5)
    assert found.bits_per_dimension.estimate == pytest.approx(
        found.free_energy_nats.estimate / (784 * math.log(2)), rel=1e-5
    )
    everyone = evaluate(infer_split(model, few, None), few, samples=4, importance_images=len(few))
    gap = everyone.free_energy_nats.estimate - everyone.importance_bound_nats.estimate
    assert everyone.importance_gap_nats.estimate == pytest.approx(gap, rel=1e-4, abs=1e-3)
    assert found.rate_ratio.estimate == found.rate_ratio.low == pytest.approx(1.0)
    assert found.concept_accuracy is not None
    assert 0 <= found.concept_accuracy.low <= found.concept_accuracy.high <= 1
    unlabelled = evaluate(
        infer_split(model, replace(few, labels=None, classes=()), None), few, samples=2, importance_images=5
    )
    assert unlabelled.concept_accuracy is None
    assert unlabelled.calibration_error is None


@pytest.fixture
def certain() -> SpatialRGM:
    """Return a model whose q of the codes is certain: every sample is the most probable grid."""
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("standard").eval()
    head = model.recognition(1).head
    assert isinstance(head, CodebookHead)
    head.sharpness = 1e6
    return model


@torch.no_grad()
def test_grids_drawn_again_are_scored_once(certain: SpatialRGM, few: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    model, repeated = certain, to_unit(few.images[:3]).repeat_interleave(8, dim=0)
    prior = model.prior(1)
    of = prior.log_prob
    monkeypatch.setattr(prior, "log_prob", lambda z, parent: [scored.append(len(z)), of(z, parent)][1])
    weights = model.log_weight(repeated)
    assert sum(scored) <= 3 * model.num_classes
    torch.testing.assert_close(weights, weights[::8].repeat_interleave(8))


@torch.no_grad()
def test_with_improbable_concepts_left_out_the_bound_is_that_of_another_q(
    certain: SpatialRGM, few: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to the most probable concept alone, whose bound is that of a known one."""
    images = to_unit(few.images[:3])
    whole = certain.free_energy(images).total_nats
    monkeypatch.setattr(free_energy, "NEGLIGIBLE", 1.0)
    alone, known = certain.free_energy(images), certain.free_energy(images, certain.read(images)[1].flatten())
    torch.testing.assert_close(alone.total_nats, known.total_nats)
    assert not torch.allclose(alone.total_nats, whole, atol=1e-3, rtol=0)


@torch.no_grad()
def test_improbable_concepts_are_left_out_of_the_weights_and_lower_them(
    certain: SpatialRGM, few: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = certain, to_unit(few.images[:3])
    codes = model.read(images)[0]
    z = one_hot(codes, model.latent_dim)
    shares = model.recognition(2).field(model.recognition(1).read(z)).probs().flatten(1)
    shares = shares / shares.amax(dim=1, keepdim=True)
    concepts, some = (
        torch.arange(model.num_classes)[:, None, None, None].expand(-1, len(z), 1, 1),
        float(shares.median()),
    )
    each = torch.stack([model.log_prob_given(1, codes, concept) for concept in concepts], dim=1)
    whole, kept = (_weights_above(share, model, images, monkeypatch) for share in (0.0, some))
    lost = each.logsumexp(dim=1) - each.masked_fill(shares < some, -math.inf).logsumexp(dim=1)
    assert bool((lost > 0.1).all())
    torch.testing.assert_close(whole - kept, lost, rtol=1e-3, atol=1e-3)


def _weights_above(share: float, model: SpatialRGM, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    monkeypatch.setattr(free_energy, "NEGLIGIBLE", share)
    return model.log_weight(images, generator=torch.Generator().manual_seed(1))
