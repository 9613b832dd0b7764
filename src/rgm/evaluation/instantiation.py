"""Instantiation: one concept, many coherent variations."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rgm.data.images import ImageSet, one_of_each, to_unit
from rgm.evaluation.judge import Judge
from rgm.model.generative import RGM
from rgm.model.results import Samples

HALVES = 1000
"""Test images whose lower half is hidden and drawn anew: at most so many."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the judge says of `count` samples: the share that show their concept, over all and by concept."""

    count: int
    share: float
    by_concept: Float[Tensor, " classes"]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Images whose upper rows of cells are kept and the rest drawn anew, given those and the concept that was read.

    `painted` are the images as all their codes paint them; `completed[i, j]` is the j-th completion of image i;
    `recognised` the share of `count` completions, one an image, that the judge takes for the image's true class.
    """

    keep: Bool[Tensor, "height width"]
    painted: Float[Tensor, "images channels rows_px columns_px"]
    completed: Float[Tensor, "images variants channels rows_px columns_px"]
    count: int
    recognised: float | None


@dataclass(frozen=True, kw_only=True)
class Instantiation:
    """Samples of every concept, ancestral, temperature 1, none rejected; and images whose lower half is drawn anew.

    `sheet[c, i]` is the i-th sample of concept c. `count` samples were drawn in all: `samples_recognised` is the share
    of them that the judge takes for their concept, `recognised` the same by concept; None without a judge.
    """

    classes: tuple[str, ...]
    count: int
    sheet: Float[Tensor, "classes columns channels rows_px columns_px"]
    samples_recognised: float | None
    recognised: Float[Tensor, " classes"] | None
    completion: Completion

    def measures(self) -> dict[str, float]:
        """Return the numbers by name."""
        found = {}
        if self.samples_recognised is not None and self.recognised is not None:
            found["samples_recognised"] = self.samples_recognised
            found["worst_concept_recognised"] = float(self.recognised.min())
        if self.completion.recognised is not None:
            found["completions_recognised"] = self.completion.recognised
        return found


def instantiation(
    model: RGM,
    data: ImageSet,
    judge: Judge | None,
    *,
    count: int = 500,
    columns: int = 10,
    judged: Judged | None = None,
    seed: int = 0,
) -> Instantiation:
    """Draw `count` samples of every concept and the lower halves of a split's images, and ask the judge about both.

    `judged`: what the judge says of samples that have been drawn already; then no more are than the sheet shows.
    """
    generator = torch.Generator(model.device).manual_seed(seed)
    drawn = columns if judged else max(count, columns)
    shown, shares = [], []
    for concept in range(model.num_classes):
        samples: Samples = model.sample(concept, drawn, generator=generator)
        images = samples.images.cpu()
        shown.append(images[:columns])
        if judge is not None and judged is None:
            shares.append((judge.predict(images).label == concept).float().mean())
    if shares:
        by_concept = torch.stack(shares)
        judged = Judged(count=drawn * len(shares), share=float(by_concept.mean()), by_concept=by_concept)
    return Instantiation(
        classes=data.classes,
        count=judged.count if judged else drawn * model.num_classes,
        sheet=torch.stack(shown),
        samples_recognised=judged.share if judged else None,
        recognised=judged.by_concept if judged else None,
        completion=completion(model, data, judge, generator=generator),
    )


def completion(
    model: RGM,
    data: ImageSet,
    judge: Judge | None,
    *,
    variants: int = 4,
    generator: torch.Generator,
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

    painted, completed = drawn(data.images[one_of_each(data)], variants)
    recognised = None
    some = min(HALVES, len(data))
    if judge is not None and data.labels is not None:
        said = judge.predict(drawn(data.images[:some], 1)[1]).label
        recognised = float((said == data.labels[:some]).double().mean())
    return Completion(
        keep=keep,
        painted=painted,
        completed=completed.unflatten(0, (len(painted), variants)),
        count=some,
        recognised=recognised,
    )
