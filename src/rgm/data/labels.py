"""Few labels, and none: which of a set's labels a training may know."""

from dataclasses import replace

import torch

from rgm.data.images import ImageSet
from rgm.errors import RGMError

HIDDEN = -1
"""The label of an image whose class a training may not know."""


def few_labels(data: ImageSet, count: int, *, seed: int) -> ImageSet:
    """Return a set with all but `count` of its labels hidden, the known ones balanced over the classes.

    Classes differ by one at most where `count` is not a multiple of their number; which images are known is drawn
    from the seed. Raises RGMError for a set without labels, or a count that cannot be had.
    """
    if data.labels is None:
        raise RGMError(
            f"{count} labels were asked for, but {data.source} has none: leave --labels out, or give 0"
        )
    if count < 0:
        raise RGMError(f"the number of labels must be 0 or more, but is {count}")
    classes = len(data.classes)
    sizes = torch.bincount(data.labels, minlength=classes)
    most = int(sizes.min()) * classes
    if 0 < count < classes or count > most:
        raise RGMError(
            f"{count} labels, balanced over {classes} classes, cannot be had from {data.source}: its smallest class "
            f"has {int(sizes.min())} training images, so that {classes} to {most} fit, or 0 for none"
        )
    generator = torch.Generator().manual_seed(seed)
    shares = torch.full((classes,), count // classes)
    shares[torch.randperm(classes, generator=generator)[: count % classes]] += 1
    labels = torch.full_like(data.labels, HIDDEN)
    for label, share in enumerate(shares.tolist()):
        members = (data.labels == label).nonzero().flatten()
        labels[members[torch.randperm(len(members), generator=generator)[:share]]] = label
    return replace(data, labels=labels)
