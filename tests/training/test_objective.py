import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Categorical, kl_divergence

from rgm.data.labels import HIDDEN
from rgm.distributions.categorical import CategoricalField, one_hot
from rgm.model.config import preset
from rgm.model.recognition import Relaxed
from rgm.model.spatial import SpatialRGM
from rgm.model.transformer import TransformerPrior
from rgm.presets import ESTIMATORS
from rgm.training.critic import Critic
from rgm.training.objective import locality_loss, loss, mutual_information, pseudo_label, robust_log_prob, usage
from rgm.training.recipe import Weights, recipe


def test_seed_loss_is_the_notebooks(generator: torch.Generator) -> None:
    """The same noise through the notebook's lines gives the same loss."""
    torch.manual_seed(0)
    model = SpatialRGM().train()
    x = torch.rand(8, 1, 28, 28, generator=generator)
    y = torch.arange(8)
    ours = loss(model, x, y, recipe("seed").stages[0].weights, torch.Generator().manual_seed(1)).total

    noise = torch.Generator().manual_seed(1)

    def gumbel_softmax(logits: torch.Tensor) -> torch.Tensor:
        gumbels = -torch.empty_like(logits).exponential_(generator=noise).log()
        return F.softmax(logits + gumbels, dim=1)

    z1_logits = model.z1_proj(model.enc1(x))
    z1_sample = gumbel_softmax(z1_logits)
    z2_logits = model.enc2(z1_sample)
    z2_sample = gumbel_softmax(z2_logits)
    z1_prior_logits = model.dec2(z2_sample).view(-1, model.latent_dim, 7, 7)
    recon = model.dec1(z1_sample)
    recon_loss = F.mse_loss(recon, x)
    cls_loss = F.cross_entropy(z2_logits, y)
    p = F.softmax(z1_logits, dim=1)
    q = F.softmax(z1_prior_logits, dim=1)
    prior_loss = torch.sum(p * (torch.log(p + 1e-8) - torch.log(q + 1e-8))) / (x.size(0) * 49)
    torch.testing.assert_close(ours, recon_loss + 1.0 * cls_loss + 0.1 * prior_loss)


@torch.no_grad()
def test_terms_without_weight_are_not_computed(generator: torch.Generator) -> None:
    images = torch.rand(4, 1, 28, 28, generator=generator)
    result = loss(SpatialRGM().train(), images, None, Weights(reconstruction=2.0), generator)
    assert set(result.terms) == {"reconstruction"}
    torch.testing.assert_close(result.total, 2 * result.terms["reconstruction"])


def test_the_prior_term_is_the_negative_log_likelihood_per_cell(generator: torch.Generator) -> None:
    model = SpatialRGM.from_preset("seed").train()
    images, labels = torch.rand(4, 1, 28, 28, generator=generator), torch.tensor([0, 1, 2, 3])
    result = loss(model, images, labels, Weights(reconstruction=0.0, prior=1.0), generator)
    codes = model.infer(images).z1
    parent = F.one_hot(labels, 10).float()[:, :, None, None]
    probs = model.dec2(parent).reshape(4, 32, 49).log_softmax(1)
    expected = -probs.gather(1, codes.reshape(4, 1, 49)).mean()
    torch.testing.assert_close(result.terms["prior"], expected)


@torch.no_grad()
def test_spill_is_nothing_for_a_decoder_that_keeps_to_the_patch(generator: torch.Generator) -> None:
    model = SpatialRGM.from_preset("standard").eval()
    codes = torch.randint(64, (6, 7, 7), generator=generator)
    assert float(locality_loss(model, one_hot(codes, 64), model.decode(codes), generator)) > 0
    context = model.likelihood.net[0]
    with torch.no_grad():  # only the centre of the 3 × 3 kernel: a cell then depends on itself alone
        middle = context.weight[:, :, 1:2, 1:2].clone()
        context.weight.zero_()
        context.weight[:, :, 1:2, 1:2] = middle
    assert float(locality_loss(model, one_hot(codes, 64), model.decode(codes), generator)) == 0


