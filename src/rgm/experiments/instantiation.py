"""Instantiation: one concept, many coherent variations."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.judge import Judge
from rgm.model.results import Samples
from rgm.model.spatial import SpatialRGM


@dataclass(frozen=True, kw_only=True)
class Instantiation:
    """Samples of every concept: ancestral, temperature 1, none rejected.

    `sheet[c, i]` is the i-th sample of concept c; `recognised` the share of all `count` samples a concept that
    the judge takes for their concept, by concept; None without a judge.
    """

    classes: tuple[str, ...]
    count: int
    sheet: Float[Tensor, "classes columns channels rows_px columns_px"]
    recognised: Float[Tensor, " classes"] | None

    def measures(self) -> dict[str, float]:
        """Return the numbers by name."""
        if self.recognised is None:
            return {}
        return {
            "samples_recognised": float(self.recognised.mean()),
            "worst_concept_recognised": float(self.recognised.min()),
        }


def instantiation(
    model: SpatialRGM,
    classes: tuple[str, ...],
    judge: Judge | None,
    *,
    count: int = 500,
    columns: int = 10,
    seed: int = 0,
) -> Instantiation:
    """Draw `count` samples of every concept and ask the judge what they show."""
    generator = torch.Generator(model.device).manual_seed(seed)
    shown, shares = [], []
    for concept in range(model.num_classes):
        samples: Samples = model.sample(concept, max(count, columns), generator=generator)
        images = samples.images.cpu()
        shown.append(images[:columns])
        if judge is not None:
            shares.append((judge.look(images).label == concept).float().mean())
    return Instantiation(
        classes=classes,
        count=max(count, columns),
        sheet=torch.stack(shown),
        recognised=torch.stack(shares) if shares else None,
    )
