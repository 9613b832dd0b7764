"""The table of measures: of each its label, unit, format and meaning.

Terminal, report and files read it; `docs/measures.md` has the definitions and their sources.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from rgm.evaluation.locality import MARGIN, VISIBLE


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


def _per_pixel(value: float) -> str:
    return f"{value:.4f} nats a pixel"


@dataclass(frozen=True)
class Quantity:
    """A measure: how it is called, in which unit it is stored, how it is written, and what it says."""

    label: str
    unit: str
    form: Callable[[float], str]
    meaning: str


_VISIBLY = f"move by more than {100 * VISIBLE:.0f} % of the grey range"
_AUROC = "Probability that such an image has less evidence than a test image (AUROC); 50 % is guessing."


def _separated(kind: str) -> Quantity:
    return Quantity(f"{kind} detected as out-of-distribution (AUROC)", "share", percent, _AUROC)


# A table: label, unit and format; what the measure says.
# fmt: off
QUANTITIES: dict[str, Quantity] = {
    "concept_accuracy": Quantity("concept accuracy", "share", percent,
        "Test images whose most probable concept is their true class."),
    "concept_information": Quantity("class information in the concept", "share", _fixed(3),
        "Mutual information of the concept with the true class, over the entropy of the class."),
    "compression": Quantity("compression of the pixels by the codes", "ratio", _fixed(1, " ×"),
        "Bits of the pixels, coded without loss, over bits of the codes."),
    "calibration_error": Quantity("calibration error of the concept", "share", percent,
        "Mean difference between the probability of the concept and how often it is right."),
    "squared_error": Quantity("squared error", "grey range squared", _fixed(4),
        "Mean squared error of reconstructions per pixel, black 0 and white 1."),
    "reconstructions_recognised": Quantity("reconstructions recognised", "share", percent,
        "Images reconstructed from their codes that the judge assigns to their true class."),
    "codes_in_use": Quantity("codes in use", "codes", _fixed(0),
        "Codes that occur at all among the test images."),
    "perplexity": Quantity("codebook perplexity", "codes", _fixed(1),
        "Number of equally used codes that would be as varied; duplicate codes raise it."),
    "needed_codes": Quantity("codes needed", "codes", _fixed(0),
        "Codes that no other code can replace everywhere at a negligible cost in squared error."),
    "needed_perplexity": Quantity("perplexity of the codes needed", "codes", _fixed(1),
        "Perplexity after every code that is not needed has been merged with its replacement."),
    "pixels_bits": Quantity("bits of an image's pixels", "bits", _bits,
        "The better of two lossless coders, many images coded together."),
    "bits": Quantity("bits of an image's codes", "bits", _bits,
        "Cost of the codes under the model's own probabilities."),
    "concept_bits": Quantity("bits of an image's concept", "bits", _bits,
        "Cost of naming one of the concepts, all equally probable."),
    "class_information": Quantity("class information in the codes", "share", percent,
        "Mutual information of the judge's class for the reconstruction with the true class, over its entropy."),
    "pixels_explained": Quantity("variance of the pixels explained", "share", percent,
        "Share of the variance around the mean image that the reconstruction explains."),
    "concept_pixels_explained": Quantity("variance of the pixels explained by the concept", "share", percent,
        "Share of the variance around the mean image that the mean sample of the concept explains."),
    "samples_recognised": Quantity("samples recognised", "share", percent,
        "Samples that the judge assigns to the concept they were drawn from."),
    "worst_concept_recognised": Quantity("samples recognised, worst concept", "share", percent,
        "Samples of the concept whose samples the judge recognises least often."),
    "completions_recognised": Quantity("completions recognised", "share", percent,
        "Images with their lower half resampled that the judge assigns to their true class."),
    "recall_ratio": Quantity("recall relative to real images", "ratio", _fixed(2),
        "How much of the variety of real images the samples cover; as many training images give 1."),
    "diversity_ratio": Quantity("diversity relative to real images", "ratio", _fixed(2),
        "Distance of two samples of a concept over that of two test images of a class."),
    "nearest_ratio": Quantity("nearest-training-image distance relative to real images", "ratio", _fixed(2),
        "Near 0 for copies of training images, 1 for real images that are new."),
    "precision": Quantity("precision", "share", percent,
        "Samples that lie among the real images, in the judge's features."),
    "recall": Quantity("recall", "share", percent,
        "Real images that lie among the samples, in the judge's features."),
    "frechet_ratio": Quantity("Fréchet distance relative to real images", "ratio", _fixed(2),
        "Fréchet distance of the samples over that of as many training images."),
    "frechet_distance": Quantity("Fréchet distance", "squared feature units", _fixed(4),
        "Between the judge's features of samples and of test images."),
    "own_patch_share": Quantity("change inside the cell's own patch", "share", percent,
        "Share of a changed cell's squared change that stays in the pixels under it."),
    "patch_plus_2_share": Quantity(f"change inside the patch + {MARGIN} pixels", "share", percent,
        f"Share of a changed cell's squared change in the pixels under it and {MARGIN} more on every side."),
    "receptive_field_share": Quantity("change inside the receptive field", "share", percent,
        "Must be 100 %: the architecture lets nothing through beyond these pixels."),
    "recognition_field_share": Quantity("codes inferred from their receptive field alone", "share", percent,
        "Must be 100 %: cells whose logits stay when all pixels beyond their field are exchanged."),
    "own_patch_concentration": Quantity("change inside the own patch, relative to its area", "ratio", _fixed(1, " ×"),
        "1 where a cell changes all of the image alike."),
    "rank_correlation": Quantity("rank correlation of distances", "correlation", _fixed(3),
        "Cells that are far apart change places that are far apart: Spearman's correlation, at most 1."),
    "displacement_px": Quantity("distance of a change from its cell", "pixels", _fixed(2, " px"),
        "From the centre of mass of a cell's change to the centre of its patch."),
    "global_over_local": Quantity("pixels changed by a concept, relative to a cell", "ratio", _fixed(1, " ×"),
        "How many times more pixels a concept changes than one cell."),
    "local_extent": Quantity("pixels changed by one other code", "share", percent,
        f"Pixels that {_VISIBLY} when one cell's code is exchanged."),
    "global_extent": Quantity("pixels changed by another concept", "share", percent,
        f"Pixels that {_VISIBLY} when the whole concept is exchanged."),
    "changed_concept_recognised": Quantity("changed concept recognised", "share", percent,
        "Images with an exchanged concept that the judge assigns to the new one."),
    "decoder_area": Quantity("receptive field of the decoder", "share", percent,
        "Share of the image that a cell can change at all."),
    "encoder_area": Quantity("receptive field of the encoder", "share", percent,
        "Share of the image that a cell's code can depend on at all."),
    "time_compression": Quantity("bits of a film's frames over those of its path", "ratio", _fixed(1, " ×"),
        "Frames are coded as repetitions of the last, pixel by pixel; the path given the frames before."),
    "motion_kept": Quantity("change from frame to frame that the path explains", "share", percent,
        "Squared error of the frames that the path gives, relative to repeating the last frame."),
    "path_recognised": Quantity("paths read again from another film that follows them", "share", percent,
        "Steps of films that follow a path from another film's frame, whose most probable path is that one."),
    "instances_apart": Quantity("distance of two films of one path, relative to two films", "ratio", _fixed(2),
        "Near 0 if a path always told the same film."),
    "field_share": Quantity("change inside the field in space and time", "share", percent,
        "Must be 100 %: what an exchanged pixel or state changes lies in its reach, or its block and frames."),
    "next_frame_over_repeat": Quantity("next frame's nats over those of repeating", "ratio", _fixed(2),
        "Ratio of −log p of unseen films' next frames to that of a pixel given itself one frame before."),
    "next_frame_over_nearest": Quantity("next frame's nats over those of the nearest frame", "ratio", _fixed(2),
        "Ratio of −log p of unseen films' next frames to that of what followed the nearest training frame."),
    "next_frame_over_soft_memory": Quantity("next frame's nats over those of a soft memory", "ratio", _fixed(2),
        "Ratio of −log p of unseen films' next frames to that of a mean of what followed near training frames."),
    "next_frame_nats_per_pixel": Quantity("next frame given those before it", "nats", _per_pixel,
        "−log p of each pixel given all frames before, from the second frame on; lower is better."),
    "next_frame_joint_nats_per_pixel": Quantity("next frame as a whole", "nats", _per_pixel,
        "−log p of each whole frame given all frames before, over its pixels; where it is exact."),
    "repeat_nats_per_pixel": Quantity("next frame from the last frame alone", "nats", _per_pixel,
        "Every pixel from itself one frame before, with frequencies of the training films."),
    "nearest_nats_per_pixel": Quantity("next frame from the nearest training frame", "nats", _per_pixel,
        "Every pixel from what followed the nearest training frame, with frequencies of the training films."),
    "soft_memory_nats_per_pixel": Quantity("next frame from a soft memory", "nats", _per_pixel,
        "Every pixel from a mean of what followed training frames, weighted by nearness."),
    "rollout_error": Quantity("squared error of the frames after a cue", "grey range squared", _fixed(4),
        "Mean squared error of the frames that the model expects, the next one first."),
    "repeat_error": Quantity("squared error of repeating the last frame of the cue", "grey range squared", _fixed(4),
        "Mean squared error of the cue's last frame in the place of the frames after it."),
    "log_evidence_nats": Quantity("log p of a film", "nats", _fixed(1, " nats"),
        "Mean over the films."),
    "free_energy_nats": Quantity("free energy", "nats", _fixed(2, " nats"),
        "Upper bound of −log p of an image, the concept summed out."),
    "distortion_nats": Quantity("distortion", "nats", _fixed(2, " nats"),
        "The free energy's term of the pixels, −log p of them given the codes."),
    "level_rates_nats": Quantity("rate", "nats", _fixed(2, " nats"),
        "The free energy's term of a level, what its codes cost given the level above."),
    "importance_bound_nats": Quantity("importance-weighted bound", "nats", _fixed(2, " nats"),
        "Upper bound of −log p of an image from several weighted samples of its codes, on the first images."),
    "importance_gap_nats": Quantity("gap of the importance-weighted bound", "nats", _fixed(2, " nats"),
        "By how much the free energy of the same images exceeds it."),
    "rate_bits": Quantity("rate of the codes", "bits", _bits,
        "Cost of the most probable codes under the prior."),
    "rate_ratio": Quantity("rate relative to training images", "ratio", _fixed(3),
        "Cost of the codes of these images over that of as many training images."),
    "negative_log_likelihood": Quantity("−log p of a test image", "nats", _fixed(1, " nats"),
        "Exact, not a bound: of the images as the model observes them."),
    "negative_log_likelihood_nats": Quantity("−log p of an 8-bit test image", "nats", _fixed(1, " nats"),
        "Exact, not a bound: of the 256 grey values of every pixel."),
    "bits_per_dimension": Quantity("bits per dimension", "bits", _fixed(3, " bits"),
        "−log₂ p of an image, or its bound, per pixel and channel: what an ideal coder with this model needs."),
    "answered_right": Quantity("concept accuracy, all answered", "share", percent,
        "Test images whose most probable concept is their true class."),
    "answered_right_likelier_half": Quantity("concept accuracy, half with the higher evidence", "share", percent,
        "Accuracy of the most probable concept on the half of the images with the higher evidence."),
    "selective_accuracy_90": Quantity("concept accuracy, 90 % with the largest margin", "share", percent,
        "Accuracy of the most probable concept on the nine tenths of the images with the largest margin."),
    "selective_accuracy_50": Quantity("concept accuracy, 50 % with the largest margin", "share", percent,
        "Accuracy of the most probable concept on the half of the images with the largest margin."),
    "planted_cell_found": Quantity("replaced cell detected", "share", percent,
        "A cell of another image, placed into an image, that is the most surprising cell of all."),
    "completed_quadrants_recognised": Quantity("completed quadrants recognised", "share", percent,
        "Images with a quadrant resampled that the judge assigns to their true class."),
    "letters_separated": _separated("letters"),
    "mnist_separated": _separated("MNIST"),
    "fashion_mnist_separated": _separated("clothes"),
    "kmnist_separated": _separated("Kuzushiji"),
}
# fmt: on


def quantity(name: str) -> Quantity | None:
    """Return a measure by its name in the files, without level (`z2_`) or number of images (`_2000`); or None."""
    return QUANTITIES.get(_split(name)[1])


def name_of(name: str) -> str:
    """Return a measure's label; that of a level or a number of images says which."""
    level, rest, images = _split(name)
    label = QUANTITIES[rest].label if rest in QUANTITIES else rest.replace("_", " ")
    if images:
        label += f", {int(images):,} samples"
    return f"{label}, z{subscript(int(level))}" if level else label


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


def subscript(number: int) -> str:
    """Return a whole number as a subscript."""
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


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