@torch.no_grad()
def test_spill_is_the_change_outside_the_patch() -> None:
    model = SpatialRGM().eval()
    codes = torch.zeros(1, 7, 7, dtype=torch.int64)
    measured = float(locality_loss(model, one_hot(codes, 32), model.decode(codes), torch.Generator().manual_seed(3)))
    candidates, plain = [], model.decode(codes)
    for row in range(7):
        for column in range(7):
            for code in range(1, 32):
                changed = codes.clone()
                changed[0, row, column] = code
                change = (model.decode(changed) - plain).square()[0, 0]
                box = model.patch(row, column)
                change[box.top : box.bottom, box.left : box.right] = 0
                candidates.append(float(change.mean()))
    assert min(abs(measured - value) for value in candidates) == pytest.approx(0, abs=1e-9)


def test_information_between_views_is_that_of_their_joint_table() -> None:
    """Views that agree on four equal classes have log 4 nats of information; independent ones none."""
    sure = torch.eye(4).repeat(25, 1) * 50
    assert float(mutual_information(sure, sure)) == pytest.approx(math.log(4), abs=1e-5)
    turned = sure[:, [1, 0, 3, 2]]
    assert float(mutual_information(sure, turned)) == pytest.approx(math.log(4), abs=1e-5)
    flat = torch.zeros(100, 4)
    assert float(mutual_information(sure, flat)) == pytest.approx(0.0, abs=1e-5)


def test_confident_views_are_pseudo_labels_and_labels_override_them(generator: torch.Generator) -> None:
    first = torch.tensor([[9.0, 0, 0], [1.0, 0, 0], [9.0, 0, 0]])
    second = torch.randn(3, 3, generator=generator)
    log_q = second.log_softmax(1)
    nothing = torch.tensor([HIDDEN, HIDDEN, HIDDEN])
    expected = -(log_q[0, 0] + log_q[2, 0]) / 3  # the second image's first view is not confident
    torch.testing.assert_close(pseudo_label(first, second, nothing), expected)
    expected = -(log_q[0, 0] + log_q[1, 1] + log_q[2, 2]) / 3
    torch.testing.assert_close(pseudo_label(first, second, torch.tensor([HIDDEN, 1, 2])), expected)


@torch.no_grad()
def test_a_hidden_concept_is_summed_out_in_expectation(generator: torch.Generator) -> None:
    """The prior's term with hidden labels averages to −Σ_c q(c | z) log p(z | c) per cell."""
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("seed").train()
    model.recognition(2).head.project.weight.mul_(5)
    image = torch.rand(1, 1, 28, 28, generator=generator)
    weights = Weights(reconstruction=0.0, prior=1.0)
    hidden = torch.full((4000,), HIDDEN)
    found = loss(model, image.expand(4000, -1, -1, -1), hidden, weights, generator).terms["prior"]
    z1 = model.infer(image)
    every = torch.arange(model.num_classes)[:, None, None]
    costs = -model.log_prob_given(1, z1.z1.expand(len(every), -1, -1), every) / 49
    expected = float((z1.concept[0] * costs).sum())
    assert float(found) == pytest.approx(expected, abs=4 * float(costs.std()) / math.sqrt(4000))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_trains_by_every_loss_and_only_a_codebook_has_its_term(
    name: str, generator: torch.Generator
) -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(4, 1, 8, 8, generator=generator), torch.tensor([0, 1, 2, 0])
    for preset_name, stage in itertools.product(("seed", "standard", "likelihood"), range(2)):
        stages = recipe(preset_name).stages
        if stage >= len(stages):
            continue
        weights = stages[stage].weights
        model = SpatialRGM(config=preset(preset_name, (1, 8, 8), 3, estimator=name)).train()
        result = loss(model, images, labels, weights, generator)
        result.total.backward()
        assert result.total.isfinite()
        assert ("codebook" in result.terms) == (weights.codebook > 0 and name == "vector-quantised")


def test_the_usage_term_is_the_divergence_from_uniform_and_keeps_a_finite_slope_at_no_probability() -> None:
    logits = torch.tensor([0.0, 1.0, -2000.0])[None, :, None, None].requires_grad_()
    level = Relaxed(field=CategoricalField(logits), sample=logits.softmax(1), cost=None)
    found = usage(level)
    uniform = Categorical(probs=torch.ones(3))
    expected = kl_divergence(Categorical(logits=logits.detach().flatten()), uniform)
    torch.testing.assert_close(found.detach(), expected)
    (slope,) = torch.autograd.grad(found, logits)
    assert slope.isfinite().all()


