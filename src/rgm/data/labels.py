"""Semi-supervised and unsupervised training: sets with hidden labels."""

import warnings
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from rgm.data.images import ImageSet
from rgm.errors import RGMError

HIDDEN = -1
"""The label of an image with a class hidden from training."""

_CLUSTERED = 4_000
"""Maximum number of images that `typical` clusters."""


def whole_numbers(values: Tensor, what: str) -> Int64[Tensor, "*shape"]:
    """Return floats that are whole numbers as integers; raise RGMError for one that is not."""
    odd = ~((values == values.floor()) & (values.abs() < 2**53))
    if odd.any():
        raise RGMError(f"{what} are whole numbers, but one is {float(values[odd][0]):g}")
    return values.long()


def few_labels(data: ImageSet, count: int, *, seed: int) -> ImageSet:
    """Return a set with all but `count` of its labels hidden, the known ones balanced over the classes.

    Classes differ by one at most where `count` is not a multiple of their number; the labelled images are sampled with
    the seed. Raises RGMError for a set without labels, or an impossible count.
    """
    if data.labels is None:
        raise RGMError(f"{count} labels were requested, but {data.source} has none: leave --labels out, or give 0")
    if count < 0:
        raise RGMError(f"the number of labels must be 0 or more, but is {count}")
    classes = len(data.classes)
    sizes = torch.bincount(data.labels, minlength=classes)
    most = int(sizes.min()) * classes
    if 0 < count < classes or count > most:
        raise RGMError(
            f"{count} labels, balanced over {classes} classes, are not available from {data.source}: its smallest "
            f"class has {int(sizes.min())} training images, so that {classes} to {most} are possible, or 0 for none"
        )
    generator = torch.Generator().manual_seed(seed)
    shares = torch.full((classes,), count // classes)
    shares[torch.randperm(classes, generator=generator)[: count % classes]] += 1
    labels = torch.full_like(data.labels, HIDDEN)
    for label, share in enumerate(shares.tolist()):
        members = (data.labels == label).nonzero().flatten()
        labels[members[torch.randperm(len(members), generator=generator)[:share]]] = label
    return replace(data, labels=labels)


def typical(images: ImageSet, clusters: int, *, each: int = 10, seed: int) -> Int64[Tensor, " n"]:
    """Return pseudo-labels by clustering: a cluster's number for the `each` images nearest to its mean, else HIDDEN.

    k-means of the pixels (Lloyd 1982, with k-means++ initialisation), of at most 4,000 images sampled with the seed. An
    image has one cluster, the first that selects it. There are at most as many clusters as distinct images.
    """
    from scipy.cluster.vq import kmeans2  # slow to import

    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images), generator=generator)[:_CLUSTERED]
    pixels = images.images[chosen].flatten(1).numpy().astype(np.float32) / 255
    clusters = min(clusters, len(np.unique(pixels, axis=0)))
    with warnings.catch_warnings():  # an empty cluster keeps its mean
        warnings.filterwarnings("ignore", message="One of the clusters is empty", category=UserWarning)
        means, _ = kmeans2(pixels, clusters, iter=30, minit="++", seed=np.random.default_rng(seed))
    distances = torch.cdist(torch.from_numpy(pixels), torch.from_numpy(means))
    labels = torch.full((len(images),), HIDDEN)
    for cluster in reversed(range(clusters)):
        nearest = distances[:, cluster].argsort()[: min(each, len(chosen) // clusters)]
        labels[chosen[nearest]] = cluster
    return labels
