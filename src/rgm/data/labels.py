"""Semi-supervised and unsupervised training: sets with hidden labels."""

from dataclasses import replace

import torch
from jaxtyping import Int64
from torch import Tensor

from rgm.data.images import ImageSet
from rgm.errors import RGMError

HIDDEN = -1
"""The label of an image with a class hidden from training."""


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
