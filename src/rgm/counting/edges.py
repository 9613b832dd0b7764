"""Pixels and oriented edges as the observed symbols of a tree."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rgm.errors import RGMError

ORIENTATIONS = 8
STEP = 2
"""Pixels between the positions of edges."""
STEEP = 0.15
"""Least gradient of an edge, in grey range over two pixels."""
REACH = 3
"""Radius in pixels of an edge symbol's receptive field: spread, gradient and smoothing, one each."""

Images = Float[Tensor, "n channels rows columns"]


@dataclass(frozen=True)
class PixelsAndEdges:
    """Symbols of cells of `side × side` pixels: binary pixels, and the presence of oriented edges.

    A symbol is a probability in [0, 1] of being on: a pixel's is its grey value. An edge of one of eight orientations
    is on at a position, every second pixel, where the smoothed image has a gradient of that direction there or one
    pixel away; this spread makes edges robust to small shifts (Amit and Trouvé 2007). A cell has `channels · side²`
    pixels and `8 · (side / 2)²` edges, in this order.
    """

    image: tuple[int, int, int]
    side: int = 4

    def __post_init__(self) -> None:
        """Raise RGMError for cells of an odd side, or cells that do not tile the image."""
        if self.side % STEP:
            raise RGMError(f"a cell's side is an even number of pixels, but {self.side} were requested")
        _, height, width = self.image
        if height % self.side or width % self.side:
            near = [max(1, round(edge / self.side)) * self.side for edge in (height, width)]
            raise RGMError(
                f"the cells have {self.side} × {self.side} pixels, and {height} × {width} does not divide by "
                f"{self.side}: resize to {near[0]} × {near[1]} (--size)"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return self.image[1] // self.side, self.image[2] // self.side

    @property
    def pixels(self) -> int:
        """Number of a cell's pixels, all channels."""
        return self.image[0] * self.side**2

    @property
    def edges(self) -> int:
        """Number of a cell's edges."""
        return ORIENTATIONS * (self.side // STEP) ** 2

    @property
    def count(self) -> int:
        """Number of a cell's symbols."""
        return self.pixels + self.edges

    def read(self, images: Images) -> Float[Tensor, "cells n symbols"]:
        """Return the symbols of every cell, row by row."""
        edges = self._cells(self._edges(images.mean(dim=1)), self.side // STEP)
        return torch.cat([self.read_pixels(images), edges], dim=2)

    def read_pixels(self, images: Images) -> Float[Tensor, "cells n pixels"]:
        """Return the pixels of every cell, without edges."""
        return self._cells(images, self.side)

    def visible_symbols(self, visible: Bool[Tensor, "n rows columns"]) -> Float[Tensor, "cells n symbols"]:
        """Return 1 for each symbol that is determined by visible pixels, else 0."""
        pixels = visible[:, None].expand(-1, self.image[0], -1, -1).float()
        hidden = torch.nn.functional.max_pool2d((~visible)[:, None].float(), 2 * REACH + 1, 1, REACH)
        edges = (1 - hidden[..., 1::STEP, 1::STEP]).expand(-1, ORIENTATIONS, -1, -1)
        return torch.cat([self._cells(pixels, self.side), self._cells(edges, self.side // STEP)], dim=2)

    def decode(self, pixels: Float[Tensor, "cells n pixels"]) -> Images:
        """Return the images with these pixels in their cells."""
        (channels, rows, columns), side = self.image, self.side
        height, width = self.grid
        tiles = pixels.unflatten(2, (channels, side, side)).unflatten(0, (height, width))
        return tiles.permute(2, 3, 0, 4, 1, 5).reshape(-1, channels, rows, columns)

    def _cells(self, planes: Float[Tensor, "n planes rows columns"], side: int) -> Tensor:
        height, width = self.grid
        tiles = planes.unflatten(3, (width, side)).unflatten(2, (height, side))
        return tiles.permute(2, 4, 0, 1, 3, 5).reshape(height * width, len(planes), -1)

    def _edges(self, grey: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n orientations down across"]:
        padded = torch.nn.functional.pad(grey[:, None], (1, 1, 1, 1), mode="replicate")
        smooth = (grey + torch.nn.functional.avg_pool2d(padded, 3, 1)[:, 0]) / 2
        across, down = torch.zeros_like(smooth), torch.zeros_like(smooth)
        across[:, :, 1:-1] = smooth[:, :, 2:] - smooth[:, :, :-2]
        down[:, 1:-1] = smooth[:, 2:] - smooth[:, :-2]
        wide, tall = across.abs(), down.abs()
        steep = across.square() + down.square() > STEEP**2
        slope = math.tan(math.pi / ORIENTATIONS)
        level, upright = steep & (tall < slope * wide), steep & (wide <= slope * tall)
        slanted = steep & ~level & ~upright
        right, below = across > 0, down > 0
        found = torch.stack(
            [
                level & right,
                slanted & right & below,
                upright & below,
                slanted & ~right & below,
                level & ~right,
                slanted & ~right & ~below,
                upright & ~below,
                slanted & right & ~below,
            ],
            dim=1,
        )
        return _spread(_spread(found, 2), 3).to(grey.dtype)


def _spread(found: Bool[Tensor, "n planes rows columns"], axis: int) -> Tensor:
    """Return, for every second position along an axis, whether anything is found there or one position away."""
    size = found.shape[axis]
    middle = found.narrow(axis, 1, size - 1)
    places = middle.unfold(axis, 1, STEP)[..., 0]
    before = found.unfold(axis, 1, STEP)[..., 0].narrow(axis, 0, places.shape[axis])
    after = torch.zeros_like(places)
    if size > STEP:
        rest = found.narrow(axis, 2, size - 2).unfold(axis, 1, STEP)[..., 0]
        after.narrow(axis, 0, rest.shape[axis]).copy_(rest)
    return places | before | after
