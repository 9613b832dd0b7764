"""Instantiation: one concept, many coherent variations."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rgm.data.images import ImageSet, one_of_each, to_unit
from rgm.evaluation.judge import Classifier
from rgm.evaluation.sample_quality import Quality
from rgm.model.generative import RGM

HALVES = 1000
"""Test images whose lower half is hidden and resampled: at most so many."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Images whose upper rows of cells are kept and the rest resampled, given those and the inferred concept.

    `reconstructed` are the images as all their codes decode; `completed[i, j]` is the j-th completion of image i;
    `recognised` the share of `count` completions, one an image, that the judge takes for the image's true class.
    """

    keep: Bool[Tensor, "height width"]
    reconstructed: Float[Tensor, "images channels rows_px columns_px"]
    completed: Float[Tensor, "images variants channels rows_px columns_px"]
    count: int
    recognised: float | None


@dataclass(frozen=True, kw_only=True)
class Instantiation:
    """Samples of every concept, ancestral, temperature 1, none rejected; and images whose lower half is resampled.

    `sheet[c, i]` is the i-th sample of concept c; `quality` says how good many more samples are, None where that cannot
    be measured (no labels, or too few images of a concept).
    """

    classes: tuple[str, ...]
    sheet: Float[Tensor, "classes columns channels rows_px columns_px"]
    completion: Completion
    quality: Quality | None

    @property
    def count(self) -> int:
        """How many samples were judged, or are shown."""
        if self.quality is None:
            return self.sheet.shape[0] * self.sheet.shape[1]
        return self.quality.draws * self.quality.images

    @property
    def recognised(self) -> Float[Tensor, " classes"] | None:
        """The share of each concept's samples that the judge takes for it."""
        if self.quality is None:
            return None
        return torch.tensor([share.estimate for share in self.quality.samples.recognised_by_concept])

    def measures(self) -> dict[str, float]:
        """Return the numbers by name."""
        found = {}
        if self.quality is not None:
            samples = self.quality.samples
            found["samples_recognised"] = samples.recognised.estimate
            found["worst_concept_recognised"] = samples.worst_recognised.estimate
        if self.completion.recognised is not None:
            found["completions_recognised"] = self.completion.recognised
        return found


def instantiation(
    model: RGM,
    data: ImageSet,
    judge: Classifier | None,
    quality: Quality | None = None,
    *,
    columns: int = 10,
    seed: int = 0,
) -> Instantiation:
    """Sample `columns` images of every concept, and resample the lower halves of a split's images."""
    generator = torch.Generator(model.device).manual_seed(seed)
    sheet = [model.sample(concept, columns, generator=generator).images.cpu() for concept in range(model.num_classes)]
    return Instantiation(
        classes=data.classes,
        sheet=torch.stack(sheet),
        completion=completion(model, data, judge, generator=generator),
        quality=quality,
    )


def completion(
    model: RGM, data: ImageSet, judge: Classifier | None, *, variants: int = 4, generator: torch.Generator
) -> Completion:
    """Keep the upper half of the cells of one image of each class and draw the rest in `variants` ways.

    Up to a thousand images of the split are completed once, for the judge.
    """
    height, width = model.config.levels[0].grid
    keep = (torch.arange(height) < (height + 1) // 2)[:, None].expand(height, width)
    mask = keep[None].to(model.device)

    def drawn(images: Tensor, times: int) -> tuple[Tensor, Tensor]:
        read = model.infer(to_unit(images).to(model.device))
        z1, concept = (x.repeat_interleave(times, dim=0) for x in (read.z1, read.concept.argmax(dim=1)))
        return read.reconstruction.cpu(), model.complete(z1, mask, concept, generator=generator).images.cpu()

    reconstructed, completed = drawn(data.images[one_of_each(data)], variants)
    recognised = None
    some = min(HALVES, len(data))
    if judge is not None and data.labels is not None:
        said = judge.predict(drawn(data.images[:some], 1)[1]).label
        recognised = float((said == data.labels[:some]).double().mean())
    return Completion(
        keep=keep,
        reconstructed=reconstructed,
        completed=completed.unflatten(0, (len(reconstructed), variants)),
        count=some,
        recognised=recognised,
    )
