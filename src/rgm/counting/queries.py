"""What a tree over pixel values answers exactly about single pixels: probabilities, marginals, means, explanations."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rgm.counting.emission import ValueEmission
from rgm.counting.posterior import TreePosterior, Visible
from rgm.counting.values import PixelLeaves
from rgm.errors import RGMError
from rgm.model.generative import Images

WEIGHTS = 2**24
"""Numbers in the evidence of a chunk of images, one for every value of every pixel: at most so many."""
Mask = Bool[Tensor, "n rows columns"]
Evidence = Float[Tensor, "cells n variates values"]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Images with their hidden pixels filled in, the concept, the codes below it, and log p of all of them in nats."""

    images: Float[Tensor, "n channels rows columns"]
    concept: Int64[Tensor, " n"]
    codes: tuple[Int64[Tensor, "n _ _"], ...]
    log_joint: Float[Tensor, " n"]


def pixel_leaves(model: TreePosterior) -> PixelLeaves:
    """Return the leaves of a model of pixel values; raise RGMError for one of other symbols."""
    if not isinstance(model.leaves, PixelLeaves):
        raise RGMError(
            "single pixels are answered for by models of pixel values, but this one's symbols are of the kind "
            f"{model.config.symbols.kind}: train one with --preset exact"
        )
    return model.leaves


def log_prob(model: TreePosterior, images: Images, visible: Mask) -> Float[Tensor, " n"]:
    """Return log p(visible pixels) = log Σ_c p(c) Σ_z p(z | c) Π_visible p(x_i | z_i) in nats."""
    pixel_leaves(model)
    parts = []
    for chunk, shown in model.chunks(images, visible):
        joint = model.upward(chunk, likelihood=True, visible=shown).root[:, None] + model.tables().log_top
        parts.append(joint.flatten(1).logsumexp(dim=1) - math.log(model.num_classes))
    return torch.cat(parts)


def marginals(model: TreePosterior, images: Images, visible: Mask) -> Float[Tensor, "n channels rows columns values"]:
    """Return p(x_i = v | visible pixels other than x_i) of every pixel and value."""
    leaves, parts = pixel_leaves(model), []
    for chunk, shown in _chunks(model, images, visible):
        parts.append(_by_pixel(leaves, _others(model, _seen(model, chunk, shown))))
    return torch.cat(parts)


def posterior_mean(model: TreePosterior, images: Images, visible: Mask, noise: float | None) -> Images:
    """Return E[x_i | observed pixels]: visible ones are exact, or Gaussian with standard deviation `noise`."""
    leaves, parts = pixel_leaves(model), []
    for chunk, shown in _chunks(model, images, visible):
        seen = _seen(model, chunk, shown) if noise is None else _noisy(model, chunk, shown, noise)
        belief = _others(model, seen) * seen
        belief = _by_pixel(leaves, belief / belief.sum(dim=3, keepdim=True).clamp_min(_tiny(belief)))
        parts.append(belief @ torch.linspace(0, 1, leaves.levels, dtype=belief.dtype, device=belief.device))
    mean = torch.cat(parts).clamp(0, 1)
    return torch.where(visible[:, None], images, mean) if noise is None else mean


def most_probable(model: TreePosterior, images: Images, visible: Mask) -> Explanation:
    """Return arg max p(c, z, hidden pixels | visible pixels), all of them together: max–product."""
    leaves, tables = pixel_leaves(model), model.tables()
    likelihood = _values(model)
    best, value = likelihood.table.max(dim=2)  # (cells, variates, states)
    best = best * leaves.known[..., None]
    log_roots = (tables.log_top - math.log(model.num_classes)).max(dim=0)
    parts = []
    for chunk, mask in model.chunks(images, visible):
        shown, read = leaves.visible_symbols(mask).to(best), model.symbols(chunk)
        log = likelihood.log_prob(read, shown) + torch.bmm(1 - shown, best)
        codes, root, joint = tables.tree.most_probable(log, log_roots.values[None])
        states = codes[0].flatten(1).T[:, :, None].expand(-1, -1, leaves.variates)
        filled = torch.where(shown > 0, read, value.transpose(1, 2).gather(1, states))
        pictures = torch.where(mask[:, None], chunk, leaves.image_of(filled).to(chunk))
        parts.append((pictures, log_roots.indices[root], (*codes, root[:, None, None]), joint))
    levels = zip(*(codes for _, _, codes, _ in parts), strict=True)
    return Explanation(
        images=torch.cat([pictures for pictures, *_ in parts]),
        concept=torch.cat([concepts for _, concepts, *_ in parts]),
        codes=tuple(torch.cat(level) for level in levels),
        log_joint=torch.cat([joint for *_, joint in parts]),
    )


