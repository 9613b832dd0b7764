"""Quantities that training watches and experiments report, each defined once."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class CodebookUsage:
    """How a set of codes uses its codebook, over the whole set at once.

    `perplexity` is exp of the entropy of the codes' frequencies: the number of equally used codes that would be
    as varied.
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


def accuracy(probabilities: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"]) -> float:
    """Return the share of images whose most probable class is their label."""
    return float((probabilities.argmax(dim=1) == labels).double().mean())


def matching(
    clusters: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], count: int
) -> Int64[Tensor, " count"]:
    """Return the class of each of `count` clusters, a different one each, with which most images are right.

    The optimal assignment (Kuhn 1955) of the table of how often each cluster meets each class.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    table = torch.bincount(clusters.cpu() * count + labels.cpu(), minlength=count**2).reshape(count, count)
    _, classes = linear_sum_assignment(table.numpy(), maximize=True)
    return torch.from_numpy(classes)


def squared_error(
    reconstruction: Float[Tensor, "n channels rows columns"], images: Float[Tensor, "n channels rows columns"]
) -> float:
    """Return the mean squared error over images and pixels, in units of the full grey range squared."""
    return float(
        (reconstruction - images).square().mean(dtype=torch.float64 if images.device.type != "mps" else None)
    )
