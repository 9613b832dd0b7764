"""The table of measures: of each its label, unit, format, meaning, direction and source.

Terminal, report, files and documents read it; nothing about a measure stands anywhere else.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rgm.evaluation.locality import MARGIN, VISIBLE

Direction = Literal["higher", "lower", "neither"]


def percent(value: float) -> str:
    """Return a share in per cent; a share that is not 0 or 1 gets the decimals that show it."""
    for decimals in range(1, 5):
        text = f"{100 * value:.{decimals}f}"
        if float(text) not in (0.0, 100.0):
            return f"{text} %"
    return f"{100 * value:.1f} %"


def _fixed(decimals: int, unit: str = "") -> Callable[[float], str]:
    return lambda value: f"{value:,.{decimals}f}{unit}"


def _bits(value: float) -> str:
    return f"{value:,.{0 if abs(value) >= 100 else 1}f} bits"


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A measure: how it is called, in which unit it is stored, how it is written, and what it says.

    `better` is the direction in which it is better; `source` the paper, where there is one.
    """

    label: str
    unit: str
    meaning: str
    form: Callable[[float], str] = percent
    better: Direction = "higher"
    source: str = ""


_VISIBLY = f"move by more than {100 * VISIBLE:.0f} % of the grey range"
_AUROC = "Probability that such an image has less evidence than a test image (AUROC); 50 % is guessing."


def _separated(kind: str) -> Quantity:
    return Quantity(
        label=f"{kind} distinguished from test images",
        unit="share",
        meaning=_AUROC,
        source="DeLong et al. 1988 (interval)",
    )


