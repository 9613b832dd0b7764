"""What a model's bound, codes and concept are worth on a split."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.evaluation.statistics import Estimate, PerImage, bootstrap_mean, calibration_error
from rgm.measures import codebook_usage
from rgm.model.generative import RGM
from rgm.training.summary import codes_needed

BATCH = 100
"""Images at once: the prior's activations of more do not fit a CPU's caches."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The measures of a split, with their intervals over images.

    The bounds are in nats per image with codes drawn from q; `importance_bound_nats` is that of `samples` draws over
    the first `importance_images` images. Nats are those of the model's likelihood, which `pixels` names: with a
    Gaussian, of a density over grey values in [0, 1]; with a Bernoulli, of a probability of images that were made
    black and white once, at random. Where it took grey values as they are, the bound's unit says that it is a loss.
    Everything but the bound is of the grey images. `rate_bits` is the cost of z_1 under the prior, its hard codes and
    the concept that the model reads; `rate_ratio` that of this split over that of as many training images.
    """

    images: int
    pixels: str
    free_energy_nats: Estimate
    distortion_nats: Estimate
    level_rates_nats: tuple[Estimate, ...]
    importance_bound_nats: Estimate
    importance_images: int
    samples: int
    bits_per_dimension: Estimate
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
    model: RGM,
    data: ImageSet,
    train: ImageSet,
    *,
    samples: int = 16,
    importance_images: int = 200,
    seed: int = 0,
) -> Evaluation:
    """Return the evaluation of a model on a split, against the training images that its rate is compared with."""
    generator = torch.Generator(model.device).manual_seed(seed)
    seen = model.observe(to_unit(data.images).to(model.device), generator)
    parts = [model.free_energy(batch, generator=generator) for batch in seen.split(BATCH)]
    totals = torch.cat([part.total_nats for part in parts])
    rates = torch.cat([part.rate_nats for part in parts])
    few = seen[:importance_images]
    weighted = importance_bound(model, few, samples, generator)
    unit = "nats" if model.is_density else "nats of a loss"
    result = model.infer(to_unit(data.images).to(model.device))
    usage, needed = codebook_usage(result.z1, model.latent_dim), codes_needed(model, data)
    errors = (result.reconstruction.cpu() - to_unit(data.images)).square().flatten(1).mean(dim=1)
    bits = code_rate_bits(model, data)
    compared = code_rate_bits(model, train, count=len(data))
    probabilities = result.concept.cpu()
    right = None if data.labels is None else (probabilities.argmax(dim=1) == data.labels).double()
    return Evaluation(
        images=len(data),
        pixels=model.pixels_kind + ("" if model.is_density else ", grey values taken as they are"),
        free_energy_nats=bootstrap_mean(totals, unit),
        distortion_nats=bootstrap_mean(torch.cat([part.distortion_nats for part in parts]), unit),
        level_rates_nats=tuple(bootstrap_mean(rates[:, level], "nats") for level in range(rates.shape[1])),
        importance_bound_nats=bootstrap_mean(weighted, unit),
        importance_images=len(few),
        samples=samples,
        bits_per_dimension=bootstrap_mean(
            totals / (math.log(2) * few[0].numel()), unit.replace("nats", "bits per dimension")
        ),
        squared_error=bootstrap_mean(errors, "grey range squared"),
        rate_bits=bootstrap_mean(bits, "bits"),
        rate_ratio=PerImage(parts=bits[: len(compared)], wholes=compared, unit="ratio").estimate(),
        codes_in_use=usage.in_use,
        perplexity=usage.perplexity,
        needed_codes=needed.count,
        needed_perplexity=needed.perplexity,
        concept_accuracy=None if right is None else bootstrap_mean(right, "share"),
        calibration_error=None if data.labels is None else calibration_error(probabilities, data.labels),
    )


@torch.no_grad()
def importance_bound(model: RGM, images: Tensor, samples: int, generator: torch.Generator | None) -> Tensor:
    """Return −log (1/K) Σ_k w_k in nats per image, w = p(x, z) / q(z | x) of K draws (Burda et al. 2016, equation 8).

    The concept is summed exactly. In expectation it lies between F and −log p(x), and falls as K grows.
    """
    bounds = []
    for image in images.to(model.device).split(max(1, BATCH // samples)):
        repeated = image.repeat_interleave(samples, dim=0)
        log_w = model.log_weight(repeated, generator=generator).reshape(len(image), samples)
        bounds.append(math.log(samples) - log_w.logsumexp(dim=1))
    return torch.cat(bounds)


@torch.no_grad()
def code_rate_bits(model: RGM, data: ImageSet, *, count: int | None = None) -> Float[Tensor, " n"]:
    """Return −log₂ p(z_1 | z_2) of the most probable codes of (the first `count`) images, in bits per image."""
    rates = []
    for batch in to_unit(data.images[:count]).split(BATCH):
        z1, z2, *_ = model.read(batch.to(model.device))
        rates.append(-model.log_prob_given(1, z1, z2) / math.log(2))
    return torch.cat(rates)


@torch.no_grad()
def level_rates_bits(model: RGM, codes: Sequence[Tensor]) -> Float[Tensor, "n levels"]:
    """Return −log₂ p(z_ℓ | z_{ℓ+1}) of every level's codes, the concept's last, in bits per image."""
    levels = [
        torch.cat(
            [
                -model.log_prob_given(level, *pair) / math.log(2)
                for pair in zip(child.split(BATCH), parent.split(BATCH), strict=True)
            ]
        )
        for level, (child, parent) in enumerate(pairwise(codes), start=1)
    ]
    return torch.stack([*levels, torch.full_like(levels[0], math.log2(model.num_classes))], dim=1)
