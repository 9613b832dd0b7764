"""How good a model's samples are, compared with real images in their place."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.evaluation.image_sets import (
    BATCH,
    Images,
    PrecisionRecall,
    coverage,
    diversity,
    frechet_distance,
    nearest_distance,
)
from rgm.evaluation.judge import Classifier
from rgm.evaluation.statistics import Estimate, Findings, bootstrap_mean, mean_over_draws
from rgm.model.generative import RGM
from rgm.model.results import Samples

Labels = Int64[Tensor, " n"]


@dataclass(frozen=True)
class Sampler(ABC):
    """A control that samples images of concepts in the place of a model."""

    model: RGM

    @property
    def device(self) -> torch.device:
        """Where it samples."""
        return self.model.device

    @abstractmethod
    def sample(self, concept: Labels, count: int = 1, *, generator: torch.Generator | None = None) -> Samples:
        """Return `count` images of each concept."""


@dataclass(frozen=True, kw_only=True)
class SampleMetrics:
    """The metrics of sets of images, relative to the real test images.

    Intervals are over images for what the judge recognises, over sets for the rest. Ratios are over what real images
    give: the Fréchet distance and recall over those of as many training images, diversity and the distance to the
    nearest training image over those of the test images. The last is None for training images themselves.
    """

    recognised: Estimate
    recognised_by_concept: tuple[Estimate, ...]
    frechet_distance: Estimate
    frechet_ratio: Estimate
    precision: Estimate
    recall: Estimate
    recall_ratio: Estimate
    diversity_ratio: Estimate
    nearest_ratio: Estimate | None

    @property
    def worst_recognised(self) -> Estimate:
        """What the judge recognises of the concept that it recognises least."""
        return min(self.recognised_by_concept, key=lambda share: share.estimate)


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The metrics of `draws` sets of `images` samples, and those of training images in their place.

    Every set has as many images of a concept as the test images have, `per_concept`: on MNIST, equal shares instead
    of these add twice the Fréchet distance of training images to that of samples.
    """

    images: int
    per_concept: tuple[int, ...]
    draws: int
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


@dataclass(frozen=True, kw_only=True)
class MeasuredSet:
    """One set of images, measured; `right` where the judge assigns an image to its concept."""

    right: Bool[Tensor, " n"]
    concept: Int64[Tensor, " n"]
    features: Float[Tensor, "n d"]
    frechet: float
    coverage: PrecisionRecall
    diversity: float
    nearest: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Real images, measured once for all models and controls whose samples are compared with them.

    `features` are the judge's of the test images, `diversity` and `nearest` measures of these. `known` are all
    training images, as bytes; `pairs` the places in them of two disjoint sets for each draw; `real` the first of each,
    measured in place of samples. See `reference`.
    """

    judge: Classifier
    seed: int
    per_concept: Int64[Tensor, " classes"]
    known: UInt8[Tensor, "all channels height width"]
    features: Float[Tensor, "images d"]
    diversity: float
    nearest: float
    pairs: tuple[tuple[Tensor, ...], ...]
    real: tuple[MeasuredSet, ...]

    def metrics(self, found: Sequence[MeasuredSet]) -> SampleMetrics:
        """Return the metrics of some sets of images, relative to those of the real images."""
        right = torch.cat([one.right for one in found]).double()
        concept = torch.cat([one.concept for one in found])
        pairs = list(zip(found, self.real, strict=True))
        distances = [one.nearest for one in found if one.nearest is not None]
        by_concept = [right[concept == c] for c in range(len(self.per_concept))]
        return SampleMetrics(
            recognised=bootstrap_mean(right, "share"),
            recognised_by_concept=tuple(bootstrap_mean(one, "share") for one in by_concept),
            frechet_distance=mean_over_draws([one.frechet for one in found], "squared feature units"),
            frechet_ratio=mean_over_draws([a.frechet / b.frechet for a, b in pairs], "ratio"),
            precision=mean_over_draws([one.coverage.precision for one in found], "share"),
            recall=mean_over_draws([one.coverage.recall for one in found], "share"),
            recall_ratio=mean_over_draws([a.coverage.recall / b.coverage.recall for a, b in pairs], "ratio"),
            diversity_ratio=mean_over_draws([one.diversity / self.diversity for one in found], "ratio"),
            nearest_ratio=mean_over_draws([one / self.nearest for one in distances], "ratio") if distances else None,
        )


def reference(
    judge: Classifier, train: ImageSet, test: ImageSet, *, draws: int = 3, limit: int | None = None, seed: int = 0
) -> Reference:
    """Return the real images that samples are compared with, `draws` sets of training images among them.

    A set has as many images of each concept as the test split, or half as many as the training split where that is
    less; the test images are then as many, taken at random. `limit`: images of a set, at most, in the same shares.
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
    (chosen,) = _stratified(test.labels, counts, generator, sets=1)
    images, labels = to_unit(test.images[chosen]), test.labels[chosen]
    features = judge.predict(images).features
    pairs = tuple(_stratified(train.labels, counts, generator, sets=2) for _ in range(draws))
    return Reference(
        judge=judge,
        seed=seed,
        per_concept=counts,
        known=train.images,
        features=features,
        diversity=diversity(images, labels),
        nearest=float(nearest_distance(images, train.images).mean()),
        pairs=pairs,
        real=tuple(_measured(judge, features, to_unit(train.images[first]), train.labels[first]) for first, _ in pairs),
    )


def quality(model: RGM | Sampler, against: Reference) -> Quality:
    """Return the metrics of a model's samples, as many sets as there are of training images, and of those.

    Samples are ancestral, temperature 1, none rejected.
    """
    generator = torch.Generator(model.device).manual_seed(against.seed)
    found = []
    for _ in against.real:
        images, concepts = sampled(model, against.per_concept, generator)
        nearest = float(nearest_distance(images, against.known).mean())
        found.append(_measured(against.judge, against.features, images, concepts, nearest))
    return Quality(
        images=len(against.features),
        per_concept=tuple(against.per_concept.tolist()),
        draws=len(found),
        samples=against.metrics(found),
        real=against.metrics(against.real),
    )


def sampled(
    model: RGM | Sampler, counts: Int64[Tensor, " classes"], generator: torch.Generator
) -> tuple[Images, Labels]:
    """Return `counts[c]` samples of every concept c, on the CPU, a batch at a time."""
    concepts = torch.arange(len(counts)).repeat_interleave(counts)
    images = [model.sample(batch.to(model.device), generator=generator).images.cpu() for batch in concepts.split(BATCH)]
    return torch.cat(images), concepts


def _measured(
    judge: Classifier, real: Float[Tensor, "m d"], images: Images, labels: Labels, nearest: float | None = None
) -> MeasuredSet:
    """Return one set of images compared with the features of the real test images."""
    seen = judge.predict(images)
    return MeasuredSet(
        right=seen.label == labels,
        concept=labels,
        features=seen.features,
        frechet=frechet_distance(seen.features, real),
        coverage=coverage(real, seen.features),
        diversity=diversity(images, labels),
        nearest=nearest,
    )


def _stratified(
    labels: Labels, counts: Int64[Tensor, " classes"], generator: torch.Generator, *, sets: int
) -> tuple[Tensor, ...]:
    """Return the places of `sets` disjoint random sets with `counts[c]` images of every class c."""
    order = torch.randperm(len(labels), generator=generator)
    alike = [order[labels[order] == c].split(int(count))[:sets] for c, count in enumerate(counts)]
    return tuple(torch.cat(parts) for parts in zip(*alike, strict=True))
