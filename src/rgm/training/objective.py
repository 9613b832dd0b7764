"""The loss of a batch, term by term."""

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.data.jitter import Pose
from rgm.data.labels import HIDDEN
from rgm.distributions.categorical import one_hot
from rgm.distributions.noise import BatchSlice, Source, integers
from rgm.model.factorised import FactorisedPrior
from rgm.model.prior import Prior
from rgm.model.recognition import Relaxed
from rgm.model.spatial import SpatialRGM
from rgm.model.transformer import TransformerPrior
from rgm.runtime.distributed import mean, total
from rgm.training.critic import Critic
from rgm.training.recipe import Weights

Scalar = Float[Tensor, ""]
Logits = Float[Tensor, "batch classes"]

CONFIDENT = 0.95
"""Minimum probability of a concept for pseudo-labelling another view of the image."""


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
    generator: Source,
    views: Float[Tensor, "batch channels rows columns"] | None = None,
    pose: Pose | None = None,
    weight: float = 1.0,
    critic: Critic | None = None,
) -> Loss:
    """Return the loss of a batch: Σ weight · term over the terms that `weights` describes.

    `labels` are −1 where hidden: the concept's term is then that of the others, and the prior is conditioned on a
    concept sampled from q. `views` are augmented views of the same images, for the terms that compare the two. `pose`
    is the augmentation of the images, for a prior conditioned on it. `critic` is that of the adversarial term; its own
    loss is added with weight 1, and shares no weight with the model's. The free energy is reported by its parts, in
    nats per image: `distortion_nats`, and `rate_ℓ_nats` for every level.

    In distributed training these are this process's rows of a batch, `weight` is their weight, and every term is that
    of the whole batch: see `rgm.runtime.distributed.mean`.
    """
    whole = partial(mean, weight=weight)
    # The prior alone needs no relaxed samples.
    if replace(weights, prior=0.0, outliers=0.0, guidance=0.0) == Weights(reconstruction=0.0):
        term = whole(_prior(model, images, labels, generator, pose, weights))
        return Loss(weights.prior * term, {"prior": term})
    if not _reads_concepts(weights):
        levels = model.relax(images, generator, top=model.depth - 1)
    elif views is None:
        levels = model.relax(images, generator)
    else:
        source = generator.twice() if isinstance(generator, BatchSlice) else generator
        levels = model.relax(torch.cat([images, views]), source)
        second = levels[-1].field.logits[len(images) :].flatten(1)
        levels = [level.first(len(images)) for level in levels]
    terms: dict[str, Scalar] = {}
    if weights.reconstruction or weights.locality or weights.adversarial:
        decoded = model.mean_image(levels[0].sample)
    if weights.reconstruction:
        terms["reconstruction"] = whole(F.mse_loss(decoded, images))
    concept = levels[-1].field.logits.flatten(1)
    if weights.concept and labels is not None:
        terms["concept"] = _known_cross_entropy(concept, labels, weight)
    if weights.pseudo_label and views is not None:
        terms["pseudo_label"] = whole(pseudo_label(concept, second, labels))
    if weights.information and views is not None:
        terms["information"] = -mutual_information(concept, second, weight)
    if weights.prior_matching:
        terms["prior_matching"] = whole(_prior_matching(model, levels))
    if weights.prior:
        terms["prior"] = whole(_prior(model, images, labels, generator, pose, weights))
    if weights.children:
        terms["children"] = whole(_children(model, levels, generator))
    costs = [level.cost for level in levels if level.cost is not None]
    if weights.codebook and costs:
        terms["codebook"] = whole(torch.stack(costs).sum())
    if weights.usage:
        terms["usage"] = torch.stack([usage(level, weight) for level in levels[: model.depth - 1]]).sum()
    if weights.locality:
        terms["locality"] = whole(locality_loss(model, levels[0].sample.detach(), decoded, generator))
    parts = [getattr(weights, name) * term for name, term in terms.items()]
    if weights.adversarial:
        assert critic is not None
        terms["adversarial"], terms["critic"] = whole(critic.fooled(decoded)), whole(critic.cost(images, decoded))
        parts += [weights.adversarial * terms["adversarial"], terms["critic"]]
    if weights.free_energy:
        fields, samples = [level.field for level in levels], [level.sample for level in levels[:-1]]
        known = None if labels is None or _some_hidden(labels) else labels
        found = model.bound(images, fields, samples, known)
        distortion, rates = whole(found.distortion_nats.mean()), whole(found.rate_nats.mean(dim=0))
        terms["distortion_nats"] = distortion
        terms |= {f"rate_{level}_nats": rate for level, rate in enumerate(rates, start=1)}
        parts.append(weights.free_energy * (distortion + weights.rate * rates.sum()))
    return Loss(torch.stack(parts).sum(), terms)


