"""How good a model's samples are, beside real images that take their place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.evaluation.judge import Judge
from rgm.evaluation.statistics import Estimate, Findings, bootstrap_mean, mean_over_draws
from rgm.model.results import Samples

Images = Float[Tensor, "n channels height width"]
Labels = Int64[Tensor, " n"]

BATCH = 500
_PAIRS, _AT_ONCE = 2_000, 20_000
"""Candidates for an image's nearest, on average, beyond which all are compared; pairs that are compared at once."""
NET_STEPS = 600


@runtime_checkable
class Sampler(Protocol):
    """Whatever draws images of concepts: a model, or a control in its place."""

    @property
    def device(self) -> torch.device:
        """Where it draws."""
        ...

    def sample(
        self, concept: int | Int64[Tensor, " n"], count: int = 1, *, generator: torch.Generator | None = None
    ) -> Samples:
        """Return `count` images of each concept."""
        ...


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """The share of fakes that lie among the real, and of real that lie among the fakes."""

    precision: float
    recall: float


@dataclass(frozen=True, kw_only=True)
class SampleMetrics:
    """The measures of one kind of images, against the real test images.

    Intervals are over images for what the judge recognises, over draws (and seeds of the small net) for the rest.
    Ratios are over what real images give: the Fréchet distance and recall over those of as many training images,
    diversity and the distance to the nearest training image over those of the test images. `accuracy_gap` is
    what the small net loses, in percentage points, by learning from these and not from as many training images. What
    was not measured is None.
    """

    recognised: Estimate
    recognised_by_concept: tuple[Estimate, ...]
    frechet_distance: Estimate
    frechet_ratio: Estimate
    precision: Estimate
    recall: Estimate
    recall_ratio: Estimate
    diversity: Estimate
    diversity_ratio: Estimate
    nearest_distance: Estimate | None
    nearest_ratio: Estimate | None
    accuracy_score: Estimate | None
    accuracy_gap: Estimate | None

    @property
    def worst_recognised(self) -> Estimate:
        """What the judge recognises of the concept that it recognises least."""
        return min(self.recognised_by_concept, key=lambda share: share.estimate)


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The metrics of `draws` sets of `images` samples, and those of training images in their place.

    Every set has as many images of a concept as the test images have, `per_concept`: on MNIST, equal shares instead
    of these add twice the floor to the Fréchet distance. `floor` is that of training images in the place of samples,
    and `between_training` that of two disjoint sets of training images: smaller, since the judge has learned from
    both, and sees them more alike than images that are new to it; None where it was not measured. The nearest training
    image of one is the nearest *other* one.
    """

    images: int
    per_concept: tuple[int, ...]
    draws: int
    floor: Estimate
    between_training: Estimate | None
    samples: SampleMetrics
    real: SampleMetrics

    def findings(self) -> Findings:
        """Return the numbers by name; those that depend on how many images a set has name the number."""
        samples = self.samples
        assert samples.nearest_ratio is not None
        return {
            "samples_recognised": samples.recognised,
            "recall_ratio": samples.recall_ratio,
            "diversity_ratio": samples.diversity_ratio,
            "nearest_ratio": samples.nearest_ratio,
            "worst_concept_recognised": samples.worst_recognised,
            "precision": samples.precision,
            "recall": samples.recall,
            f"frechet_ratio_{self.images}": samples.frechet_ratio,
            f"frechet_distance_{self.images}": samples.frechet_distance,
        }


@torch.no_grad()
def frechet_distance(first: Float[Tensor, "n d"], second: Float[Tensor, "m d"]) -> float:
    """Return ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), squared feature units (Heusel et al. 2017, equation 6).

    The trace of the root is Σ √λ(Σ₁^½ Σ₂ Σ₁^½), of a symmetric matrix: real, in float64.
    """
    a, b = first.double(), second.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    means = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return float(means + cov_a.trace() + cov_b.trace() - 2 * cross)


@torch.no_grad()
def coverage(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], k: int = 3) -> PrecisionRecall:
    """Return the improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2).

    A point lies among a set where it is no farther from one of its points than that point's k-th nearest neighbour,
    give or take the rounding of distances that come from products, in float64.
    """
    real, fake = real.double(), fake.double()
    rounding = 1e-7 * real.norm(dim=1).max()
    real_radii, fake_radii = _radii(real, k) + rounding, _radii(fake, k) + rounding
    within = torch.zeros(len(fake), dtype=torch.bool)
    covered = []
    for points, radii in zip(real.split(BATCH), real_radii.split(BATCH), strict=True):
        distances = torch.cdist(points, fake)
        within |= (distances <= radii[:, None]).any(dim=0)
        covered.append((distances <= fake_radii).any(dim=1))
    return PrecisionRecall(precision=_share(within), recall=_share(torch.cat(covered)))


@torch.no_grad()
def diversity(images: Images, labels: Labels) -> float:
    """Return the mean distance between two images of one concept, averaged over concepts.

    Distances are root mean squared over pixels, in grey ranges. A concept with one image has no part in it.
    """
    pixels = images.flatten(1)
    alike = [pixels[labels == concept] for concept in labels.unique()]
    means = [F.pdist(one).mean(dtype=torch.float64) for one in alike if len(one) > 1]
    return float(torch.stack(means).mean()) / pixels.shape[1] ** 0.5


@torch.no_grad()
def nearest_distance(
    images: Images, train: Float[Tensor, "m channels height width"], *, rank: int = 1
) -> Float[Tensor, " n"]:
    """Return each image's distance to its nearest of all training images, root mean squared over pixels.

    With `rank` 2, to the second nearest: the nearest other one of an image that is among them. The nearest are found
    by ‖b‖² − 2 a·b, and their distances then computed from the differences, which is exact at zero. For the nearest
    alone most pairs are ruled out by their low frequencies, in which no two images lie farther apart than in all.
    """
    known = train.flatten(1)
    norms = known.square().sum(dim=1)
    low = _low_frequencies(train) if rank == 1 else None
    found = []
    for batch in images.split(BATCH):
        some = batch.flatten(1)
        distances = None if low is None else _nearest_by_low(some, _low_frequencies(batch), known, low)
        if distances is None:
            apart = torch.addmm(norms, some, known.T, alpha=-2)
            index = apart.topk(rank, dim=1, largest=False).indices
            distances = (known[index] - some[:, None]).square().mean(dim=2).sqrt().amax(dim=1)
        found.append(distances)
    return torch.cat(found)


def _low_frequencies(images: Images) -> Float[Tensor, "n low"]:
    """Return the lower two fifths of each image's frequencies on either axis: orthonormal cosines (DCT-II)."""

    def cosines(side: int) -> Tensor:
        kept = max(1, round(0.4 * side))
        angle = math.pi / side * (torch.arange(side) + 0.5) * torch.arange(kept)[:, None]
        scale = torch.full((kept, 1), math.sqrt(2 / side))
        scale[0] = math.sqrt(1 / side)
        return scale * angle.cos()

    rows, columns = images.shape[2:]
    return (cosines(rows) @ images @ cosines(columns).T).flatten(1)