QUANTITIES: dict[str, Quantity] = {
    # Abstraction
    "concept_accuracy": Quantity(
        label="concept accuracy",
        unit="share",
        meaning="Test images whose most probable concept is their true class.",
    ),
    "concept_information": Quantity(
        label="class information in the concept",
        unit="share",
        meaning="Mutual information of the concept with the true class, over the entropy of the class.",
        form=_fixed(3),
        source="Miller 1955; Panzeri and Treves 1996",
    ),
    "compression": Quantity(
        label="compression of the pixels by the codes",
        unit="ratio",
        meaning="Bits of the pixels, coded without loss, over bits of the codes.",
        form=_fixed(1, " ×"),
    ),
    "calibration_error": Quantity(
        label="calibration error of the concept",
        unit="share",
        meaning="Mean difference between the probability of the concept and how often it is right.",
        better="lower",
        source="Guo et al. 2017, equation 3",
    ),
    "squared_error": Quantity(
        label="squared error",
        unit="grey range squared",
        meaning="Mean squared error of reconstructions per pixel, black 0 and white 1.",
        form=_fixed(4),
        better="lower",
    ),
    "reconstructions_recognised": Quantity(
        label="reconstructions recognised",
        unit="share",
        meaning="Images reconstructed from their codes that the judge assigns to their true class.",
    ),
    "codes_in_use": Quantity(
        label="codes in use",
        unit="codes",
        meaning="Codes that occur at all among the test images.",
        form=_fixed(0),
        better="neither",
    ),
    "perplexity": Quantity(
        label="codebook perplexity",
        unit="codes",
        meaning="Number of equally used codes that would be as varied; duplicate codes raise it.",
        form=_fixed(1),
        better="neither",
    ),
    "needed_codes": Quantity(
        label="codes needed",
        unit="codes",
        meaning="Codes that no other code can replace everywhere at a negligible cost in squared error.",
        form=_fixed(0),
    ),
    "needed_perplexity": Quantity(
        label="perplexity of the codes needed",
        unit="codes",
        meaning="Perplexity after every code that is not needed has been merged with its replacement.",
        form=_fixed(1),
        better="neither",
    ),
    "pixels_bits": Quantity(
        label="bits of an image's pixels",
        unit="bits",
        meaning="The better of two lossless coders, many images coded together.",
        form=_bits,
        better="neither",
    ),
    "bits": Quantity(
        label="bits of an image's codes",
        unit="bits",
        meaning="Cost of the codes under the model's own probabilities.",
        form=_bits,
        better="lower",
    ),
    "concept_bits": Quantity(
        label="bits of an image's concept",
        unit="bits",
        meaning="Cost of naming one of the concepts, all equally probable.",
        form=_bits,
        better="neither",
    ),
    "class_information": Quantity(
        label="class information in the codes",
        unit="share",
        meaning="The same of the class that the judge predicts from the reconstruction.",
        form=percent,
    ),
    "pixels_explained": Quantity(
        label="variance of the pixels explained",
        unit="share",
        meaning="Share of the variance around the mean image that the reconstruction explains.",
    ),
    "concept_pixels_explained": Quantity(
        label="variance of the pixels explained by the concept",
        unit="share",
        meaning="Share of it that the mean sample of the concept explains.",
    ),
    # Instantiation
    "samples_recognised": Quantity(
        label="samples recognised",
        unit="share",
        meaning="Samples that the judge assigns to the concept they were drawn from.",
    ),
    "worst_concept_recognised": Quantity(
        label="samples recognised, worst concept",
        unit="share",
        meaning="The lowest such share among the concepts.",
    ),
    "completions_recognised": Quantity(
        label="completions recognised",
        unit="share",
        meaning="Images with their lower half resampled that the judge assigns to their true class.",
    ),
    "recall_ratio": Quantity(
        label="recall relative to real images",
        unit="ratio",
        meaning="How much of the variety of real images the samples cover; as many training images give 1.",
        form=_fixed(2),
        source="Kynkäänniemi et al. 2019, equation 2",
    ),
    "diversity_ratio": Quantity(
        label="diversity relative to real images",
        unit="ratio",
        meaning="Distance of two samples of a concept over that of two test images of a class.",
        form=_fixed(2),
        better="neither",
    ),
    "nearest_ratio": Quantity(
        label="nearest-training-image distance relative to real images",
        unit="ratio",
        meaning="Near 0 for copies of training images, 1 for real images that are new.",
        form=_fixed(2),
        better="neither",
    ),
    "precision": Quantity(
        label="precision",
        unit="share",
        meaning="Samples that lie among the real images, in the judge's features.",
        source="Kynkäänniemi et al. 2019, equation 1",
    ),
    "recall": Quantity(
        label="recall",
        unit="share",
        meaning="Real images that lie among the samples, in the judge's features.",
        source="Kynkäänniemi et al. 2019, equation 2",
    ),
    "frechet_ratio": Quantity(
        label="Fréchet distance relative to real images",
        unit="ratio",
        meaning="Fréchet distance of the samples over that of as many training images.",
        form=_fixed(2),
        better="lower",
        source="Heusel et al. 2017, equation 6",
    ),
    "frechet_distance": Quantity(
        label="Fréchet distance",
        unit="squared feature units",
        meaning="Between the judge's features of samples and of test images.",
        form=_fixed(4),
        better="lower",
        source="Heusel et al. 2017, equation 6",
    ),
    # Locality
    "own_patch_share": Quantity(
        label="change inside the cell's own patch",
        unit="share",
        meaning="Share of a changed cell's squared change that stays in the pixels under it.",
    ),
    "patch_plus_2_share": Quantity(
        label=f"change inside the patch + {MARGIN} pixels",
        unit="share",
        meaning=f"Share of it in these pixels and {MARGIN} more on every side.",
    ),
    "receptive_field_share": Quantity(
        label="change inside the receptive field",
        unit="share",
        meaning="Must be 100 %: the architecture lets nothing through beyond these pixels.",
    ),
    "recognition_field_share": Quantity(
        label="codes inferred from their receptive field alone",
        unit="share",
        meaning="Must be 100 %: cells whose logits stay when all pixels beyond their field are exchanged.",
    ),
    "own_patch_concentration": Quantity(
        label="change inside the own patch, relative to its area",
        unit="ratio",
        meaning="1 where a cell changes all of the image alike.",
        form=_fixed(1, " ×"),
    ),
    "rank_correlation": Quantity(
        label="rank correlation of distances",
        unit="correlation",
        meaning="Cells that are far apart change places that are far apart: Spearman's correlation, at most 1.",
        form=_fixed(3),
        source="Spearman 1904",
    ),
    "displacement_px": Quantity(
        label="distance of a change from its cell",
        unit="pixels",
        meaning="From the centre of mass of a cell's change to the centre of its patch.",
        form=_fixed(2, " px"),
        better="lower",
    ),
    "global_over_local": Quantity(
        label="pixels changed by a concept, relative to a cell",
        unit="ratio",
        meaning="How many times more pixels a concept changes than one cell.",
        form=_fixed(1, " ×"),
    ),
    "local_extent": Quantity(
        label="pixels changed by one other code",
        unit="share",
        meaning=f"Pixels that {_VISIBLY} when one cell's code is exchanged.",
        better="lower",
    ),
    "global_extent": Quantity(
        label="pixels changed by another concept",
        unit="share",
        meaning=f"Pixels that {_VISIBLY} when the whole concept is exchanged.",
    ),
    "changed_concept_recognised": Quantity(
        label="changed concept recognised",
        unit="share",
        meaning="Images with an exchanged concept that the judge assigns to the new one.",
    ),
    "decoder_area": Quantity(
        label="receptive field of the decoder",
        unit="share",
        meaning="Share of the image that a cell can change at all.",
        better="lower",
    ),
    "encoder_area": Quantity(
        label="receptive field of the encoder",
        unit="share",
        meaning="Share of the image that a cell's code can depend on at all.",
        better="lower",
    ),
    # Exact evidence
    "negative_log_likelihood": Quantity(
        label="−log p of a test image",
        unit="nats",
        meaning="Exact, not a bound: of the images as the model observes them.",
        form=_fixed(1, " nats"),
        better="lower",
    ),
    "bits_per_dimension": Quantity(
        label="bits per pixel and channel",
        unit="bits",
        meaning="The same for each pixel of a channel: what an ideal coder with this model needs.",
        form=_fixed(3, " bits"),
        better="lower",
    ),
    "answered_right": Quantity(
        label="concept accuracy, all answered",
        unit="share",
        meaning="Test images whose most probable concept is their true class.",
    ),
    "answered_right_likelier_half": Quantity(
        label="concept accuracy, half with the higher evidence",
        unit="share",
        meaning="The same where the model answers for the half with the higher evidence alone.",
    ),
    "selective_accuracy_90": Quantity(
        label="selective accuracy, most certain 90 %",
        unit="share",
        meaning="The same where it answers for the nine tenths with the largest margin.",
    ),
    "selective_accuracy_50": Quantity(
        label="selective accuracy, most certain 50 %",
        unit="share",
        meaning="The same where it answers for the half with the largest margin.",
    ),
    "planted_cell_found": Quantity(
        label="foreign cell found",
        unit="share",
        meaning="A cell of another image, placed into an image, that is the most surprising cell of all.",
    ),
    "completed_quadrants_recognised": Quantity(
        label="completed quadrants recognised",
        unit="share",
        meaning="Images with a quadrant resampled that the judge assigns to their true class.",
    ),
    "letters_separated": _separated("letters"),
    "mnist_separated": _separated("MNIST"),
    "fashion_mnist_separated": _separated("clothes"),
    "kmnist_separated": _separated("Kuzushiji"),
}


