"""Pixels and oriented edges as the observed symbols of a tree."""

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from rgm.counting.config import Shape
from rgm.counting.leaves import Images, Leaves
from rgm.errors import RGMError
from rgm.model.receptive import Box

ORIENTATIONS = 8
STEP = 2
"""Pixels between the positions of edges."""
STEEP = 0.15
"""Least gradient of an edge, in grey range over two pixels."""
REACH = 3
"""Radius in pixels of an edge symbol's receptive field: spread, gradient and smoothing, one each."""


class PixelsAndEdges(Leaves):
    """Symbols of cells of `side × side` pixels: binary pixels, and the presence of oriented edges.

    A symbol is a probability in [0, 1] of being on: a pixel's is its grey value. An edge of one of eight orientations
    is on at a position, every second pixel, where the smoothed image has a gradient of that direction there or one
    pixel away; this spread makes edges robust to small shifts (Amit and Trouvé 2007). A cell has `channels · side²`
    pixels and `8 · (side / 2)²` edges, in this order, `count` together. Groups are the cells.
    """

    levels = 2
    disjoint = True

    def __init__(self, image: Shape, side: int = 4, *, pixel_weight: float = 1.0, edge_weight: float = 1.0) -> None:
        """Raise RGMError for cells of an odd side, or cells that do not tile the image."""
        super().__init__()
        if side % STEP:
            raise RGMError(f"a cell's side is an even number of pixels, but {side} were requested")
        channels, height, width = image
        if height % side or width % side:
            near = [max(1, round(edge / side)) * side for edge in (height, width)]
            raise RGMError(
                f"the cells have {side} × {side} pixels, and {height} × {width} does not divide by {side}: resize to "
                f"{near[0]} × {near[1]} (--size)"
            )
        self.image, self.side, self.grid = image, side, (height // side, width // side)
        self.pixels, self.edges = channels * side**2, ORIENTATIONS * (side // STEP) ** 2
        self.count = self.variates = self.pixels + self.edges
        self.pixel_weight, self.edge_weight = pixel_weight, edge_weight

    def weights(self) -> Float[Tensor, " variates"]:
        """Return the weights of pixels and edges for inference of codes and the class."""
        return torch.tensor([self.pixel_weight] * self.pixels + [self.edge_weight] * self.edges)

    def likelihood_weights(self) -> Float[Tensor, " variates"]:
        """Return 1 for pixels and 0 for edges: the probability of an image is that of its pixels."""
        return (torch.arange(self.variates) < self.pixels).float()

    def read(self, images: Images) -> Float[Tensor, "cells n symbols"]:
        """Return the symbols of every cell, row by row."""
        return torch.cat([self.read_pixels(images), self._edges(images.mean(dim=1))], dim=2)

    def read_pixels(self, images: Images) -> Float[Tensor, "cells n pixels"]:
        """Return the pixels of every cell, without edges."""
        return self._cells(images, self.side)

    def visible_symbols(self, visible: Bool[Tensor, "n rows columns"]) -> Float[Tensor, "cells n symbols"]:
        """Return 1 for each symbol that is determined by visible pixels, else 0."""
        pixels = visible[:, None].expand(-1, self.image[0], -1, -1).float()
        hidden = torch.nn.functional.max_pool2d((~visible)[:, None].float(), 2 * REACH + 1, 1, REACH)
        edges = (1 - hidden[..., 1::STEP, 1::STEP]).expand(-1, ORIENTATIONS, -1, -1)
        return torch.cat([self._cells(pixels, self.side), self._cells(edges, self.side // STEP)], dim=2)

    def appearance(self, shares: Float[Tensor, "cells states symbols 2"]) -> Float[Tensor, "cells states pixels"]:
        """Return the mean pixels of every state."""
        return shares[:, :, : self.pixels, 1]

    def field(self, row: int, column: int) -> Box:
        """Return the pixels of a cell."""
        return Box.of(row, column, self.side, self.side)

    def decode(self, pixels: Float[Tensor, "cells n pixels"]) -> Images:
        """Return the images with these pixels in their cells."""
        (channels, rows, columns), side = self.image, self.side
        height, width = self.grid
        tiles = pixels.unflatten(2, (channels, side, side)).unflatten(0, (height, width))
        return tiles.permute(2, 3, 0, 4, 1, 5).reshape(-1, channels, rows, columns)

    def _cells(self, planes: Shaped[Tensor, "n planes rows columns"], side: int) -> Tensor:
        height, width = self.grid
        tiles = planes.unflatten(3, (width, side)).unflatten(2, (height, side))
        return tiles.permute(2, 4, 0, 1, 3, 5).reshape(height * width, len(planes), -1)

    def _edges(self, grey: Float[Tensor, "n rows columns"]) -> Float[Tensor, "cells n edges"]:
        """Return the edges of every cell, one orientation after another; until then an orientation is a bit."""
        padded = torch.nn.functional.pad(grey[:, None], (1, 1, 1, 1), mode="replicate")
        smooth = (grey + torch.nn.functional.avg_pool2d(padded, 3, 1)[:, 0]) / 2
        across, down = torch.zeros_like(smooth), torch.zeros_like(smooth)
        across[:, :, 1:-1] = smooth[:, :, 2:] - smooth[:, :, :-2]
        down[:, 1:-1] = smooth[:, 2:] - smooth[:, :-2]
        wide, tall, slope = across.abs(), down.abs(), math.tan(math.pi / ORIENTATIONS)
        right, below = (across > 0).byte(), (down > 0).byte()
        slanted = torch.where(below > 0, 3 - 2 * right, 5 + 2 * right)
        upright = torch.where(wide <= slope * tall, 6 - 4 * below, slanted)
        orientation = torch.where(tall < slope * wide, 4 - 4 * right, upright)
        found = (across.square() + down.square() > STEEP**2).byte() << orientation
        # At every second position: there, before or after it.
        found = torch.nn.functional.pad(found, (0, 1, 0, 1))
        found = found[:, :-1:STEP] | found[:, 1::STEP] | found[:, 2::STEP]
        found = found[..., :-1:STEP] | found[..., 1::STEP] | found[..., 2::STEP]
        bits = 1 << torch.arange(ORIENTATIONS, dtype=torch.uint8, device=grey.device)
        here = self._cells(found[:, None], self.side // STEP)
        return (here[:, :, None] & bits[:, None]).ne(0).flatten(2).to(grey.dtype)
