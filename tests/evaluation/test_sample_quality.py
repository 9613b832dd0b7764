from dataclasses import replace

import pytest
import torch

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.evaluation import image_sets
from rgm.evaluation.image_sets import coverage, diversity, frechet_distance, nearest_distance
from rgm.evaluation.judge import Judge, JudgeConfig
from rgm.evaluation.sample_quality import Quality, quality, reference
from rgm.model.results import Samples
from rgm.model.spatial import SpatialRGM


def whitened(generator: torch.Generator, count: int, d: int) -> torch.Tensor:
    """Return points whose mean is exactly zero and whose covariance is exactly one."""
    points = torch.randn(count, d, generator=generator, dtype=torch.float64)
    points = points - points.mean(dim=0)
    return points @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(points.T))).T


def test_frechet_distance_of_diagonal_gaussians(generator: torch.Generator) -> None:
    a, b = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 0.1, 0.5]).double()
    mean = torch.tensor([0.5, -1.0, 2.0]).double()
    first = whitened(generator, 500, 3) * a
    second = whitened(generator, 300, 3) * b + mean
    expected = float(mean.square().sum() + (a - b).square().sum())
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_gaussians_that_do_not_commute(generator: torch.Generator) -> None:
    first, second = (whitened(generator, 400, 4) @ torch.randn(4, 4, generator=generator).double() for _ in range(2))
    cov_a, cov_b = torch.cov(first.T), torch.cov(second.T)
    root = torch.linalg.eigvals(cov_a @ cov_b).sqrt().sum().real  # of the product as the definition has it
    expected = float(cov_a.trace() + cov_b.trace() - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_equal_and_of_degenerate_sets(generator: torch.Generator) -> None:
    points = torch.randn(50, 96, generator=generator)  # fewer points than features
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(points, points + 1) == pytest.approx(96, rel=1e-5)


@pytest.mark.parametrize("copies", [1, 5])  # with five, a point's third nearest is at distance zero
def test_equal_sets_cover_each_other(generator: torch.Generator, copies: int) -> None:
    points = torch.randn(700, 8, generator=generator).repeat(copies, 1)
    found = coverage(points, points)
    assert (found.precision, found.recall) == (1, 1)


def test_sets_far_apart_do_not_cover_each_other(generator: torch.Generator) -> None:
    points = torch.randn(600, 8, generator=generator)
    found = coverage(points, torch.randn(700, 8, generator=generator) + 100)
    assert (found.precision, found.recall) == (0, 0)


def test_a_dropped_mode_costs_recall_and_not_precision(generator: torch.Generator) -> None:
    real = torch.randn(1000, 4, generator=generator)
    real[:500] += 100
    fake = torch.randn(1000, 4, generator=generator)
    found = coverage(real, fake)
    assert found.precision > 0.9
    assert 0.4 < found.recall <= 0.5


def test_coverage_is_that_of_plain_loops(generator: torch.Generator) -> None:
    real, fake = torch.randn(40, 3, generator=generator), torch.randn(30, 3, generator=generator) * 0.5

    def among(points: torch.Tensor, others: torch.Tensor) -> float:
        inside = 0
        for point in points:
            inside += any(
                float((point - one).norm()) <= sorted(float((one - two).norm()) for two in others)[2 + 1]
                for one in others
            )
        return inside / len(points)

    found = coverage(real, fake, k=3)
    assert found.precision == pytest.approx(among(fake, real))
    assert found.recall == pytest.approx(among(real, fake))


def test_diversity_is_that_of_a_plain_loop(generator: torch.Generator) -> None:
    images = torch.rand(30, 2, 5, 4, generator=generator)
    labels = torch.randint(3, (30,), generator=generator)
    labels[0] = 7  # alone: no part in it
    means = []
    for concept in range(3):
        alike = images[labels == concept]
        pairs = [
            float((alike[i] - alike[j]).square().mean().sqrt())
            for i in range(len(alike))
            for j in range(i + 1, len(alike))
        ]
        means.append(sum(pairs) / len(pairs))
    assert diversity(images, labels) == pytest.approx(sum(means) / 3, rel=1e-5)
    assert diversity(images[:1].expand(6, -1, -1, -1), torch.zeros(6, dtype=torch.int64)) == pytest.approx(0)


def test_nearest_distance_is_that_of_a_plain_loop(generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among images that are looked through in several parts."""
    images = torch.rand(20, 1, 6, 6, generator=generator)
    train = torch.randint(256, (50, 1, 6, 6), generator=generator, dtype=torch.uint8)
    apart = torch.tensor([[float((a - b).square().mean().sqrt()) for b in to_unit(train)] for a in images])
    for known in (2**24, 36 * 7, 1):
        monkeypatch.setattr(image_sets, "_KNOWN", known)
        torch.testing.assert_close(nearest_distance(images, train), apart.min(dim=1).values)


def test_training_images_are_at_no_distance(digits: ImageSet) -> None:
    train = to_unit(digits.images)
    assert float(nearest_distance(train[100:200], digits.images).max()) == 0


@pytest.fixture
def model() -> SpatialRGM:
    torch.manual_seed(0)
    return SpatialRGM.from_preset("seed").eval()


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.manual_seed(1)
    return Judge(JudgeConfig(channels=1, classes=10, width=4)).eval()


@pytest.mark.slow
def test_quality_of_an_untrained_model(
    model: SpatialRGM, judge: Judge, digits: ImageSet, test_digits: ImageSet
) -> None:
    found = quality(model, reference(judge, digits, test_digits, draws=2))
    assert isinstance(found, Quality)
    assert test_digits.labels is not None
    assert found.images == len(test_digits)
    assert found.per_concept == tuple(torch.bincount(test_digits.labels).tolist())
    assert len(found.samples.recognised_by_concept) == 10
    assert found.samples.worst_recognised.estimate <= found.samples.recognised.estimate
    assert found.samples.frechet_ratio.estimate > 10 * found.real.frechet_ratio.estimate
    assert found.samples.recall_ratio.estimate < 0.2
    assert found.samples.diversity_ratio.estimate < 0.9
    assert found.real.frechet_ratio.estimate == 1
    assert found.real.recall_ratio.estimate == 1
    assert found.real.diversity_ratio.estimate == pytest.approx(1, abs=0.05)
    assert found.real.nearest_ratio is None


@pytest.mark.slow
def test_a_memoriser_looks_real_but_for_the_nearest_training_image(
    model: SpatialRGM, judge: Judge, digits: ImageSet, test_digits: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert digits.labels is not None
    places = [torch.nonzero(digits.labels == c).flatten() for c in range(10)]

    def replay(concept: torch.Tensor, *, generator: torch.Generator) -> Samples:
        drawn = torch.rand(len(concept), generator=generator)
        index = torch.stack([places[int(c)][int(u * len(places[int(c)]))] for c, u in zip(concept, drawn, strict=True)])
        return Samples(images=to_unit(digits.images[index]), concept=concept, codes=())

    monkeypatch.setattr(model, "sample", replay)
    found = quality(model, reference(judge, digits, test_digits, draws=2))
    assert found.samples.nearest_ratio is not None
    assert found.samples.nearest_ratio.estimate == 0
    assert found.samples.frechet_ratio.estimate < 2
    assert found.samples.recall_ratio.estimate > 0.8
    assert found.samples.diversity_ratio.estimate == pytest.approx(1, abs=0.05)


@pytest.mark.slow
def test_a_set_is_as_large_as_the_training_images_allow(
    model: SpatialRGM, judge: Judge, digits: ImageSet, test_digits: ImageSet
) -> None:
    assert digits.labels is not None
    few = replace(digits, images=digits.images[:400], labels=digits.labels[:400])
    found = quality(model, reference(judge, few, test_digits, draws=2))
    assert found.per_concept == tuple((torch.bincount(digits.labels[:400]) // 2).tolist())
    assert found.images == sum(found.per_concept)
    limited = quality(model, reference(judge, digits, test_digits, draws=2, limit=200))
    assert 180 < limited.images <= 200
    assert limited.real.nearest_ratio is None
    assert limited.samples.nearest_ratio is not None
    with pytest.raises(RGMError, match="8 training and 4 test images"):
        reference(judge, replace(digits, images=digits.images[:50], labels=digits.labels[:50]), test_digits)
    with pytest.raises(RGMError, match="no label"):
        reference(judge, replace(digits, labels=None, classes=()), test_digits)


def test_the_nearest_are_those_of_a_plain_search(digits: ImageSet, test_digits: ImageSet) -> None:
    """Of real images, of noise, of images that are among the known."""
    known, real = to_unit(digits.images[:600]), to_unit(test_digits.images[:40])
    noise = torch.rand(5, *real.shape[1:], generator=torch.Generator().manual_seed(0))
    images = torch.cat([real, noise, known[:5]])
    plain = (images[:, None] - known[None]).square().flatten(2).mean(dim=2).sqrt()
    found = nearest_distance(images, digits.images[:600])
    assert torch.allclose(found, plain.amin(dim=1), atol=1e-6)
    assert found[-5:].tolist() == [0.0] * 5
