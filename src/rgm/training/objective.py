"""The loss of a batch, term by term."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.categorical import one_hot
from rgm.model.factorised import FactorisedPrior
from rgm.model.recognition import Relaxed
from rgm.model.spatial import SpatialRGM
from rgm.training.recipe import Weights

Scalar = Float[Tensor, ""]


@dataclass(frozen=True)
class Loss:
    """The weighted sum, and each term before its weight."""

    total: Scalar
    terms: dict[str, Scalar]


def loss(
    model: SpatialRGM,
    images: Float[Tensor, "batch channels rows columns"],
    labels: Int64[Tensor, " batch"] | None,
    weights: Weights,
    generator: torch.Generator | None,
) -> Loss:
    """Return the loss of a batch: Σ weight · term over the terms that `weights` describes.

    The free energy is given by its parts, in nats per image: `distortion_nats`, and `rate_ℓ_nats` for every level.
    """
    if weights == Weights(reconstruction=0.0, prior=weights.prior):  # nothing but the prior: nothing to relax
        term = _prior(model, images, labels, generator)
        return Loss(weights.prior * term, {"prior": term})
    levels = model.relax(images, generator)
    terms: dict[str, Scalar] = {}
    if weights.reconstruction or weights.locality:
        painted = model.mean_image(levels[0].sample)
    if weights.reconstruction:
        terms["reconstruction"] = F.mse_loss(painted, images)
    if weights.concept and labels is not None:
        terms["concept"] = F.cross_entropy(levels[-1].field.logits.flatten(1), labels)
    if weights.prior_matching:
        terms["prior_matching"] = _prior_matching(model, levels)
    if weights.prior:
        terms["prior"] = _prior(model, images, labels, generator)
    if weights.children:
        terms["children"] = _children(model, levels, generator)
    costs = [level.cost for level in levels if level.cost is not None]
    if weights.codebook and costs:
        terms["codebook"] = torch.stack(costs).sum()
    if weights.usage:
        terms["usage"] = torch.stack([usage(level) for level in levels[:-1]]).sum()
    if weights.locality:
        terms["locality"] = spill(model, levels[0].sample.detach(), painted, generator)
    parts = [getattr(weights, name) * term for name, term in terms.items()]
    if weights.free_energy:
        fields, samples = [level.field for level in levels], [level.sample for level in levels[:-1]]
        found = model.bound(images, fields, samples, labels)
        distortion, rates = found.distortion_nats.mean(), found.rate_nats.mean(dim=0)
        terms["distortion_nats"] = distortion
        terms |= {f"rate_{level}_nats": rate for level, rate in enumerate(rates, start=1)}
        parts.append(weights.free_energy * (distortion + weights.rate * rates.sum()))
    return Loss(torch.stack(parts).sum(), terms)


def _prior_matching(model: SpatialRGM, levels: list[Relaxed]) -> Scalar:
    """Return Σ_ℓ KL(q(z_ℓ | ·) ‖ p(z_ℓ | z_{ℓ+1})) per cell, with z_{ℓ+1} the relaxed sample."""
    costs = []
    for number, (child, parent) in enumerate(pairwise(levels), start=1):
        prior = model.prior(number)
        if not isinstance(prior, FactorisedPrior):
            raise TypeError("prior matching compares independent cells and needs a factorised prior")
        cells = child.field.logits[0, 0].numel()
        costs.append(child.field.kl(prior.field(parent.sample)).mean() / cells)
    return torch.stack(costs).sum()


def _prior(
    model: SpatialRGM, images: Tensor, labels: Tensor | None, generator: torch.Generator | None
) -> Scalar:
    """Return Σ_ℓ −log p(z_ℓ | z_{ℓ+1}) per cell, of hard codes and the true concept where it is known."""
    codes = model.read(images)
    if labels is not None:
        codes[-1] = labels[:, None, None]
    hard = [one_hot(z, level.states) for z, level in zip(codes, model.config.levels, strict=True)]
    costs = [
        -model.prior(number).score(child, parent, generator).mean() / codes[number - 1][0].numel()
        for number, (child, parent) in enumerate(pairwise(hard), start=1)
    ]
    return torch.stack(costs).sum()


def _children(model: SpatialRGM, levels: list[Relaxed], generator: torch.Generator | None) -> Scalar:
    """Return Σ_ℓ −log p(z_ℓ | z_{ℓ+1}) per cell over the pairs of grids, z_ℓ hard, z_{ℓ+1} with its gradient."""
    costs = []
    for number, (child, parent) in enumerate(pairwise(levels[:-1]), start=1):
        codes = child.field.mode()
        z = one_hot(codes, child.field.states)
        costs.append(-model.prior(number).score(z, parent.sample, generator).mean() / codes[0].numel())
    return torch.stack(costs).sum()


def usage(level: Relaxed) -> Scalar:
    """Return KL(mean over the batch's cells of q ‖ uniform) in nats."""
    mean = level.field.probs().mean(dim=(0, 2, 3))
    # A probability can be too small for float32; the slope of log at 0 would be infinite.
    return math.log(level.field.states) + torch.xlogy(mean, mean.clamp_min(1e-30)).sum()


def spill(
    model: SpatialRGM,
    z1: Float[Tensor, "batch states height width"],
    painted: Float[Tensor, "batch channels rows columns"],
    generator: torch.Generator | None,
) -> Scalar:
    """Return the mean squared change outside a cell's own patch, one random cell an image given a random new code.

    `painted` are the images that `z1`, one-hot or relaxed, decodes to; they are taken as they are, without gradient.
    """
    batch, states, height, width = z1.shape
    device = z1.device
    image = torch.arange(batch, device=device)
    row = torch.randint(height, (batch,), generator=generator, device=device)
    column = torch.randint(width, (batch,), generator=generator, device=device)
    shift = torch.randint(1, states, (batch,), generator=generator, device=device)
    new = (z1[image, :, row, column].argmax(dim=1) + shift) % states
    changed = z1.clone()
    changed[image, :, row, column] = F.one_hot(new, states).to(z1)
    change = (model.mean_image(changed) - painted.detach()).square()
    inside = torch.zeros(batch, 1, height, width, device=device)
    inside[image, 0, row, column] = 1.0
    outside = 1.0 - F.interpolate(inside, size=change.shape[2:], mode="nearest")
    return (change * outside).mean()
