"""Images side by side as one picture, pixel by pixel."""

from io import BytesIO

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

Image = Float[Tensor, "channels rows columns"]
LEAST = 56
"""The least side in pixels of an image in a picture."""


def pixels_of(image: Image) -> NDArray[np.float32]:
    """Return an image as pixels, (rows, columns, channels) in [0, 1]."""
    return image.clamp(0, 1).permute(1, 2, 0).numpy()


def mosaic(tiles: Float[Tensor, "down across channels rows columns"], gap: int) -> NDArray[np.float32]:
    """Return tiles side by side with white between them, (rows, columns, channels)."""
    down, across, channels, rows, columns = tiles.shape
    canvas = np.ones((down * (rows + gap) - gap, across * (columns + gap) - gap, channels), dtype=np.float32)
    for i in range(down):
        for j in range(across):
            top, left = i * (rows + gap), j * (columns + gap)
            canvas[top : top + rows, left : left + columns] = pixels_of(tiles[i, j])
    return canvas


def sheet_png(images: Float[Tensor, "n channels rows columns"], across: int) -> bytes:
    """Return images as one picture, `across` in a row, pixel by pixel, small ones enlarged to `LEAST` pixels a side."""
    scale = -(-LEAST // min(images.shape[2:]))
    sheet = mosaic(images.unflatten(0, (-1, across)), 1).repeat(scale, axis=0).repeat(scale, axis=1)
    drawn = Picture.fromarray((255 * sheet).round().astype(np.uint8).squeeze())
    stream, maker = BytesIO(), PngInfo()
    maker.add_text("Software", "rgm")  # by which a later command knows that it may replace it
    drawn.save(stream, "PNG", pnginfo=maker)
    return stream.getvalue()
