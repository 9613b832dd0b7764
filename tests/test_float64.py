"""Every closed form in single precision agrees with itself in double, and with PyTorch's own where it has one."""

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, Normal, kl_divergence

from rgm.distributions.categorical import CategoricalField, one_hot, reinmax
from rgm.measures import codebook_usage, squared_error
from rgm.model.spatial import SpatialRGM
from rgm.presets import NETWORKS


def fields(generator: torch.Generator, scale: float) -> tuple[CategoricalField, CategoricalField]:
    drawn = [scale * torch.randn(6, 32, 7, 7, generator=generator) for _ in range(2)]
    return CategoricalField(drawn[0]), CategoricalField(drawn[1])


def double(field: CategoricalField) -> CategoricalField:
    return CategoricalField(field.logits.double())


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_entropy_divergence_and_log_probability(generator: torch.Generator, scale: float) -> None:
    q, p = fields(generator, scale)
    z = one_hot(q.sample(generator), 32)
    reference = [Categorical(logits=double(f).logits.permute(0, 2, 3, 1)) for f in (q, p)]
    exact = {
        "entropy": reference[0].entropy().sum(dim=(1, 2)),
        "kl": kl_divergence(*reference).sum(dim=(1, 2)),
        "log_prob": reference[0].log_prob(z.argmax(dim=1)).sum(dim=(1, 2)),
    }
    for single, wide in (
        (q.entropy(), double(q).entropy()),
        (q.kl(p), double(q).kl(double(p))),
        (q.log_prob(z), double(q).log_prob(z.double())),
    ):
        torch.testing.assert_close(single.double(), wide, rtol=2e-5, atol=2e-4)
    torch.testing.assert_close(double(q).entropy(), exact["entropy"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(double(q).kl(double(p)), exact["kl"], rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(double(q).log_prob(z.double()), exact["log_prob"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["seed", "likelihood"])
def test_pixels(generator: torch.Generator, name: str) -> None:
    torch.manual_seed(0)
    model = SpatialRGM.from_preset(name)
    images = torch.rand(4, 1, 28, 28, generator=generator).round()
    z = one_hot(torch.randint(model.latent_dim, (4, 7, 7), generator=generator), model.latent_dim)
    single = model.likelihood.log_prob(images, z)
    wide = model.double().likelihood
    mean = wide.mean(z.double())
    pixels = Bernoulli(mean) if name == "likelihood" else Normal(mean, wide.pixels.sigma)  # type: ignore[union-attr]
    exact = Independent(pixels, 3).log_prob(images.double())
    torch.testing.assert_close(wide.log_prob(images.double(), z.double()), exact, rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(single.double(), exact, rtol=2e-5, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_bound(generator: torch.Generator, name: str) -> None:
    """The same images and samples, in both precisions: F, its distortion and every rate."""
    torch.manual_seed(0)
    model = SpatialRGM.from_preset(name, image=(1, 32, 32))
    images = torch.rand(3, 1, 32, 32, generator=generator).round()
    with torch.no_grad():
        fields, samples = model._draw(images, generator)
        single = model.bound(images, fields, samples)
        model.double()
        wide = model.bound(images.double(), [double(f) for f in fields], [z.double() for z in samples])
    torch.testing.assert_close(single.distortion_nats.double(), wide.distortion_nats, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(single.rate_nats.double(), wide.rate_nats, rtol=1e-4, atol=1e-3)


def test_reinmax_gradients(generator: torch.Generator) -> None:
    logits = torch.randn(5, 7, generator=generator)
    hard = torch.nn.functional.one_hot(logits.argmax(dim=1), 7)
    weights = torch.randn(5, 7, generator=generator)
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = logits.to(dtype, copy=True).requires_grad_()
        (reinmax(leaf, hard.to(dtype)) * weights.to(dtype)).sum().backward()
        assert leaf.grad is not None
        found.append(leaf.grad.double())
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_measures(generator: torch.Generator) -> None:
    images, other = torch.rand(2, 50, 1, 8, 8, generator=generator)
    assert squared_error(images, other) == pytest.approx(squared_error(images.double(), other.double()), rel=1e-6)
    codes = torch.randint(32, (500, 7, 7), generator=generator)
    frequencies = torch.bincount(codes.flatten(), minlength=32).double() / codes.numel()
    exact = float(Categorical(probs=frequencies).entropy().exp())
    assert codebook_usage(codes, 32).perplexity == pytest.approx(exact, rel=1e-6)