def _reads_concepts(weights: Weights) -> bool:
    """Return whether any term depends on a relaxed concept."""
    read = ("concept", "pseudo_label", "information", "prior_matching", "free_energy")
    return any(getattr(weights, name) for name in read)


def _known_cross_entropy(concept: Logits, labels: Int64[Tensor, " batch"], weight: float) -> Scalar:
    """Return the mean of −log q(c = label | x) over the labelled images."""
    counts = float(weight > 0)  # a process without a row of its own has another's
    cost = F.cross_entropy(concept, labels, ignore_index=HIDDEN, reduction="sum")
    return mean(cost, counts) / mean((labels != HIDDEN).sum().to(cost.dtype), counts)


def _some_hidden(labels: Int64[Tensor, " batch"]) -> bool:
    """Return whether any label of the batch is hidden, in any process."""
    return bool(total((labels == HIDDEN).sum()))


def _prior_matching(model: SpatialRGM, levels: list[Relaxed]) -> Scalar:
    """Return Σ_ℓ KL(q(z_ℓ | ·) ‖ p(z_ℓ | z_{ℓ+1})) per cell, with z_{ℓ+1} the relaxed sample."""
    costs = []
    for number, (child, parent) in enumerate(pairwise(levels), start=1):
        prior = model.prior(number)
        if not isinstance(prior, FactorisedPrior):
            raise TypeError("prior matching compares independent cells and needs a factorised prior")
        cells = child.field.logits[0, 0].numel()
        costs.append(child.field.kl(prior.field(model.recognition(number + 1).read(parent.sample))).mean() / cells)
    return torch.stack(costs).sum()


def _prior(
    model: SpatialRGM, images: Tensor, labels: Tensor | None, generator: Source, pose: Pose | None, weights: Weights
) -> Scalar:
    """Return Σ_ℓ −log p(z_ℓ | z_{ℓ+1}) per cell, of hard codes and the true concept.

    With `weights.outliers`, log p is that of `robust_log_prob`; with `weights.guidance`, each code of the grid below
    the concept is weighed by how much the concept raises its probability: see `_guided`. A hidden concept is sampled
    from q(z_L | z_{L−1}), which sums it out in expectation.
    """
    codes = model.read_grids(images)
    if labels is None or _some_hidden(labels):
        below = one_hot(codes[-1], model.config.levels[-2].states, dtype=images.dtype)
        top = model.recognition(model.depth).field(model.recognition(model.depth - 1).read(below))
        drawn = top.sample(generator)
        known = torch.full_like(drawn, HIDDEN) if labels is None else labels[:, None, None]
        codes.append(torch.where(known == HIDDEN, drawn, known))
    else:
        codes.append(labels[:, None, None])
    hard = [one_hot(z, level.states, dtype=images.dtype) for z, level in zip(codes, model.config.levels, strict=True)]
    terms = []
    for number, (child, parent) in enumerate(pairwise(hard), start=1):
        prior, embedded = model.prior(number), model.recognition(number + 1).read(parent)
        if weights.guidance and number == model.depth - 1:
            log_prob = _guided(prior, child, embedded, generator, pose, weights)
        else:
            log_prob = robust_log_prob(prior.score(child, embedded, generator, pose), weights.outliers)
        terms.append(log_prob.mean())
    return -torch.stack(terms).sum()


def _guided(
    prior: Prior, z: Tensor, parent: Tensor, generator: Source, pose: Pose | None, weights: Weights
) -> Float[Tensor, "batch cells"]:
    """Return (p(z_t | z_<t, c) / p(z_t | z_<t))^w · log p(z_t | z_<t, c) of each cell, the weight without gradient.

    For every z_<t, the sum over codes of data with a distribution p̂ is largest where p(z_t | z_<t, c) is in proportion
    to p̂(z_t | z_<t, c) (p(z_t | z_<t, c) / p(z_t | z_<t))^w: classifier-free guidance (Ho and Salimans 2022) with
    the weight w / (1 − w) to first order, learned, so that it costs nothing in sampling.
    """
    if not isinstance(prior, TransformerPrior):
        raise TypeError("guidance compares an autoregressive prior given each concept")
    concepts = torch.eye(parent.shape[1], dtype=parent.dtype, device=parent.device)[:, :, None, None]
    scores, gains = prior.contrast(z, parent, concepts, generator, pose)
    return (weights.guidance * gains).exp() * robust_log_prob(scores, weights.outliers)


