"""Clusters of images without labels, from a graph of nearest neighbours."""

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.data.labels import HIDDEN

_CLUSTERED = 10_000
"""Maximum number of images that are clustered."""
_NEIGHBOURS = 10
_DIRECTIONS = 8
_WINDOWS = 9
"""The number of windows along a side of an image, about."""


def typical(images: ImageSet, clusters: int, *, seed: int) -> Int64[Tensor, " n"]:
    """Return the number of a cluster for the images that are typical of it, HIDDEN for the others.

    Of at most 10,000 images, sampled with the seed, each is joined to the ten nearest by `gradient_histograms`. The
    graph is cut into clusters: k-means of the directions of the images' places in the first eigenvectors of the graph's
    Laplacian, half as many again as there are clusters (Ng, Jordan and Weiss 2001, with more eigenvectors). Typical is
    the quarter of a cluster nearest to its mean. There are at most as many clusters as distinct images; where there are
    too few images for a graph, k-means is of the histograms.
    """
    from sklearn.cluster import KMeans  # slow to import
    from sklearn.manifold import SpectralEmbedding

    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:_CLUSTERED]
    places = torch.cat([gradient_histograms(to_unit(images.images[part])) for part in chosen.split(500)]).numpy()
    clusters = min(clusters, len(np.unique(places, axis=0)))
    if len(places) >= _NEIGHBOURS * max(clusters, _NEIGHBOURS):
        embedding = SpectralEmbedding(
            max(2, round(1.5 * clusters) - 1), affinity="nearest_neighbors", n_neighbors=_NEIGHBOURS, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Graph is not fully connected", category=UserWarning)
            places = embedding.fit_transform(places)
        places = places / np.linalg.norm(places, axis=1, keepdims=True).clip(1e-12)
        clusters = min(clusters, len(np.unique(places, axis=0)))
    means = KMeans(clusters, n_init=10, random_state=seed).fit(places)
    distances = means.transform(places).min(axis=1)
    labels = torch.full((len(images),), HIDDEN)
    for cluster in range(clusters):
        members = np.flatnonzero(means.labels_ == cluster)
        nearest = members[distances[members].argsort(kind="stable")][: -(-len(members) // 4)]
        labels[chosen[nearest]] = cluster
    return labels


def gradient_histograms(images: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n features"]:
    """Return histograms of the directions of edges in overlapping windows, and the mean of each channel.

    The histograms count eight directions, weighted by the size of the gradient, in about 9 × 9 windows; the roots of
    all counts are a vector of length 1, or 0 in an image without edges. Two images are near each other where their
    edges have the same directions in the same windows (Dalal and Triggs 2005, with other windows).
    """
    framed = F.pad(images, (1, 1, 1, 1), mode="replicate")
    across = framed[..., 1:-1, 2:] - framed[..., 1:-1, :-2]
    down = framed[..., 2:, 1:-1] - framed[..., :-2, 1:-1]
    angle, size = torch.atan2(down, across), (across.square() + down.square()).sqrt()
    stride = [max(1, side // _WINDOWS) for side in images.shape[2:]]
    window = [2 * step for step in stride]
    counts = []
    for direction in range(_DIRECTIONS):
        weight = size * (angle - 2 * torch.pi * direction / _DIRECTIONS).cos().clamp_min(0) ** 3
        counts.append(F.avg_pool2d(weight.sum(dim=1, keepdim=True), window, stride, padding=1))
    return torch.cat([F.normalize(torch.cat(counts, dim=1).sqrt().flatten(1)), images.mean(dim=(2, 3))], dim=1)
