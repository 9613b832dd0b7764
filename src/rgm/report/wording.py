"""Measures in words: a name, a number and a sentence for people."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rgm.evaluation.abstraction import Abstraction
from rgm.evaluation.instantiation import Instantiation
from rgm.evaluation.locality import MARGIN, VISIBLE, Locality
from rgm.report.canvas import subscript


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table: a measure, its value, what to hold it against (or nothing), and what it says.

    `interval`, `asked` and `verdict` are of a measure that a claim is decided by, or stands beside one; else nothing.
    """

    name: str
    value: str
    beside: str
    meaning: str
    interval: str = ""
    asked: str = ""
    verdict: str = ""


def percent(value: float) -> str:
    """Return a share in per cent, with as many decimals as it takes for not quite all, or nothing, not to read so."""
    for decimals in range(1, 5):
        text = f"{100 * value:.{decimals}f}"
        if float(text) not in (0.0, 100.0):
            return f"{text} %"
    return f"{100 * value:.1f} %"


_VISIBLY = f"move by more than {100 * VISIBLE:.0f} % of the range from black to white"
_NAMES: dict[str, str] = {
    "concept_accuracy": "concept right",
    "squared_error": "squared error",
    "codes_in_use": "codes in use",
    "perplexity": "codebook perplexity",
    "needed_codes": "codes needed",
    "needed_perplexity": "perplexity of the codes needed",
    "reconstructions_recognised": "repainted images recognised",
    "samples_recognised": "samples recognised",
    "worst_concept_recognised": "samples recognised, worst concept",
    "completions_recognised": "completed images recognised",
    "own_patch_share": "change inside its own patch",
    "patch_plus_2_share": f"change inside the patch + {MARGIN} pixels",
    "receptive_field_share": "change inside the receptive field",
    "recognition_field_share": "codes read inside their receptive field",
    "displacement_px": "centre of a cell's change, from the cell",
    "rank_correlation": "order of distances kept",
    "local_extent": "pixels changed by one other code",
    "global_extent": "pixels changed by another concept",
    "changed_concept_recognised": "changed concept recognised",
    "concept_information": "class information in the concept",
    "class_information": "class information in the codes",
    "compression": "bits of the pixels over bits of the codes",
    "calibration_error": "calibration error of the concept",
    "pixels_bits": "an image's pixels without loss",
    "bits": "an image's codes",
    "concept_bits": "an image's concept",
    "pixels_explained": "variance of the pixels explained",
    "concept_pixels_explained": "variance of the pixels explained by the concept",
    "recall_ratio": "recall over that of real images",
    "diversity_ratio": "diversity over that of real images",
    "nearest_ratio": "distance to the nearest training image, over that of real images",
    "precision": "precision",
    "recall": "recall",
    "frechet_ratio": "Fréchet distance over that of real images",
    "frechet_distance": "Fréchet distance",
    "own_patch_concentration": "change inside its own patch, over the patch's share of the area",
    "global_over_local": "pixels changed by a concept over those changed by a cell",
    "decoder_area": "receptive field of a cell, painting",
    "encoder_area": "receptive field of a cell, reading",
    "negative_log_likelihood": "−log p of a test image",
    "bits_per_dimension": "the same in bits for each pixel of a channel",
    "answered_right": "concept right, all answered",
    "answered_right_likelier_half": "concept right, the more probable half of the images answered",
    "selective_accuracy_90": "concept right, the surest 90 % answered",
    "answered_right_surest_half": "concept right, the surest half answered",
    "planted_cell_found": "foreign cell found",
    "completed_quadrants_recognised": "completed quadrants recognised",
    "letters_told_apart": "letters told from test images",
    "mnist_told_apart": "MNIST told from test images",
    "fashion_mnist_told_apart": "clothes told from test images",
    "kmnist_told_apart": "Kuzushiji told from test images",
}
_MEANINGS: dict[str, str] = {
    "concept_accuracy": "Test images whose most probable concept is their true class.",
    "codes_in_use": "Codes that occur at all among the test images.",
    "perplexity": "As varied as if this many codes were all used equally often; duplicates count.",
    "needed_codes": "Codes that no other code can replace everywhere at a negligible cost in squared error.",
    "needed_perplexity": "The same after every code that is not needed has been merged with its replacement.",
    "reconstructions_recognised": "Images repainted from their codes alone that the judge takes for their true class.",
    "samples_recognised": "Drawn images that the judge takes for the concept they were drawn from.",
    "worst_concept_recognised": "The lowest such share among the concepts.",
    "completions_recognised": "Images with their lower half drawn anew that the judge takes for their true class.",
    "own_patch_share": "How much of a changed cell's effect stays in the pixels right under it.",
    "patch_plus_2_share": f"How much of it stays in these pixels and {MARGIN} more on every side.",
    "receptive_field_share": "Must be 100 %: beyond these pixels the architecture lets nothing through.",
    "recognition_field_share": "Must be 100 %: cells that read the same with other pixels beyond their field.",
    "displacement_px": "How far the middle of what a cell changes lies from the middle of its patch, in pixels.",
    "rank_correlation": "Cells that are far apart change places that are far apart: Spearman's correlation, at most 1.",
    "local_extent": f"Pixels that {_VISIBLY} when one cell's code is exchanged.",
    "global_extent": f"Pixels that {_VISIBLY} when the whole concept is exchanged.",
    "changed_concept_recognised": "Images with an exchanged concept that the judge takes for the new one.",
    "concept_information": "Mutual information of the concept with the true class, as a share of the class's entropy.",
    "class_information": "The same of what the judge reads from the image that the codes paint.",
    "compression": "How many times less the codes need than the pixels, coded as well as a lossless coder can.",
    "calibration_error": "How far the concept's probability is from how often it is right, on average.",
    "pixels_bits": "What the better of two lossless coders needs for an image, many coded together.",
    "bits": "What the codes need, coded with the probabilities that the model gives them.",
    "concept_bits": "What naming one of the concepts needs, when all are as probable.",
    "pixels_explained": "How much of what makes images differ from their mean is painted from the codes.",
    "concept_pixels_explained": "How much of it is painted when only the concept is known.",
    "recall_ratio": "How much of the variety of real images the samples cover; as many real ones give 1.",
    "diversity_ratio": "How far apart two samples of one concept are; two real images give 1.",
    "nearest_ratio": "Near 0 for images copied from the training images, 1 for real images that are new.",
    "precision": "Samples that lie among the real images, in the judge's features.",
    "recall": "Real images that lie among the samples, in the judge's features.",
    "frechet_ratio": "How far the samples' features are from real ones; as many training images give 1.",
    "frechet_distance": "Between the judge's features of samples and of test images, squared units.",
    "own_patch_concentration": "1 where a cell changes all of the image alike.",
    "global_over_local": "How many times more a concept changes than one cell.",
    "decoder_area": "Share of the image that a cell can change at all.",
    "encoder_area": "Share of the image on which a cell's code can depend at all.",
    "negative_log_likelihood": "Exact, not a bound, in nats: of the images as the model observes them.",
    "bits_per_dimension": "What an ideal coder with this model needs for a pixel.",
    "answered_right": "Test images whose most probable concept is their true class.",
    "answered_right_likelier_half": "The same where the model answers for the half with the higher evidence alone.",
    "selective_accuracy_90": "The same where it answers for the nine tenths that it is surest about.",
    "answered_right_surest_half": "The same where it answers for the half that it is surest about.",
    "planted_cell_found": "A cell of another image, planted into an image, that surprises the model most of all.",
    "completed_quadrants_recognised": "Images with a quadrant drawn anew that the judge takes for their true class.",
    **dict.fromkeys(
        ("letters_told_apart", "mnist_told_apart", "fashion_mnist_told_apart", "kmnist_told_apart"),
        "The chance that such an image is less probable than a test image (AUROC); 50 % is guessing.",
    ),
}


