"""8-bit pixels as leaves: each channel of each pixel a categorical variable, given the state of its cell."""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rgm.counting.config import Shape
from rgm.counting.leaves import Images, Leaves
from rgm.counting.tree import Grid, parents
from rgm.errors import RGMError
from rgm.model.receptive import Box


class PixelLeaves(Leaves):
    """The pixels of every cell of a grid, each channel one of `levels` evenly spaced values from 0 to 1.

    A pixel belongs to the nearest cell, so that the grid need not divide the image: cells then have unequal numbers of
    pixels, and `exists` says which of a cell's `variates` it has. A symbol is the number of the value, 0 … levels − 1,
    nearest to the pixel's: 0 … 255 for 8-bit pixels.
    """

    disjoint = True
    place: Int64[Tensor, "cells variates"]
    known: Bool[Tensor, "cells variates"]

    def __init__(self, image: Shape, grid: Grid, levels: int = 256) -> None:
        """Raise RGMError for a grid that is larger than the image."""
        super().__init__()
        channels, height, width = image
        if grid[0] > height or grid[1] > width:
            raise RGMError(
                f"a cell has at least one pixel, but a grid of {grid[0]} × {grid[1]} has more cells than an image of "
                f"{height} × {width}: enlarge the images (--size)"
            )
        self.image, self.grid, self.levels = image, grid, levels
        with torch.device("cpu"):  # also where a model is built for its shapes alone
            place, known = _shared((height, width), grid, channels)
        self.variates = place.shape[1]
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("known", known, persistent=False)

    def exists(self) -> Bool[Tensor, "cells variates"]:
        """Return which pixels each cell has."""
        return self.known

    def read(self, images: Images) -> Int64[Tensor, "cells n variates"]:
        """Return the number of the value of every pixel, by cells."""
        numbers = (images * (self.levels - 1)).round_().long().flatten(1)
        return numbers.T[self.place].transpose(1, 2).contiguous()

    def visible_symbols(self, visible: Bool[Tensor, "n rows columns"]) -> Float[Tensor, "cells n variates"]:
        """Return 1 for every visible pixel, else 0."""
        shown = visible[:, None].expand(-1, self.image[0], -1, -1).flatten(1)
        return shown.T[self.place].transpose(1, 2).float()

    def appearance(self, shares: Float[Tensor, "cells states variates levels"]) -> Float[Tensor, "cells states pixels"]:
        """Return the mean pixels of every state."""
        greys = torch.linspace(0, 1, self.levels, dtype=shares.dtype, device=shares.device)
        return shares @ greys

    def decode(self, appearance: Float[Tensor, "cells n pixels"]) -> Images:
        """Return the images with these pixels in their cells."""
        n = appearance.shape[1]
        images = appearance.new_empty(math.prod(self.image), n)
        images[self.place[self.known]] = appearance.transpose(1, 2)[self.known]
        return images.T.reshape(n, *self.image)

    def image_of(self, numbers: Int64[Tensor, "cells n variates"]) -> Images:
        """Return the images with these values, the inverse of `read`."""
        return self.decode(numbers.to(torch.float32) / (self.levels - 1))

    def field(self, row: int, column: int) -> Box:
        """Return the pixels of a cell."""
        _, height, width = self.image
        edges = []
        for place, fine, coarse in ((row, height, self.grid[0]), (column, width, self.grid[1])):
            own = ((2 * torch.arange(fine) + 1) * coarse // (2 * fine) == place).nonzero().flatten()
            edges.append((int(own[0]), int(own[-1]) + 1))
        (top, bottom), (left, right) = edges
        return Box(top=top, bottom=bottom, left=left, right=right)


def _shared(
    size: Grid, grid: Grid, channels: int
) -> tuple[Int64[Tensor, "cells variates"], Bool[Tensor, "cells variates"]]:
    """Return the places of every cell's pixels in the image, and which of them it has."""
    cell = parents(size, grid).repeat(channels)
    count = cell.bincount(minlength=math.prod(grid))
    steps = torch.arange(int(count.max()))
    start = count.cumsum(0) - count
    place = cell.argsort(stable=True)[(start[:, None] + steps).clamp_max(len(cell) - 1)]
    return place, steps < count[:, None]