def test_outliers_change_the_likelihood_of_improbable_codes() -> None:
    log_p = torch.linspace(-12, 0, 30, dtype=torch.float64, requires_grad=True)
    share = 0.02
    found = robust_log_prob(log_p[None], share)[0]
    p = log_p.exp()
    torch.testing.assert_close(found, ((1 - share) * p + share).log() / (1 - share))
    (slope,) = torch.autograd.grad(found.sum(), log_p)
    torch.testing.assert_close(slope, p / (share + (1 - share) * p))
    assert torch.equal(robust_log_prob(log_p[None], 0.0)[0], log_p)


def test_the_prior_term_is_robust_to_outliers(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("standard").train()
    x, y = torch.rand(4, 1, 28, 28, generator=generator), torch.arange(4)
    strict, lenient = (
        loss(model, x, y, Weights(reconstruction=0.0, prior=1.0, outliers=share), torch.Generator().manual_seed(1))
        for share in (0.0, 0.02)
    )
    assert list(strict.terms) == list(lenient.terms) == ["prior"]
    assert lenient.total < strict.total
    lenient.total.backward()
    assert all(p.grad is None for p in model.likelihood.parameters())


def test_guidance_weighs_each_code_by_what_its_concept_adds(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("quick").train()
    with torch.no_grad():
        model.prior(1).parents.mul_(5)
    x, y = torch.rand(4, 1, 28, 28, generator=generator), torch.arange(4)
    w = 0.3
    result = loss(model, x, y, Weights(reconstruction=0.0, prior=2.0, guidance=w), torch.Generator().manual_seed(1))
    prior = model.prior(1)
    assert isinstance(prior, TransformerPrior)
    z, parent = model._one_hot(model.read_grids(x)[0], 1), F.one_hot(y, 10).float()[:, :, None, None]
    every = torch.eye(10)[:, :, None, None]
    scores, gains = prior.contrast(z, parent, every, torch.Generator().manual_seed(1))
    torch.testing.assert_close(result.terms["prior"], -((w * gains).exp() * scores).mean())
    torch.testing.assert_close(result.total, 2 * result.terms["prior"])
    plain = loss(model, x, y, Weights(reconstruction=0.0, prior=2.0), torch.Generator().manual_seed(1))
    assert abs(float((result.total - plain.total).detach())) > 1e-3
    with pytest.raises(TypeError, match="autoregressive"):
        loss(SpatialRGM().train(), x, y, Weights(reconstruction=0.0, prior=1.0, guidance=w), generator)


def test_the_adversarial_term_is_the_score_of_decoded_images_beside_the_critics_own_loss() -> None:
    """The decoder's gradient is that of its own terms, the critic's that of its hinge loss: one backward pass."""
    torch.manual_seed(0)
    model, critic = SpatialRGM.from_preset("quick").eval(), Critic(1, width=4).eval()
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    result = loss(model, images, None, Weights(adversarial=0.3), torch.Generator(), critic=critic)
    decoded = model.decode(model.read(images)[0])
    with torch.no_grad():
        error, score, own = F.mse_loss(decoded, images), critic.fooled(decoded), critic.cost(images, decoded)
    assert set(result.terms) == {"reconstruction", "adversarial", "critic"}
    torch.testing.assert_close(list(result.terms.values()), [error, score, own])
    torch.testing.assert_close(result.total, error + 0.3 * score + own)
    result.total.backward()
    weight, kernel = model.likelihood.net[0].weight, critic.layers[0].parametrizations.weight.original  # type: ignore[union-attr]
    found = [one.grad.clone() for one in (weight, kernel)]
    again = model.mean_image(F.one_hot(model.read(images)[0], model.latent_dim).movedim(3, 1).float())
    (expected,) = torch.autograd.grad(F.mse_loss(again, images) + 0.3 * critic.fooled(again), weight)
    torch.testing.assert_close(found[0], expected, atol=1e-7, rtol=1e-4)
    (expected,) = torch.autograd.grad(critic.cost(images, decoded), kernel)
    torch.testing.assert_close(found[1], expected, atol=1e-7, rtol=1e-4)
