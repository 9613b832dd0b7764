"""What a model's bound, codes and concept are worth on a split."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet
from rgm.errors import RGMError
from rgm.evaluation.information import BATCH, code_rate_bits
from rgm.evaluation.split import SplitInference
from rgm.evaluation.statistics import Estimate, PerImage, bootstrap_mean
from rgm.model.generative import RGM
from rgm.runtime.progress import StepRecord, Watch
from rgm.runtime.seeds import as_seed


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The measures of a split, with their intervals over images.

    The bounds are in nats per image with codes drawn from q; `importance_bound_nats` is that of `samples` draws over
    the first `importance_images` images, and `importance_gap_nats` what their free energy exceeds it by. Nats are those
    of the model's likelihood, which `pixels` names: with a Gaussian, of a density over grey values in [0, 1]; with a
    Bernoulli, of a probability of images that were made black and white once, at random. Where it took grey values as
    they are, the bound's unit says that it is a loss. Everything but the bound is of the grey images;
    `negative_log_likelihood_nats` is of exact models of 8-bit pixels. `rate_bits` is the cost of z_1 under the prior,
    its hard codes and the concept that the model reads; `rate_ratio` that of this split over that of as many training
    images.
    """

    images: int
    pixels: str
    free_energy_nats: Estimate
    distortion_nats: Estimate
    level_rates_nats: tuple[Estimate, ...]
    importance_bound_nats: Estimate
    importance_gap_nats: Estimate
    importance_images: int
    samples: int
    bits_per_dimension: Estimate
    negative_log_likelihood_nats: Estimate | None
    squared_error: Estimate
    rate_bits: Estimate
    rate_ratio: Estimate
    codes_in_use: int
    perplexity: float
    needed_codes: int
    needed_perplexity: float
    concept_accuracy: Estimate | None
    calibration_error: Estimate | None


@torch.no_grad()
def evaluate(
    split: SplitInference,
    train: ImageSet,
    *,
    samples: int = 16,
    importance_images: int = 200,
    seed: int = 0,
    watch: Watch = lambda _: None,
) -> Evaluation:
    """Return the evaluation of a model on a split, whose rate is compared with that of training images.

    `watch` is called after each batch of images, whose bound is its record's loss. Raises RGMError for less than one
    sample or image of the importance-weighted bound.
    """
    check_importance(samples, importance_images)
    model = split.model
    generator = torch.Generator(model.device).manual_seed(as_seed(seed))
    observed = model.observe(split.images.to(model.device), generator)
    parts = []
    for batch in observed.split(BATCH):
        parts.append(model.free_energy(batch, generator=generator))
        _report(watch, "free energy", parts[-1].total_nats, BATCH * (len(parts) - 1), len(observed))
    totals = torch.cat([part.total_nats for part in parts])
    rates = torch.cat([part.rate_nats for part in parts])
    few = observed[:importance_images]
    weighted = importance_bound(model, few, samples, generator, watch)
    unit = "nats" if model.is_density else "nats of a loss"
    bits = split.rates_bits[:, 0]
    compared = code_rate_bits(model, train, count=len(bits))
    return Evaluation(
        images=len(bits),
        pixels=model.pixels_kind + ("" if model.is_density else ", grey values taken as they are"),
        free_energy_nats=bootstrap_mean(totals, unit),
        distortion_nats=bootstrap_mean(torch.cat([part.distortion_nats for part in parts]), unit),
        level_rates_nats=tuple(bootstrap_mean(rates[:, level], "nats") for level in range(rates.shape[1])),
        importance_bound_nats=bootstrap_mean(weighted, unit),
        importance_gap_nats=bootstrap_mean(totals[: len(few)] - weighted, unit),
        importance_images=len(few),
        samples=samples,
        bits_per_dimension=bootstrap_mean(totals / (math.log(2) * few[0].numel()), unit.replace("nats", "bits")),
        negative_log_likelihood_nats=bootstrap_mean(totals, "nats") if _is_exact(model) else None,
        squared_error=split.squared_error.estimate(),
        rate_bits=bootstrap_mean(bits, "bits"),
        rate_ratio=PerImage(parts=bits[: len(compared)], wholes=compared, unit="ratio").estimate(),
        codes_in_use=split.usage[0].in_use,
        perplexity=split.usage[0].perplexity,
        needed_codes=split.needed.count,
        needed_perplexity=split.needed.perplexity,
        concept_accuracy=None if split.concept_right is None else split.concept_right.estimate(),
        calibration_error=split.calibration_error,
    )


def check_importance(samples: int, images: int) -> None:
    """Raise RGMError for less than one sample, or image, of the importance-weighted bound."""
    for number, what, option in ((samples, "sample", "--samples"), (images, "image", "--importance-images")):
        if number < 1:
            raise RGMError(f"the importance-weighted bound needs at least one {what}, but {option} is {number}")


def _is_exact(model: RGM) -> bool:
    """Return whether the free energy of a model is −log p(x) of 8-bit pixels itself."""
    return isinstance(model, CountingRGM) and model.is_eight_bit


@torch.no_grad()
def importance_bound(
    model: RGM, images: Tensor, samples: int, generator: torch.Generator | None, watch: Watch = lambda _: None
) -> Tensor:
    """Return −log (1/K) Σ_k w_k in nats per image, w = p(x, z) / q(z | x) of K draws (Burda et al. 2016, equation 8).

    The concept is summed out. In expectation it lies between F and −log p(x), and falls as K grows.
    """
    bounds: list[Tensor] = []
    size = max(1, BATCH // samples)
    for image in images.to(model.device).split(size):
        repeated = image.repeat_interleave(samples, dim=0)
        log_w = model.log_weight(repeated, generator=generator).reshape(len(image), samples)
        bounds.append(math.log(samples) - log_w.logsumexp(dim=1))
        _report(watch, "importance weights", bounds[-1], size * (len(bounds) - 1), len(images))
    return torch.cat(bounds)


def _report(watch: Watch, what: str, nats: Tensor, before: int, images: int) -> None:
    """Report the bound of the images after the first `before`; a step is an image."""
    done = before + len(nats)
    watch(StepRecord(stage=what, step=done, steps=images, images=len(nats), loss=float(nats.mean()), terms={}))