def drawn_values(
    model: TreePosterior, z1: Int64[Tensor, "n height width"], generator: torch.Generator | None
) -> Images:
    """Return images drawn from p(x | z_1), every pixel on its own."""
    leaves, table, parts = pixel_leaves(model), _values(model).table, []
    cells = torch.arange(len(table), device=table.device)[:, None]
    for codes in z1.split(max(1, WEIGHTS // table[..., 0].numel())):
        drawn = []
        for variate in range(leaves.variates):
            chance = table[:, variate].transpose(1, 2)[cells, codes.flatten(1).T].exp()
            drawn.append(torch.multinomial(chance.flatten(0, 1), 1, generator=generator).view(chance.shape[:2]))
        parts.append(leaves.image_of(torch.stack(drawn, dim=2)))
    return torch.cat(parts)


def _chunks(model: TreePosterior, images: Images, visible: Mask) -> Iterator[tuple[Tensor, Tensor]]:
    size = max(1, WEIGHTS // _values(model).table[..., 0].numel())
    yield from zip(images.split(size), visible.split(size), strict=True)


def _values(model: TreePosterior) -> ValueEmission:
    likelihood = model.tables().likelihood
    assert isinstance(likelihood, ValueEmission)
    return likelihood


def _seen(model: TreePosterior, images: Images, visible: Mask) -> Evidence:
    """Return the evidence of pixels: 1 for the value of a visible one, and for every value of a hidden one."""
    leaves, table = pixel_leaves(model), _values(model).table
    hidden = leaves.visible_symbols(visible).to(table)[..., None] == 0
    return torch.nn.functional.one_hot(model.symbols(images), leaves.levels).to(table).masked_fill_(hidden, 1.0)


def _noisy(model: TreePosterior, images: Images, visible: Mask, noise: float) -> Evidence:
    """Return the evidence of pixels with Gaussian noise: p(observed | value), scaled to a maximum of 1."""
    leaves, table = pixel_leaves(model), _values(model).table
    greys = torch.linspace(0, 1, leaves.levels, dtype=table.dtype, device=table.device)
    observed = images.flatten(1).T[leaves.place].transpose(1, 2).to(table)
    log = -((observed[..., None] - greys) / noise).square() / 2
    hidden = leaves.visible_symbols(visible).to(table)[..., None] == 0
    return (log - log.amax(dim=3, keepdim=True)).exp_().masked_fill_(hidden, 1.0)


def _others(model: TreePosterior, seen: Evidence) -> Evidence:
    """Return p(value | evidence of all other pixels) of every pixel."""
    leaves, tree = pixel_leaves(model), model.tables().tree
    chance = _values(model).table.exp()  # (cells, variates, values, states)
    own = torch.einsum("cnvx,cvxs->vcns", seen, chance).clamp_min(_tiny(seen)).log()
    own = own * leaves.known.T[:, :, None, None]
    log = own.sum(dim=0)
    cavity = tree.cavity(model.posterior(tree.up(log))[2])
    found = []
    for variate in range(leaves.variates):
        others = log - own[variate]
        weights = cavity * (others - others.amax(dim=2, keepdim=True)).exp()
        weights = weights / weights.sum(dim=2, keepdim=True).clamp_min(_tiny(seen))
        found.append(torch.einsum("cns,cxs->cnx", weights, chance[:, variate]))
    return torch.stack(found, dim=2)


def _by_pixel(leaves: PixelLeaves, cells: Evidence) -> Float[Tensor, "n channels rows columns values"]:
    """Return what is known of every pixel in the order of the image."""
    found = cells.new_empty(math.prod(leaves.image), cells.shape[1], cells.shape[3])
    found[leaves.place[leaves.known]] = cells.transpose(1, 2)[leaves.known]
    return found.transpose(0, 1).unflatten(1, leaves.image)


def _tiny(values: Tensor) -> float:
    return torch.finfo(values.dtype).tiny


def mask_of(images: Images, visible: Visible | None) -> Mask:
    """Return a mask for each image, all pixels visible by default; raise RGMError for one of another shape."""
    shape = (len(images), *images.shape[2:])
    if visible is None:
        return torch.ones(shape, dtype=torch.bool, device=images.device)
    if visible.dtype != torch.bool or visible.shape[1:] != shape[1:] or len(visible) not in (1, len(images)):
        raise RGMError(
            f"visible must be a mask of shape {shape} (or one for all, (1, …)), true for visible pixels, but is "
            f"{visible.dtype} of shape {tuple(visible.shape)}"
        )
    return visible.to(images.device).expand(shape)
