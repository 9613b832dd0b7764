"""Starts of deep trees: the state of a cell is the cluster of its window, with one codebook for a whole grid."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.leaves import Images
from rgm.counting.tree import Grid

OWN, BESIDE, CORNER, AROUND = 2.0, 1.0, 0.5, 1.0
"""Weights of a window's pixels: the cell's own, those beside it, at its corners, and means of regions around it."""
REGION, STEP = 5, 3
"""Side of a region around a cell, and its distance, in pixels of the window."""
AT_ONCE = 512


def windows(images: Images, grid: Grid) -> Float[Tensor, "n features cells"]:
    """Return what surrounds every cell of a grid: its pixels, those next to it, and the means of eight regions.

    Cells of several pixels are averaged to 2 × 2.
    """
    small, side = _fitted(images, grid)
    channels, width = images.shape[1], side + 2
    near = F.unfold(F.pad(small, (1, 1, 1, 1)), width, stride=side)
    edge = torch.full((width,), OWN)
    edge[0] = edge[-1] = BESIDE
    weight = torch.minimum(edge[:, None], edge)
    weight[0, 0] = weight[0, -1] = weight[-1, 0] = weight[-1, -1] = CORNER
    found = [near * weight.flatten().repeat(channels)[:, None]]
    reach = STEP + REGION // 2
    means = F.avg_pool2d(F.pad(small, (reach,) * 4), REGION, 1)
    for down in (0, STEP, 2 * STEP):
        for across in (0, STEP, 2 * STEP):
            if (down, across) != (STEP, STEP):
                region = means[:, :, down : down + side * grid[0], across : across + side * grid[1]]
                found.append(AROUND * F.avg_pool2d(region, side).flatten(2))
    return torch.cat(found, dim=1)


def patches(images: Images, grid: Grid) -> Float[Tensor, "n features cells"]:
    """Return the pixels of every cell of a grid; cells of several pixels are averaged to 2 × 2."""
    small, side = _fitted(images, grid)
    return F.unfold(small, side, stride=side)


def codebook(
    features: Float[Tensor, "n features"], states: int, *, passes: int, generator: torch.Generator
) -> Float[Tensor, "states features"]:
    """Return `states` cluster centres of features by k-means (Lloyd 1982), started from distinct ones at random.

    The most frequent feature, the background's, is the first centre to start with; equal features count once.
    """
    distinct, counts = torch.unique(features, dim=0, return_counts=True)
    order = torch.randperm(len(distinct), generator=generator)
    common = int(counts.argmax())
    order = torch.cat([torch.tensor([common]), order[order != common]])
    centres = distinct[order[torch.arange(states) % len(order)]]
    for _ in range(passes):
        found = torch.cat([nearest(part[None].transpose(1, 2), centres)[0] for part in distinct.split(2**14)])
        sizes = found.bincount(minlength=states).to(distinct)
        sums = torch.zeros_like(centres).index_add_(0, found, distinct)
        centres = torch.where(sizes[:, None] > 0, sums / sizes.clamp_min(1)[:, None], centres)
    return centres


def codes(images: Images, grid: Grid, centres: Float[Tensor, "states features"]) -> Int64[Tensor, "n cells"]:
    """Return the nearest centre to every cell's window."""
    return torch.cat([nearest(windows(part, grid), centres) for part in images.split(AT_ONCE)])


def sampled_windows(
    images: Images, grid: Grid, count: int, generator: torch.Generator
) -> Float[Tensor, "windows features"]:
    """Return windows of random cells of random images, `count` of them at most."""
    share = max(1, math.ceil(count / (grid[0] * grid[1])))
    some = images[torch.randperm(len(images), generator=generator)[: 4 * share]]
    found = torch.cat([windows(part, grid).transpose(1, 2).flatten(0, 1) for part in some.split(AT_ONCE)])
    return found[torch.randperm(len(found), generator=generator)[:count]]


def _fitted(images: Images, grid: Grid) -> tuple[Float[Tensor, "n channels _ _"], int]:
    """Return images with 1 × 1 pixels a cell, or 2 × 2 where a cell has several, and this side."""
    side = 2 if images.shape[2] >= 2 * grid[0] and images.shape[3] >= 2 * grid[1] else 1
    return F.adaptive_avg_pool2d(images, (side * grid[0], side * grid[1])), side


def nearest(features: Float[Tensor, "n features cells"], centres: Tensor) -> Int64[Tensor, "n cells"]:
    """Return the nearest centre by squared distance."""
    product = torch.einsum("nfc,sf->nsc", features, 2 * centres)
    return (product - centres.square().sum(dim=1)[:, None]).argmax(dim=1)
