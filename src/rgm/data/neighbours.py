"""Guessed labels of images, from a graph of nearest neighbours: by its clusters, or by what few labels are known."""

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.data.labels import HIDDEN

_MOST = 10_000
"""Maximum number of images of a graph."""
_NEIGHBOURS = 10
_DIRECTIONS = 8
_WINDOWS = 9
"""The number of windows along a side of an image, about."""

Features = NDArray[np.float32]
Guess = tuple[NDArray[np.int64], NDArray[np.floating]]
"""The class of each image, and how sure it is, on any scale."""


def guessed_labels(images: ImageSet, classes: int, *, seed: int) -> Int64[Tensor, " n"]:
    """Return the known labels and those guessed for other images; HIDDEN for all that are not guessed surely.

    Of at most 10,000 images, with the known ones among them and the others sampled with the seed, each is joined to the
    ten nearest by `gradient_histograms`. Without a known label, the graph is cut into `classes` clusters, and the
    quarter of each cluster nearest to its mean is labelled with its number. Else labels spread along the graph, and
    the surest half of each class is labelled. Where half of the graph's images are known, none is guessed.
    """
    known = torch.full((len(images),), HIDDEN) if images.labels is None else images.labels
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    chosen = order[(known[order] == HIDDEN).int().argsort(stable=True)][:_MOST]
    given = known[chosen].numpy()
    if 2 * (given != HIDDEN).sum() >= len(chosen):
        return known.clone()
    features = torch.cat([gradient_histograms(to_unit(images.images[part])) for part in chosen.split(500)]).numpy()
    clustered = (given == HIDDEN).all()
    guess, sure = _clusters(features, classes, seed) if clustered else _spread(features, given)
    labels = known.clone()
    for label in range(classes):
        members = np.flatnonzero(guess == label)
        best = members[np.argsort(-sure[members], kind="stable")][: -(-len(members) // (4 if clustered else 2))]
        labels[chosen[best]] = label
    return torch.where(known == HIDDEN, labels, known)


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


def _clusters(features: Features, clusters: int, seed: int) -> Guess:
    """Return each image's cluster, and minus its distance from the cluster's mean.

    k-means of the directions of the images' places in the first eigenvectors of the graph's Laplacian, half as many
    again as there are clusters (Ng, Jordan and Weiss 2001, with more eigenvectors); of the features themselves where
    there are too few images for a graph. There are at most as many clusters as distinct images.
    """
    from sklearn.cluster import KMeans  # slow to import
    from sklearn.manifold import SpectralEmbedding

    places = features
    if len(features) >= _NEIGHBOURS * max(clusters, _NEIGHBOURS):
        embedding = SpectralEmbedding(
            max(2, round(1.5 * clusters) - 1), affinity="nearest_neighbors", n_neighbors=_NEIGHBOURS, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Graph is not fully connected", category=UserWarning)
            places = embedding.fit_transform(features)
        places = places / np.linalg.norm(places, axis=1, keepdims=True).clip(1e-12)
    clusters = min(clusters, len(np.unique(features, axis=0)), len(np.unique(places, axis=0)))
    means = KMeans(clusters, n_init=10, random_state=seed).fit(places)
    return means.labels_.astype(np.int64), -means.transform(places).min(axis=1)


def _spread(features: Features, known: NDArray[np.int64]) -> Guess:
    """Return each image's most probable label and its probability, labels spread over the graph (Zhou et al. 2004)."""
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.neighbors import kneighbors_graph
    from sklearn.semi_supervised import LabelSpreading

    def weights(one: Features, _: Features) -> object:
        """Return the graph with its edges in both directions."""
        graph = kneighbors_graph(one, min(_NEIGHBOURS, len(one) - 1))
        return graph + graph.T

    spreading = LabelSpreading(kernel=weights, alpha=0.99, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        spreading.fit(features, known)
    shares = spreading.label_distributions_
    return spreading.classes_[shares.argmax(axis=1)], shares.max(axis=1)