def rows(measures: Mapping[str, float], beside: Mapping[str, str] | None = None) -> list[Row]:
    """Return measures as lines for people, in their own order; `beside` says what to hold some of them against."""
    return [
        Row(
            name=name_of(name),
            value=value_of(name, value),
            beside=(beside or {}).get(name, ""),
            meaning=meaning_of(name, value),
        )
        for name, value in measures.items()
    ]


def _split(name: str) -> tuple[str, str]:
    """Return the level's prefix (`z2_`, or nothing) of a measure that is told of several levels, and the rest."""
    prefix, _, rest = name.partition("_")
    return (prefix + "_", rest) if prefix[0] == "z" and prefix[1:].isdigit() else ("", name)


def name_of(name: str) -> str:
    """Return a measure's name for people."""
    prefix, rest = _split(name)
    plain = _NAMES.get(rest, rest.replace("_", " "))
    return f"{plain}, z{subscript(int(prefix[1:-1]))}" if prefix else plain


def value_of(name: str, value: float) -> str:
    """Return a measure's value with its unit, as people read it."""
    if not math.isfinite(value):
        return "–"
    match _split(name)[1]:
        case "squared_error":
            return f"{value:.4f}"
        case "codes_in_use" | "needed_codes":
            return f"{value:.0f}"
        case "perplexity" | "needed_perplexity":
            return f"{value:.1f}"
        case "displacement_px":
            return f"{value:.2f} px"
        case "rank_correlation" | "concept_information":
            return f"{value:.3f}"
        case "compression" | "own_patch_concentration" | "global_over_local":
            return f"{value:.1f} ×"
        case "recall_ratio" | "diversity_ratio" | "nearest_ratio" | "frechet_ratio":
            return f"{value:.2f}"
        case "frechet_distance":
            return f"{value:.4f}"
        case "negative_log_likelihood":
            return f"{value:,.1f} nats"
        case "bits_per_dimension":
            return f"{value:.3f} bits"
        case "pixels_bits" | "bits" | "concept_bits":
            return f"{value:,.{0 if abs(value) >= 100 else 1}f} bits"
        case rest if rest in _NAMES:
            return percent(value)
        case _:
            return f"{value:.4g}"


