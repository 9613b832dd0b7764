"""From a drawing or a picture of any size to an image such as the model was trained on."""

import io

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from rgm.errors import RGMError

LARGEST_BYTES = 5_000_000
LARGEST_SIDE = 8_000
"""What an uploaded picture may have at most."""
_INK = 0.15
"""Grey from which on a pixel belongs to the drawing."""
_BODY = 20 / 28
"""Share of the image's side that the drawing's longer side takes up, as in MNIST."""


def decoded(content: bytes) -> NDArray[np.float32]:
    """Return an uploaded picture's grey values, (rows, columns) in [0, 1], bright on dark.

    Raises RGMError for what is no picture, or too large.
    """
    if len(content) > LARGEST_BYTES:
        raise RGMError(
            f"a picture may have {LARGEST_BYTES / 1e6:g} MB at most, but this has {len(content) / 1e6:.1f}"
        )
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if max(picture.size) > LARGEST_SIDE:
                raise RGMError(
                    f"a picture may have {LARGEST_SIDE:,} pixels a side at most, but this has {max(picture.size):,}"
                )
            grey = np.asarray(picture.convert("L"), dtype=np.float32) / np.float32(255)
    except RGMError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise RGMError("this is no picture that can be read: PNG and JPEG are") from None
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return np.float32(1) - grey if float(np.median(border)) > 0.5 else grey


def as_digit(grey: NDArray[np.float32], side: tuple[int, int]) -> Float[Tensor, "1 rows columns"]:
    """Return a drawing as MNIST's digits are: cut out, scaled into a box, its centre of mass in the middle.

    A drawing without ink is an empty image.
    """
    rows, columns = side
    inked = grey > _INK
    if not inked.any():
        return torch.zeros(1, rows, columns)
    down, across = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    cut = grey[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    scale = _BODY * min(side) / max(cut.shape)
    size = tuple(max(1, round(length * scale)) for length in cut.shape[::-1])
    small = Image.fromarray((cut * 255).astype(np.uint8)).resize(
        size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    )
    body = np.asarray(small, dtype=np.float32) / 255
    mass = body.sum()
    centre = [
        float((body.sum(axis=1 - axis) * (np.arange(body.shape[axis]) + 0.5)).sum() / mass) for axis in (0, 1)
    ]
    canvas = np.zeros(side, dtype=np.float32)
    top, left = (
        int(np.clip(round(whole / 2 - middle), 0, whole - length))
        for whole, middle, length in zip(side, centre, body.shape, strict=True)
    )
    canvas[top : top + body.shape[0], left : left + body.shape[1]] = body
    return torch.from_numpy(canvas)[None]