def robust_log_prob(log_probs: Float[Tensor, "batch cells"], outliers: float) -> Float[Tensor, "batch cells"]:
    """Return log((1 − γ) p + γ) / (1 − γ) of each cell: a likelihood robust to outliers.

    Its slope against log p is p / (γ + (1 − γ) p), the weight by which Ji et al. (2023, TaiLr) approach the total
    variation distance from maximum likelihood: codes far less probable than γ have little gradient, so that the prior's
    probability is not spread over them.
    """
    if not outliers:
        return log_probs
    inliers = log_probs + math.log1p(-outliers)
    return torch.logaddexp(inliers, torch.full_like(inliers, math.log(outliers))) / (1 - outliers)


def _children(model: SpatialRGM, levels: list[Relaxed], generator: Source) -> Scalar:
    """Return Σ_ℓ −log p(z_ℓ | z_{ℓ+1}) per cell over the pairs of grids, z_ℓ hard, z_{ℓ+1} with its gradient."""
    costs = []
    for number, (child, parent) in enumerate(pairwise(levels[: model.depth - 1]), start=1):
        codes = child.field.mode()
        z = one_hot(codes, child.field.states, dtype=child.field.logits.dtype)
        embedded = model.recognition(number + 1).read(parent.sample)
        costs.append(-model.prior(number).score(z, embedded, generator).mean())
    return torch.stack(costs).sum()


def pseudo_label(first: Logits, second: Logits, labels: Tensor | None) -> Scalar:
    """Return −log q(c | second view) per image, c the label or the first view's confident concept, else 0.

    Sohn et al. 2020 (FixMatch), equation 4, with known labels where available.
    """
    confidence, guess = first.detach().softmax(dim=1).max(dim=1)
    target = torch.where(confidence > CONFIDENT, guess, HIDDEN)
    if labels is not None:
        target = torch.where(labels == HIDDEN, target, labels)
    return F.cross_entropy(second, target, ignore_index=HIDDEN, reduction="sum") / len(first)


def mutual_information(first: Logits, second: Logits, weight: float = 1.0) -> Scalar:
    """Return I(c; c′) in nats between the concepts of two views of the same images, over a batch.

    `P = (1/n) Σ_i q(c | x_i) q(c′ | x′_i)ᵀ`, made symmetric (Ji et al. 2019, equations 2 and 3).
    """
    joint = mean(first.softmax(dim=1).T @ second.softmax(dim=1) / len(first), weight)
    joint = ((joint + joint.T) / 2).clamp_min(1e-12)
    margin = joint.sum(dim=0)
    return (joint * (joint.log() - margin.log()[:, None] - margin.log()[None])).sum()


def usage(level: Relaxed, weight: float = 1.0) -> Scalar:
    """Return KL(mean over the batch's cells of q ‖ uniform) in nats."""
    shares = mean(level.field.probs().mean(dim=(0, 2, 3)), weight)
    # A probability may underflow in float32, and the slope of log at 0 is infinite.
    return math.log(level.field.states) + torch.xlogy(shares, shares.clamp_min(1e-30)).sum()


def locality_loss(
    model: SpatialRGM,
    z1: Float[Tensor, "batch states height width"],
    decoded: Float[Tensor, "batch channels rows columns"],
    generator: Source,
) -> Scalar:
    """Return the mean squared change outside a cell's own patch when one random cell per image gets a random new code.

    `decoded` are the decoded images of `z1`, one-hot or relaxed; they carry no gradient here.
    """
    batch, states, height, width = z1.shape
    device = z1.device
    image = torch.arange(batch, device=device)
    row, column = (integers(0, side, (batch,), generator, device) for side in (height, width))
    shift = integers(1, states, (batch,), generator, device)
    new = (z1[image, :, row, column].argmax(dim=1) + shift) % states
    changed = z1.clone()
    changed[image, :, row, column] = F.one_hot(new, states).to(z1)
    change = (model.mean_image(changed) - decoded.detach()).square()
    inside = torch.zeros(batch, 1, height, width, device=device)
    inside[image, 0, row, column] = 1.0
    outside = 1.0 - F.interpolate(inside, size=change.shape[2:], mode="nearest")
    return (change * outside).mean()
