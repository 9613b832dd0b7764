"""A set of images in memory, and its splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from rgm.runtime.brief import Brief

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True, repr=False)
class ImageSet(Brief):
    """Images of one split as one uint8 tensor, with their labels where they have any.

    `labels` index `classes`, or are −1 where hidden from training; they are `None` and `()` for an unlabelled folder.
    `source` describes the origin of the images. `sha256` identifies the exact pixels of this split. `on_disk`: pixels
    are read from a file on access (`rgm.data.cache`).
    """

    name: str
    split: Split
    images: UInt8[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"] | None
    classes: tuple[str, ...]
    source: str
    sha256: str
    on_disk: bool = False

    def __len__(self) -> int:
        """Return the number of images."""
        return int(self.images.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width


def to_unit(images: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return bytes as float32 in [0, 1]."""
    return images.float().div_(255.0)


def moves(reach: int) -> list[tuple[int, int]]:
    """Return the moves, down and to the right, by up to `reach` pixels in all, that of no pixel first."""
    steps = range(-reach, reach + 1)
    found = [(down, right) for down in steps for right in steps if abs(down) + abs(right) <= reach]
    return sorted(found, key=lambda move: abs(move[0]) + abs(move[1]))


def moved(images: Tensor, which: Int64[Tensor, " n"], by: Sequence[tuple[int, int]]) -> Tensor:
    """Return images (n, channels, rows, columns), each moved by one of some moves, with replicated edges."""
    rows, columns = (torch.arange(side) for side in images.shape[2:])
    found = torch.empty_like(images)
    for number in which.unique().tolist():
        down, right = by[number]
        some = (which == number).nonzero().flatten()
        row, column = (rows - down).clamp(0, len(rows) - 1), (columns - right).clamp(0, len(columns) - 1)
        found[some] = images[some][:, :, row][:, :, :, column]
    return found


def in_colour(data: ImageSet) -> bool:
    """Return whether any of a set's first thousand images has a pixel that is not grey.

    Images in colour are natural ones, whose mirror images show the same class; of grey ones, letters and digits among
    them, this is not assumed.
    """
    some = data.images[:1000]
    return bool((some != some[:, :1]).any())


def one_of_each(data: ImageSet) -> Int64[Tensor, " examples"]:
    """Return the index of the first image of each class that occurs, or of the first ten images without classes."""
    if data.labels is None:
        return torch.arange(min(10, len(data)))
    firsts = [(data.labels == label).nonzero().flatten()[:1] for label in range(len(data.classes))]
    return torch.cat(firsts)
