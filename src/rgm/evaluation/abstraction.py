"""Abstraction: pixels become codes, codes become a concept, and what matters is kept."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.data.images import one_of_each
from rgm.evaluation.split import SplitInference
from rgm.evaluation.statistics import Findings, exactly, values
from rgm.model.generative import RGM
from rgm.model.results import Inference


@dataclass(frozen=True, kw_only=True)
class CodeAtlas:
    """The patches of each code, in [0, 1].

    `encoded` is the mean of the patches that are encoded as it (blank where `counts` is 0); `decoded` is the middle
    patch of an image whose every cell has the code.
    """

    encoded: Float[Tensor, "states channels side_y side_x"]
    decoded: Float[Tensor, "states channels side_y side_x"]
    counts: Int64[Tensor, " states"]


@dataclass(frozen=True, kw_only=True)
class Abstraction:
    """The bottom-up half on one split, with examples.

    `images`, `labels` and `inference` hold the examples, one a class; the measures are those of the whole `split`, with
    hard codes.
    """

    split: SplitInference
    images: Float[Tensor, "examples channels rows columns"]
    labels: Int64[Tensor, " examples"] | None
    inference: Inference
    atlas: CodeAtlas

    def findings(self) -> Findings:
        """Return the numbers by name."""
        split, (z1, *coarser) = self.split, self.split.usage
        numbers = {"codes_in_use": float(z1.in_use), "perplexity": z1.perplexity} | split.needed.measures()
        for level, usage in enumerate(coarser, start=2):
            numbers |= {f"z{level}_codes_in_use": float(usage.in_use), f"z{level}_perplexity": usage.perplexity}
        found: Findings = {"squared_error": split.squared_error}
        found |= {name: exactly(value, "codes") for name, value in numbers.items()}
        judged = {
            "concept_accuracy": split.concept_right,
            "calibration_error": split.calibration_error,
            "reconstructions_recognised": split.reconstructions_recognised,
        }
        return found | {name: value for name, value in judged.items() if value is not None}

    def measures(self) -> dict[str, float]:
        """Return the numbers by name, without their intervals."""
        return values(self.findings())


def abstraction(split: SplitInference) -> Abstraction:
    """Return what the model makes of a split, bottom-up."""
    data, images, inference = split.data, split.images, split.inference
    examples = one_of_each(data)
    return Abstraction(
        split=split,
        images=images[examples],
        labels=None if data.labels is None else data.labels[examples],
        inference=inference.map(lambda values: values[examples]),
        atlas=code_atlas(split.model, images, inference.z1),
    )


def code_atlas(
    model: RGM, images: Float[Tensor, "n channels rows columns"], z1: Int64[Tensor, "n height width"]
) -> CodeAtlas:
    """Return what each code stands for in the images and what it decodes to on its own."""
    _, height, width = z1.shape
    _, channels, rows, columns = images.shape
    side_y, side_x = rows // height, columns // width
    patches = (
        images.reshape(-1, channels, height, side_y, width, side_x)
        .permute(0, 2, 4, 1, 3, 5)
        .reshape(-1, channels * side_y * side_x)
    )
    counts = torch.bincount(z1.flatten(), minlength=model.latent_dim)
    sums = torch.zeros(model.latent_dim, patches.shape[1]).index_add_(0, z1.flatten(), patches)
    encoded = (sums / counts.clamp_min(1)[:, None]).reshape(-1, channels, side_y, side_x)
    return CodeAtlas(encoded=encoded, decoded=decoded_codes(model), counts=counts)


def decoded_codes(model: RGM) -> Float[Tensor, "states channels side_y side_x"]:
    """Return what each code decodes to: the middle patch of an image whose every cell has it."""
    height, width = model.config.levels[0].grid
    everywhere = torch.arange(model.latent_dim, device=model.device)[:, None, None].expand(-1, height, width)
    return model.decode(everywhere)[..., *model.patch(height // 2, width // 2).slices].cpu()
