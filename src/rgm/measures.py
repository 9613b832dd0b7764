"""Measures of training and evaluation."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

FIRST = 250
"""Number of images for the first search of replacements."""
USUAL = 64
"""Cells of an image above which fewer images are taken."""
NEAREST = 8
"""Number of candidate replacements of a code: those that decode to the most similar patches."""
_BATCH_SIZE = 512

Codes = Int64[Tensor, "n height width"]
Images = Float[Tensor, "n channels rows columns"]
Decode = Callable[[Codes], Images]


@dataclass(frozen=True, kw_only=True)
class CodebookUsage:
    """How a set of codes uses its codebook, over the whole set at once.

    `perplexity` is exp of the entropy of the codes' frequencies: the effective number of codes.
    """

    counts: Int64[Tensor, " states"]
    in_use: int
    perplexity: float


def codebook_usage(codes: Int64[Tensor, "n height width"], states: int) -> CodebookUsage:
    """Return how often each code occurs, how many occur at all, and the perplexity."""
    counts = torch.bincount(codes.flatten(), minlength=states).cpu()
    frequency = counts.double() / counts.sum()
    entropy = -torch.xlogy(frequency, frequency).sum()
    return CodebookUsage(counts=counts, in_use=int((counts > 0).sum()), perplexity=math.exp(float(entropy)))


@dataclass(frozen=True, kw_only=True)
class NeededCodes:
    """The codes of a codebook that are needed, measured on `images` images.

    `cost[k]` is the relative rise of the squared error when every cell with code k is given `replacement[k]`, the code
    that replaces it best: (E_k − E) / E, summed over images and pixels. A code of K is `needed` where its cost is at
    least 1 / (3K); a code that does not occur has no cost. `perplexity` is that of the codes' frequencies
    after every code that is not needed has been merged with its replacement: interchangeable codes count as one.
    """

    images: int
    cost: Float[Tensor, " states"]
    replacement: Int64[Tensor, " states"]
    perplexity: float

    @property
    def needed(self) -> Bool[Tensor, " states"]:
        """Whether each code is needed."""
        return self.cost >= 1 / (3 * len(self.cost))

    @property
    def count(self) -> int:
        """Number of needed codes."""
        return int(self.needed.sum())

    def merged(self) -> Int64[Tensor, " states"]:
        """Return every code's representative after merging codes that are not needed with their replacements."""
        groups = torch.arange(len(self.cost))
        for code in (~self.needed).nonzero().flatten().tolist():
            a, b = groups[code], groups[self.replacement[code]]
            groups[(groups == a) | (groups == b)] = torch.minimum(a, b)
        return groups

    def measures(self) -> dict[str, float]:
        """Return the numbers by name."""
        return {"needed_codes": float(self.count), "needed_perplexity": self.perplexity}


