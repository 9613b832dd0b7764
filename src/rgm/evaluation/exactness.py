"""What an exact model can say that no bound can: how probable an image is, cell by cell, and what belongs where."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from scipy.stats import norm, rankdata
from torch import Tensor

from rgm.counting.config import RankedSymbols
from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet, one_of_each, to_unit
from rgm.errors import RGMError
from rgm.evaluation.judge import Classifier
from rgm.evaluation.statistics import Estimate, PerImage

COMPLETED, REPLACED = 1000, 1000
"""Test images of which a quadrant is hidden, and of which a cell is replaced: at most so many."""
SHOWN, VARIANTS = 8, 3
"""Images in each figure, and completions of each."""


@dataclass(frozen=True, kw_only=True)
class Quadrants:
    """Images with one quadrant hidden and sampled from the exact conditional, p(hidden | visible).

    `completed[i, j]` is the j-th completion of the i-th example, given its `visible` pixels. `recognised` is the share
    of more images' completions, one each, that the judge assigns to their true class.
    """

    images: Float[Tensor, "examples channels rows columns"]
    visible: Bool[Tensor, "examples rows columns"]
    completed: Float[Tensor, "examples variants channels rows columns"]
    recognised: PerImage | None


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """The surprise at each cell: −log p(cell | all other cells) in nats.

    `maps[i]` is of `images[i]`, whose cell `replaced[i]` (row, column) is that of another image. `found` is the share
    of more images in which the replaced cell is the most surprising of all.
    """

    images: Float[Tensor, "examples channels rows columns"]
    maps: Float[Tensor, "examples height width"]
    replaced: tuple[tuple[int, int], ...]
    found: PerImage


@dataclass(frozen=True, kw_only=True)
class OutOfDistribution:
    """Images of another kind: their −log p(x) in nats, and how well it separates them from test images.

    `auroc` is the chance that one of them is less probable than a test image, with DeLong's interval (1988).
    """

    name: str
    nats: Float[Tensor, " n"]
    auroc: Estimate


@dataclass(frozen=True, kw_only=True)
class Exactness:
    """What a counting model's exact evidence is worth on a labelled test split.

    `nats` are −log p(x) of the images as the model observes them; `margin` is by how much the most
    probable concept's log-probability exceeds the next one's, and `right` whether it is the class.
    """

    data: str
    count: int
    observed: str
    nats: Float[Tensor, " n"]
    margin: Float[Tensor, " n"]
    right: Bool[Tensor, " n"]
    bits_per_dimension: PerImage
    surprise: Surprise
    completion: Quadrants | None
    out_of_distribution: tuple[OutOfDistribution, ...]

    def measures(self) -> dict[str, float]:
        """Return the numbers by name."""
        return {name: found.estimate for name, found in self.estimates().items()}

    def estimates(self) -> dict[str, Estimate]:
        """Return the numbers by name, each with its 95 % interval."""
        half = self.answered(self.nats.neg(), 0.5)
        found = {
            "negative_log_likelihood": PerImage.mean(self.nats, "nats").estimate(),
            **({"bits_per_dimension": self.bits_per_dimension.estimate()} if self.observed == "categorical" else {}),
            "answered_right": PerImage.mean(self.right, "share").estimate(),
            "answered_right_likelier_half": half.estimate(),
            "selective_accuracy_90": self.answered(self.margin, 0.9).estimate(),
            "selective_accuracy_50": self.answered(self.margin, 0.5).estimate(),
            "planted_cell_found": self.surprise.found.estimate(),
        }
        if self.completion is not None and self.completion.recognised is not None:
            found["completed_quadrants_recognised"] = self.completion.recognised.estimate()
        for other in self.out_of_distribution:
            found[f"{other.name.replace('-', '_')}_separated"] = other.auroc
        return found

    def answered(self, score: Float[Tensor, " n"], share: float) -> PerImage:
        """Return the accuracy on the share of the images with the highest score."""
        kept = score.argsort(descending=True, stable=True)[: max(1, round(share * len(score)))]
        return PerImage.mean(self.right[kept], "share")


@torch.no_grad()
def exactness(
    model: CountingRGM,
    judge: Classifier | None,
    test: ImageSet,
    others: Mapping[str, UInt8[Tensor, "m channels rows columns"]],
    *,
    seed: int = 0,
) -> Exactness:
    """Return what exact evidence is worth; `others` are images of other kinds. Raises RGMError without labels."""
    if test.labels is None:
        raise RGMError(f"what is answered rightly needs labels, but {test.source} has none")
    generator = torch.Generator(model.device).manual_seed(seed)
    images = to_unit(test.images)
    nats = _nats(model, images, generator)
    evidence = model.log_evidence(images, likelihood=False).cpu()
    largest = evidence.topk(2, dim=1).values
    examples = one_of_each(test)[:SHOWN]
    completion = _completion(model, judge, images, test.labels, examples, generator)
    strange = []
    for name, some in others.items():
        found = _nats(model, to_unit(some), generator)
        strange.append(OutOfDistribution(name=name, nats=found, auroc=auroc(nats, found)))
    return Exactness(
        data=test.name,
        count=len(test),
        observed=model.pixels_kind,
        nats=nats,
        margin=largest[:, 0] - largest[:, 1],
        right=evidence.argmax(dim=1) == test.labels,
        bits_per_dimension=PerImage.mean(nats / (math.log(2) * images[0].numel()), "bits"),
        surprise=_surprise(model, images, examples, seed),
        completion=completion,
        out_of_distribution=tuple(strange),
    )


def _nats(model: CountingRGM, images: Tensor, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Return −log p(x) of images as the model observes them, black and white ones drawn once."""
    seen = model.observe(images.to(model.device), generator)
    return -model.log_weight(seen).cpu().double()