def interval_of(name: str, low: float, high: float) -> str:
    """Return a measure's interval as people read it; nothing for what is counted, or has none."""
    return "" if low == high or not math.isfinite(low) else f"{value_of(name, low)} to {value_of(name, high)}"


def meaning_of(name: str, value: float) -> str:
    """Return what a measure says, in a sentence."""
    if name == "squared_error":
        return f"Of repainted images, per pixel, black 0 and white 1; its root, the typical miss, is {_typical(value)}."
    return _MEANINGS.get(_split(name)[1], "")


def beside(
    abstraction: Abstraction, instantiation: Instantiation, locality: Locality, judge_accuracy: float | None
) -> dict[str, str]:
    """Return what measures are to be held against, by name: real data, guessing, or an even spread."""
    states = len(abstraction.usage.counts)
    rows_px, columns_px = locality.example.original.shape[1:]
    tall, wide = locality.patch_size
    found = {
        f"z{level}_codes_in_use": f"of {len(usage.counts)}"
        for level, usage in enumerate(abstraction.coarser_usage, start=2)
    }
    found |= {
        "codes_in_use": f"of {states}",
        "needed_codes": f"of {states}",
        "perplexity": f"at most {states}",
        "concept_accuracy": f"guessing: {percent(1 / len(instantiation.sheet))}",
        "own_patch_share": f"its share of the area: {percent(tall * wide / (rows_px * columns_px))}",
    }
    if judge_accuracy is not None:
        real = f"real images: {percent(judge_accuracy)}"
        for name in ("reconstructions", "samples", "completions", "changed_concept"):
            found[f"{name}_recognised"] = real
    return found


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What this run found, one sentence for each claim."""

    abstraction: str
    instantiation: str
    locality: str


def findings(
    abstraction: Abstraction, instantiation: Instantiation, locality: Locality, judge_accuracy: float | None
) -> Findings:
    """Return the sentences that put the three results in plain words."""
    channels, rows_px, columns_px = abstraction.images.shape[1:]
    cells = abstraction.inference.z1[0].numel()
    pixels = f"{rows_px * columns_px:,} pixels" + (" in colour" if channels == 3 else "")
    off = _typical(abstraction.squared_error.value)
    again = f"Painted again from the codes alone, a pixel is typically off by {off} of the range from black to white."
    if abstraction.concept_right is None:
        first = f"Here, {cells} codes stand for {pixels}. {again}"
    else:
        right = percent(abstraction.concept_right.value)
        first = (
            f"Here, {cells} codes stand for {pixels}, and {right} of the test images get their "
            f"right concept from them. {again}"
        )

    second = f"Here, {instantiation.count:,} samples were drawn."
    if instantiation.recognised is not None:
        shares = instantiation.measures()
        worst = int(instantiation.recognised.argmin())
        name = instantiation.classes[worst] if instantiation.classes else str(worst)
        seen, least = (percent(shares[key]) for key in ("samples_recognised", "worst_concept_recognised"))
        second = f"Here, the judge recognises {seen} of the samples as their concept"
        if judge_accuracy is not None:
            second += f", against {percent(judge_accuracy)} of real images as their class"
        second += f"; fewest, {least}, for “{name}”."

    shares = locality.measures()
    near, one, all_ = (
        percent(shares[key]) for key in ("patch_plus_2_share", "local_extent", "global_extent")
    )
    third = (
        f"Here, {near} of the change that one cell makes lies within {MARGIN} pixels of its patch. One cell visibly "
        f"changes {one} of an image's pixels, another concept {all_}."
    )
    first, second, third = (text.replace(" %", "\N{NO-BREAK SPACE}%") for text in (first, second, third))
    return Findings(abstraction=first, instantiation=second, locality=third)


def _typical(squared_error: float) -> str:
    """Return the root of a mean squared error in per cent of the range."""
    return f"{100 * math.sqrt(squared_error):.0f} %"