def quantity(name: str) -> Quantity | None:
    """Return a measure by its name in the files, without level (`z2_`) or number of images (`_2000`); or None."""
    rest = _split(name)[1]
    return QUANTITIES.get(rest)


def name_of(name: str) -> str:
    """Return a measure's label; that of a level or a number of images says which."""
    level, rest, images = _split(name)
    found = QUANTITIES.get(rest)
    label = found.label if found else rest.replace("_", " ")
    if images:
        label += f", {int(images):,} samples"
    return f"{label}, z{level.translate(_SUBSCRIPTS)}" if level else label


def value_of(name: str, value: float) -> str:
    """Return a measure's value with its unit, as people read it."""
    if not math.isfinite(value):
        return "–"
    found = quantity(name)
    return found.form(value) if found else f"{value:.4g}"


def interval_of(name: str, low: float, high: float) -> str:
    """Return a measure's interval as people read it; nothing for what is counted, or has none."""
    return "" if low == high or not math.isfinite(low) else f"{value_of(name, low)} to {value_of(name, high)}"


def meaning_of(name: str) -> str:
    """Return what a measure says, in a sentence."""
    found = quantity(name)
    return found.meaning if found else ""


_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def _split(name: str) -> tuple[str, str, str]:
    """Return the level, the measure and the number of images that a name consists of; what it lacks is empty."""
    level, images, rest = "", "", name
    prefix, _, after = name.partition("_")
    if prefix[:1] == "z" and prefix[1:].isdigit():
        level, rest = prefix[1:], after
    if rest not in QUANTITIES:
        before, _, number = rest.rpartition("_")
        if number.isdigit() and before in QUANTITIES:
            rest, images = before, number
    return level, rest, images