def auroc(usual: Float[Tensor, " n"], strange: Float[Tensor, " m"]) -> Estimate:
    """Return P(strange > usual) + P(equal) / 2 with its 95 % interval (DeLong, DeLong and Clarke-Pearson 1988)."""
    n, m = len(usual), len(strange)
    both = rankdata(torch.cat([usual, strange]).numpy())
    below = (both[n:] - rankdata(strange.numpy())) / n  # of each strange image: the share of usual ones below it
    above = 1 - (both[:n] - rankdata(usual.numpy())) / m
    area = float(below.mean())
    deviation = math.sqrt(below.var(ddof=1) / m + above.var(ddof=1) / n) if min(n, m) > 1 else math.nan
    reach = float(norm.ppf(0.975)) * deviation
    return Estimate(estimate=area, low=max(0.0, area - reach), high=min(1.0, area + reach), unit="share")


def _surprise(model: CountingRGM, images: Tensor, examples: Tensor, seed: int) -> Surprise:
    """Replace, in each image, a cell by another image's at the same place, one of those where the two differ most."""
    some = torch.cat([examples, torch.arange(min(REPLACED, len(images)))])
    draw = torch.Generator().manual_seed(seed)
    own, other = images[some], images[(some + 1) % len(images)]
    boxes = [model.patch(*cell) for cell in model.cells]
    change = torch.stack([(own - other)[..., *box.slices].square().flatten(1).sum(dim=1) for box in boxes], dim=1)
    rank = torch.randint(max(1, len(boxes) // 10), (len(some), 1), generator=draw)
    cell = change.argsort(dim=1, descending=True).gather(1, rank)[:, 0]
    mixed = own.clone()
    for number, box in enumerate(boxes):
        here = (cell == number)[:, None, None, None]
        mixed[..., *box.slices] = torch.where(here, other[..., *box.slices], own[..., *box.slices])
    maps = model.surprise(mixed).cpu()
    found = maps.flatten(1).argmax(dim=1) == cell
    shown = len(examples)
    return Surprise(
        images=mixed[:shown],
        maps=maps[:shown],
        replaced=tuple(model.cells[place] for place in cell[:shown].tolist()),
        found=PerImage.mean(found[shown:], "share"),
    )


def _completion(
    model: CountingRGM,
    judge: Classifier | None,
    images: Tensor,
    labels: Int64[Tensor, " n"],
    examples: Tensor,
    generator: torch.Generator,
) -> Quadrants | None:
    """Hide a quadrant of each image, each in turn, and resample it; nothing where symbols need the whole image."""
    if isinstance(model.config.symbols, RankedSymbols):
        return None
    visible = _quadrants(*images.shape[2:])
    turn = torch.arange(len(examples)) % len(visible)

    def completed(some: Tensor) -> Tensor:
        hidden = visible[torch.arange(len(some)) % len(visible)]
        return model.complete_pixels(some, hidden, generator=generator).images.cpu()

    variants = torch.stack([completed(images[examples]) for _ in range(VARIANTS)], dim=1)
    recognised = None
    if judge is not None:
        predicted = judge.predict(completed(images[:COMPLETED])).label
        recognised = PerImage.mean(predicted == labels[:COMPLETED], "share")
    return Quadrants(images=images[examples], visible=visible[turn], completed=variants, recognised=recognised)


def _quadrants(rows: int, columns: int) -> Bool[Tensor, "quadrants rows columns"]:
    """Return what is visible with each quadrant hidden: upper left, upper right, lower left, lower right."""
    upper, left = torch.arange(rows)[:, None] < rows // 2, torch.arange(columns) < columns // 2
    return torch.stack([~(upper & left), ~(upper & ~left), ~(~upper & left), ~(~upper & ~left)])