def enough_images(images: int, cells: int) -> int:
    """Return a number of images for `NeededCodes`: as many cells in all as so many images of 64, at most `images`."""
    return min(images, max(1, images * USUAL // cells))


@torch.no_grad()
def needed_codes(decode: Decode, z1: Codes, images: Images, states: int) -> NeededCodes:
    """Return which of a codebook's `states` codes are needed to decode images from their codes z_1.

    Replacements are searched among the 8 codes that decode to the most similar patches, on the first 250 images (fewer
    of more than 64 cells each); the best two are then compared on all images, for each code that may not be needed.
    `decode` maps codes to mean images in [0, 1].
    """
    swaps = _Swaps(decode, z1, images)
    distances = _patch_distances(decode, states, z1)
    cost, replacement = torch.zeros(states), torch.arange(states)
    in_use = torch.bincount(z1.flatten(), minlength=states).nonzero().flatten().tolist()
    first = enough_images(FIRST, z1[0].numel())
    for code in in_use:
        others = distances[code].argsort()[: min(NEAREST, states - 1)].tolist()
        found = swaps.ranked(code, others, first)
        if found[0][0] < 4 / (3 * states) and len(z1) > first:
            found = swaps.ranked(code, [other for _, other in found[:2]], len(z1))
        cost[code], replacement[code] = found[0]
    needed = NeededCodes(images=len(z1), cost=cost, replacement=replacement, perplexity=1.0)
    merged = needed.merged()[z1.to(cost.device)]
    return replace(needed, perplexity=codebook_usage(merged, states).perplexity)


@torch.no_grad()
def hardly_needed(decode: Decode, z1: Codes, images: Images, states: int, below: float, most: int) -> list[int]:
    """Return up to `most` codes whose estimated cost in `NeededCodes` is less than `below`, the least needed first.

    `n_k · min_j ‖P_k − P_j‖² / E`, with n_k cells of code k and P_k the patch that it decodes to in an image of code k
    alone. Where two codes would replace each other, only the less needed one is returned.
    """
    error = (decode(z1) - images).square().sum().clamp_min(torch.finfo(images.dtype).tiny)
    distances, nearest = _patch_distances(decode, states, z1).square().min(dim=1)
    cost = torch.bincount(z1.flatten(), minlength=states).cpu() * distances / error.cpu()
    found: list[int] = []
    kept: set[int] = set()
    for code in cost.argsort().tolist():
        if cost[code] >= below or len(found) == most:
            break
        if code not in kept and int(nearest[code]) not in found:
            found.append(code)
            kept.add(int(nearest[code]))
    return found


@dataclass
class _Swaps:
    """The cost of replacing one code by another in every cell."""

    decode: Decode
    z1: Codes
    images: Images

    def __post_init__(self) -> None:
        self.base = self._errors(self.z1, self.images)

    def ranked(self, code: int, others: list[int], count: int) -> list[tuple[float, int]]:
        """Return the other codes with their costs as replacements of `code`, the cheapest first."""
        return sorted(((self.rise(code, other, count), other) for other in others), key=lambda pair: pair[0])

    def rise(self, code: int, other: int, count: int) -> float:
        """Return the relative rise of the squared error over the first `count` images."""
        found = (self.z1[:count] == code).flatten(1).any(dim=1).nonzero().flatten()
        if not len(found):
            return 0.0
        swapped = torch.where(self.z1[found] == code, other, self.z1[found])
        added = self._errors(swapped, self.images[found]).sum() - self.base[found].sum()
        return float(added / self.base[:count].sum().clamp_min(torch.finfo(self.base.dtype).tiny))

    def _errors(self, z1: Codes, images: Images) -> Float[Tensor, " n"]:
        parts = zip(z1.split(_BATCH_SIZE), images.split(_BATCH_SIZE), strict=True)
        return torch.cat([(self.decode(z) - x).square().flatten(1).sum(dim=1) for z, x in parts])


def _patch_distances(decode: Decode, states: int, z1: Codes) -> Float[Tensor, "states states"]:
    """Return the distance between the patches that two codes decode to, each in an image of that code alone."""
    _, height, width = z1.shape
    constant = torch.arange(states, device=z1.device)[:, None, None].expand(-1, height, width)
    decoded = torch.cat([decode(batch) for batch in constant.split(_BATCH_SIZE)])
    tall, wide = decoded.shape[2] // height, decoded.shape[3] // width
    top, left = height // 2 * tall, width // 2 * wide
    patches = decoded[..., top : top + tall, left : left + wide].flatten(1)
    return torch.cdist(patches, patches).fill_diagonal_(math.inf).cpu()


def accuracy(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Return the accuracy of the most probable class."""
    return float((probabilities.argmax(dim=1) == labels).double().mean())


def matching(clusters: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], count: int) -> Int64[Tensor, " count"]:
    """Return the class of each of `count` clusters by the optimal assignment, one-to-one (Kuhn 1955)."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    table = torch.bincount(clusters.cpu() * count + labels.cpu(), minlength=count**2).reshape(count, count)
    _, classes = linear_sum_assignment(table.numpy(), maximize=True)
    return torch.from_numpy(classes)


def squared_error(
    reconstruction: Float[Tensor, "n channels rows columns"], images: Float[Tensor, "n channels rows columns"]
) -> float:
    """Return the mean squared error over images and pixels, in units of the full grey range squared."""
    return float((reconstruction - images).square().mean(dtype=torch.float64 if images.device.type != "mps" else None))