def _nearest_by_low(
    images: Float[Tensor, "n d"],
    low: Float[Tensor, "n low"],
    known: Float[Tensor, "m d"],
    known_low: Float[Tensor, "m low"],
) -> Float[Tensor, " n"] | None:
    """Return the distances to the nearest, where low frequencies leave few that can be it; else None."""
    apart = torch.addmm(known_low.square().sum(dim=1), low, known_low.T, alpha=-2)
    apart += low.square().sum(dim=1, keepdim=True)
    first = (known[apart.argmin(dim=1)] - images).square().sum(dim=1)
    rounding = 1e-4 * low.square().sum(dim=1).max()
    image, other = (apart <= (first + rounding)[:, None]).nonzero(as_tuple=True)
    if len(image) > _PAIRS * len(images):
        return None
    exact = torch.cat(
        [
            (known[j] - images[i]).square().sum(dim=1)
            for i, j in zip(image.split(_AT_ONCE), other.split(_AT_ONCE), strict=True)
        ]
    )
    nearest = first.scatter_reduce(0, image, exact, "amin")
    return (nearest / images.shape[1]).sqrt()


@torch.enable_grad()  # it learns, whoever asks
def classification_accuracy_score(images: Images, labels: Labels, test: ImageSet, seed: int) -> float:
    """Return the share of real test images that a small net is right on, having learned from `images` alone.

    Ravuri and Vinyals 2019, with a net of two convolutions: 600 steps of Adam on 128 images each, whatever their
    number. `seed` is that of its first weights and of the order of the images.
    """
    assert test.labels is not None
    channels, height, width = test.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the layers' initial weights have no other way to be seeded
        net = nn.Sequential(
            *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            nn.Linear(32 * (height // 4) * (width // 4), len(test.classes)),
        )
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=NET_STEPS)
    size = min(128, len(images))
    per_epoch = len(images) // size
    epochs = -(-NET_STEPS // per_epoch)
    order = torch.cat([torch.randperm(len(images), generator=generator)[: per_epoch * size] for _ in range(epochs)])
    for index in order.split(size)[:NET_STEPS]:
        cost = F.cross_entropy(net(images[index]), labels[index])
        optimizer.zero_grad(set_to_none=True)
        cost.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        said = torch.cat([net(batch).argmax(dim=1) for batch in to_unit(test.images).split(BATCH)])
    return _share(said == test.labels)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Real images, measured once for all models and controls whose samples are held against them.

    `features` are the judge's of the test images that samples are compared with, `known` all training images, `draws`
    the sets of training images in the place of samples. See `reference`.
    """

    judge: Judge
    test: ImageSet
    seed: int
    thorough: bool
    per_concept: Int64[Tensor, " classes"]
    known: Float[Tensor, "known channels height width"]
    features: Float[Tensor, "images d"]
    diversity: float
    nearest: float
    draws: "tuple[_Draw, ...]"
    between: tuple[float, ...]

    def measured(self, images: Images, labels: Labels, draw: int, rank: int | None) -> "_Draw":
        """Return what one set of images is worth; `rank` says which of the nearest training images counts."""
        seen = self.judge.predict(images)
        score = classification_accuracy_score
        return _Draw(
            right=seen.label == labels,
            concept=labels,
            features=seen.features,
            frechet=frechet_distance(seen.features, self.features),
            coverage=coverage(self.features, seen.features),
            diversity=diversity(images, labels),
            nearest=None if rank is None else float(nearest_distance(images, self.known, rank=rank).mean()),
            accuracy=score(images, labels, self.test, self.seed + draw) if self.thorough else None,
        )

    def metrics(self, found: "Sequence[_Draw]") -> SampleMetrics:
        """Return the metrics of some sets of images, beside those of the training images."""
        right = torch.cat([one.right for one in found]).double()
        concept = torch.cat([one.concept for one in found])
        pairs = list(zip(found, self.draws, strict=True))
        distances = [one.nearest for one in found if one.nearest is not None]
        scores = [(a.accuracy, b.accuracy) for a, b in pairs if a.accuracy is not None and b.accuracy is not None]
        by_concept = [right[concept == c] for c in range(len(self.per_concept))]
        return SampleMetrics(
            recognised=bootstrap_mean(right, "share"),
            recognised_by_concept=tuple(bootstrap_mean(one, "share") for one in by_concept),
            frechet_distance=mean_over_draws([one.frechet for one in found], "squared feature units"),
            frechet_ratio=mean_over_draws([a.frechet / b.frechet for a, b in pairs], "ratio"),
            precision=mean_over_draws([one.coverage.precision for one in found], "share"),
            recall=mean_over_draws([one.coverage.recall for one in found], "share"),
            recall_ratio=mean_over_draws([a.coverage.recall / b.coverage.recall for a, b in pairs], "ratio"),
            diversity=mean_over_draws([one.diversity for one in found], "grey range"),
            diversity_ratio=mean_over_draws([one.diversity / self.diversity for one in found], "ratio"),
            nearest_distance=mean_over_draws(distances, "grey range") if distances else None,
            nearest_ratio=mean_over_draws([one / self.nearest for one in distances], "ratio") if distances else None,
            accuracy_score=mean_over_draws([score for score, _ in scores], "share") if scores else None,
            accuracy_gap=mean_over_draws([100 * (b - a) for a, b in scores], "percentage points") if scores else None,
        )


def reference(
    judge: Judge,
    train: ImageSet,
    test: ImageSet,
    *,
    draws: int = 3,
    limit: int | None = None,
    thorough: bool = True,
    seed: int = 0,
) -> Reference:
    """Return the real images that samples are measured against, `draws` sets of training images among them.

    A set has as many images of each concept as the test split, or half as many as the training split where that is
    less; the test images are then as many, taken at random. `limit`: images of a set, at most, in the same shares.
    Where it is not `thorough`, no small net learns from the sets, the nearest other one of a training image is not
    looked for, and the training images are not compared with one another.
    Raises RGMError for images without labels or too few.
    """
    if train.labels is None or test.labels is None or bool((train.labels < 0).any()):
        raise RGMError("the quality of samples is measured against labelled images, but some have no label")
    classes = len(test.classes)
    tested = torch.bincount(test.labels, minlength=classes)
    counts = tested.minimum(torch.bincount(train.labels, minlength=classes) // 2)
    if limit is not None and limit < int(counts.sum()):
        counts = counts * limit // counts.sum()
    if int(counts.min()) < 4:
        raise RGMError(
            "the quality of samples needs 8 training and 4 test images of each concept, but of one there are "
            f"only enough for {int(counts.min())}"
        )
    generator = torch.Generator().manual_seed(seed)
    known = to_unit(train.images)
    (chosen,) = _stratified(test.labels, counts, generator, sets=1)
    images, labels = to_unit(test.images[chosen]), test.labels[chosen]
    found = Reference(
        judge=judge,
        test=test,
        seed=seed,
        thorough=thorough,
        per_concept=counts,
        known=known,
        features=judge.predict(images).features,
        diversity=diversity(images, labels),
        nearest=float(nearest_distance(images, known).mean()),
        draws=(),
        between=(),
    )
    real, between = [], []
    for draw in range(draws):
        first, second = _stratified(train.labels, counts, generator, sets=2)
        real.append(found.measured(known[first], train.labels[first], draw, 2 if thorough else None))
        if thorough:
            between.append(frechet_distance(real[-1].features, judge.predict(known[second]).features))
    return replace(found, draws=tuple(real), between=tuple(between))


def quality(model: Sampler, against: Reference) -> Quality:
    """Return the metrics of a model's samples, as many sets as there are of training images, and of those.

    Samples are ancestral, temperature 1, none rejected.
    """
    sampler = torch.Generator(model.device).manual_seed(against.seed)
    drawn = [
        against.measured(*_drawn(model, against.per_concept, sampler), draw, 1) for draw in range(len(against.draws))
    ]
    return Quality(
        images=len(against.features),
        per_concept=tuple(against.per_concept.tolist()),
        draws=len(drawn),
        floor=mean_over_draws([one.frechet for one in against.draws], "squared feature units"),
        between_training=mean_over_draws(list(against.between), "squared feature units") if against.between else None,
        samples=against.metrics(drawn),
        real=against.metrics(against.draws),
    )


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """One set of images, measured; `right` where the judge takes an image for its concept."""

    right: Bool[Tensor, " n"]
    concept: Int64[Tensor, " n"]
    features: Float[Tensor, "n d"]
    frechet: float
    coverage: PrecisionRecall
    diversity: float
    nearest: float | None
    accuracy: float | None


def _drawn(model: Sampler, counts: Int64[Tensor, " classes"], generator: torch.Generator) -> tuple[Images, Labels]:
    """Return `counts[c]` samples of every concept c, on the CPU, a batch at a time."""
    concepts = torch.arange(len(counts)).repeat_interleave(counts)
    images = [model.sample(batch.to(model.device), generator=generator).images.cpu() for batch in concepts.split(BATCH)]
    return torch.cat(images), concepts


def _stratified(
    labels: Labels, counts: Int64[Tensor, " classes"], generator: torch.Generator, *, sets: int
) -> list[Int64[Tensor, " m"]]:
    """Return the places of `sets` disjoint random sets with `counts[c]` images of every class c."""
    order = torch.randperm(len(labels), generator=generator)
    alike = [order[labels[order] == c].split(int(count))[:sets] for c, count in enumerate(counts)]
    return [torch.cat(parts) for parts in zip(*alike, strict=True)]


def _radii(points: Float[Tensor, "n d"], k: int) -> Float[Tensor, " n"]:
    """Return each point's distance to its k-th nearest other point; the nearest of all is the point itself."""
    nearest = [torch.cdist(some, points).topk(k + 1, dim=1, largest=False) for some in points.split(BATCH)]
    return torch.cat([one.values[:, k] for one in nearest])


def _share(true: Bool[Tensor, " n"]) -> float:
    return float(true.double().mean())
