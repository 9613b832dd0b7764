"""What each level keeps, of the class and of the pixels, and what it costs: abstraction as information."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.errors import RGMError
from rgm.evaluation.information import MutualInformation, class_share, lossless_bits, mutual_information
from rgm.evaluation.judge import Classifier
from rgm.evaluation.split import SplitInference
from rgm.evaluation.statistics import Findings, PerImage, exactly
from rgm.model.generative import RGM

DRAWS, SOME = 4, 1000
"""Draws beneath a code of a grid above z_1, for so many images."""
OF_A_CONCEPT = 100
"""Draws whose mean is what a concept says of the pixels."""


@dataclass(frozen=True, kw_only=True)
class LevelMeasures:
    """A level, from the pixels to the concept.

    `bits` describe an image's codes of this level and of those above it, −Σ_{m ≥ ℓ} log₂ p(z_m | z_{m+1}), or its
    pixels without loss. `class_share` is I(·; class) / H(class) of what is read from the level: by the judge from the
    image, or from what the codes decode to; from the concept itself. `pixels_explained` is the share of the pixels'
    variance around the mean image that is explained by the mean of what the level decodes to.
    """

    name: str
    bits: PerImage
    class_share: PerImage
    pixels_explained: PerImage


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What all levels keep of a labelled split, hard codes; `cells` has I(code; class) of each cell, a map a grid.

    `code_bits` are −log₂ p(z_1, …, z_{L−1} | z_L) of every image, and `z1_bits` −log₂ p(z_1 | z_2) of them.
    """

    levels: tuple[LevelMeasures, ...]
    cells: tuple[MutualInformation, ...]
    code_bits: Float[Tensor, " n"]
    z1_bits: Float[Tensor, " n"]

    def findings(self) -> Findings:
        """Return the numbers by name.

        concept_information  I(z_L; class) / H(class), z_L the most probable concept
        compression          bits of the pixels without loss over bits of the codes of all grids, given the concept
        """
        pixels, z1, *_, concept = self.levels
        return {
            "concept_information": concept.class_share,
            "compression": PerImage(parts=pixels.bits.parts, wholes=self.code_bits, unit="ratio"),
            "pixels_bits": exactly(pixels.bits.value, "bits"),
            "z1_bits": PerImage.mean(self.z1_bits, "bits"),
            "concept_bits": exactly(concept.bits.value, "bits"),
            "z1_class_information": z1.class_share,
            "z1_pixels_explained": z1.pixels_explained,
            "concept_pixels_explained": concept.pixels_explained,
        }


@torch.no_grad()
def levels(split: SplitInference, judge: Classifier, *, seed: int = 0) -> Levels:
    """Return what each level keeps of a labelled split; raise RGMError for one without labels."""
    model, data = split.model, split.data
    if data.labels is None:
        raise RGMError(f"what is kept of the class needs labels, but {data.source} has none")
    generator = torch.Generator(model.device).manual_seed(seed)
    assert split.originals is not None
    assert split.reconstructions is not None
    images, labels, classes = split.images, data.labels, len(data.classes)
    concept = split.inference.concept.argmax(dim=1)
    codes, rates = split.inference.codes, split.rates_bits
    above = rates.flip(1).cumsum(dim=1).flip(1)
    spread = (images - images.mean(dim=0)).square().flatten(1).sum(dim=1).double()
    lost = split.squared_error.parts * images[0].numel()

    def level(name: str, bits: Tensor, predicted: Tensor, missed: Tensor) -> LevelMeasures:
        return LevelMeasures(
            name=name,
            bits=PerImage.mean(bits, "bits"),
            class_share=class_share(predicted, labels[: len(predicted)], classes),
            pixels_explained=PerImage(parts=spread[: len(missed)] - missed, wholes=spread[: len(missed)], unit="share"),
        )

    whole = torch.full_like(spread, lossless_bits(data))
    levels = [
        level("pixels", whole, split.originals.label, torch.zeros_like(lost)),
        level("z1", above[:, 0], split.reconstructions.label, lost),
    ]
    for number, z in enumerate(codes[1:], start=2):
        predicted, missed = _beneath(model, judge, z[:SOME], number, images, generator)
        levels.append(level(f"z{number}", above[:, number - 1], predicted, missed))
    missed = _by_concept(model, concept, images, generator)
    levels.append(level("concept", above[:, -1], concept, missed))
    return Levels(
        levels=tuple(levels),
        cells=tuple(
            mutual_information(z, labels, states.states, classes)
            for z, states in zip(codes, model.config.levels, strict=False)
        ),
        code_bits=rates[:, :-1].sum(dim=1),
        z1_bits=rates[:, 0],
    )


def _beneath(
    model: RGM,
    judge: Classifier,
    z: Int64[Tensor, "n height width"],
    level: int,
    images: Tensor,
    generator: torch.Generator,
) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """Return what the judge predicts from one sample below each grid, and the squared error of their mean.

    The mean of a few draws misses more than the mean of all would by their variance over their number, which is taken
    off.
    """
    repeated = z.to(model.device).repeat_interleave(DRAWS, dim=0)
    drawn = [
        model.decode(model.sample_below(some, level, generator=generator)[0]).cpu() for some in repeated.split(500)
    ]
    decoded = torch.cat(drawn).unflatten(0, (len(z), DRAWS))
    missed = (decoded.mean(dim=1) - images[: len(z)]).square().flatten(1).sum(dim=1)
    noise = decoded.var(dim=1).flatten(1).sum(dim=1) / DRAWS
    return judge.predict(decoded[:, 0]).label, (missed - noise).double()


def _by_concept(
    model: RGM, concept: Int64[Tensor, " n"], images: Tensor, generator: torch.Generator
) -> Float[Tensor, " n"]:
    """Return the squared error of the mean image of each image's concept; see `_beneath`."""
    missed = torch.zeros(len(images), dtype=torch.float64)
    for one in concept.unique().tolist():
        decoded = model.sample(one, OF_A_CONCEPT, generator=generator).images.cpu()
        noise = float(decoded.var(dim=0).sum()) / OF_A_CONCEPT
        alike = concept == one
        missed[alike] = (images[alike] - decoded.mean(dim=0)).square().flatten(1).sum(dim=1).double() - noise
    return missed
