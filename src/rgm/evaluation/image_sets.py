"""Metrics of sets of images: Fréchet distance, precision and recall, diversity, distance to the nearest image."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from rgm.data.images import to_unit

Images = Float[Tensor, "n channels height width"]

BATCH = 500
_FIRST = 4
"""Candidates for an image's nearest that are compared without rounding."""
_KNOWN = 2**24
"""Numbers of the images among which the nearest is sought that are in memory at once, beside their bytes."""


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """The share of samples that lie among the real images, and of real images that lie among the samples."""

    precision: float
    recall: float


@torch.no_grad()
def frechet_distance(first: Float[Tensor, "n d"], second: Float[Tensor, "m d"]) -> float:
    """Return ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), squared feature units (Heusel et al. 2017, equation 6).

    The trace of the root is Σ √λ(Σ₁^½ Σ₂ Σ₁^½), of a symmetric matrix: real, in float64.
    """
    a, b = first.double(), second.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    means = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return float(means + cov_a.trace() + cov_b.trace() - 2 * cross)


@torch.no_grad()
def coverage(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], k: int = 3) -> PrecisionRecall:
    """Return the improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2).

    A point lies among a set where it is no farther from one of its points than that point's k-th nearest neighbour,
    give or take the rounding of distances that come from products, in float64.
    """
    real, fake = real.double(), fake.double()
    rounding = 1e-7 * real.norm(dim=1).max()
    real_radii, fake_radii = _radii(real, k) + rounding, _radii(fake, k) + rounding
    within = torch.zeros(len(fake), dtype=torch.bool)
    covered = []
    for points, radii in zip(real.split(BATCH), real_radii.split(BATCH), strict=True):
        distances = torch.cdist(points, fake)
        within |= (distances <= radii[:, None]).any(dim=0)
        covered.append((distances <= fake_radii).any(dim=1))
    return PrecisionRecall(precision=float(within.double().mean()), recall=float(torch.cat(covered).double().mean()))


@torch.no_grad()
def diversity(images: Images, labels: Int64[Tensor, " n"]) -> float:
    """Return the mean distance between two images of one concept, averaged over concepts.

    Distances are root mean squared over pixels, in grey ranges. A concept with one image has no part in it.
    """
    pixels = images.flatten(1)
    alike = [pixels[labels == concept] for concept in labels.unique()]
    means = [F.pdist(one).mean(dtype=torch.float64) for one in alike if len(one) > 1]
    return float(torch.stack(means).mean()) / pixels.shape[1] ** 0.5


@torch.no_grad()
def nearest_distance(images: Images, among: UInt8[Tensor, "m channels height width"]) -> Float[Tensor, " n"]:
    """Return each image's distance to the nearest of others, given as bytes: root mean squared over pixels.

    The nearest are found by ‖b‖² − 2 a·b. Distances to the first few are computed from differences, which is exact at
    zero.
    """
    least = images.new_full((len(images),), torch.inf)
    for part in among.split(max(1, _KNOWN // among[0].numel())):
        known = to_unit(part).flatten(1)
        norms = known.square().sum(dim=1)
        for some, found in zip(images.flatten(1).split(BATCH), least.split(BATCH), strict=True):
            apart = torch.addmm(norms, some, known.T, alpha=-2)
            first = apart.topk(min(_FIRST, len(known)), dim=1, largest=False).indices
            squared = (known[first] - some[:, None]).square().mean(dim=2)
            torch.minimum(found, squared.amin(dim=1), out=found)
    return least.sqrt()


def _radii(points: Float[Tensor, "n d"], k: int) -> Float[Tensor, " n"]:
    """Return each point's distance to its k-th nearest other point; the nearest of all is the point itself."""
    nearest = [torch.cdist(some, points).topk(k + 1, dim=1, largest=False) for some in points.split(BATCH)]
    return torch.cat([one.values[:, k] for one in nearest])
