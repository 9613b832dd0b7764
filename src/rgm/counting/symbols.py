"""The leaves of a configuration, and the paper's symbols as leaves."""

import torch
from torch import Tensor

from rgm.counting.config import PixelValues, RankedSymbols, Shape, SymbolConfig
from rgm.counting.edges import PixelsAndEdges
from rgm.counting.leaves import Images, Leaves
from rgm.counting.ranked import LEVELS, MODES, TILES, RankedPatches
from rgm.counting.tree import Grid
from rgm.counting.values import PixelLeaves
from rgm.errors import RGMError
from rgm.model.receptive import Box


class _RankedLeaves(Leaves):
    """The paper's symbols as leaves: 2 × 2 tiles per group, 16 variates per tile, 7 levels each."""

    def __init__(self, image: Shape) -> None:
        super().__init__()
        self.patches = RankedPatches(image)
        self.grid, self.variates, self.levels = (TILES // 2, TILES // 2), 4 * MODES, LEVELS

    def exists(self) -> Tensor:
        return _grouped(self.patches.exists[None])[:, 0]

    def fit(self, images: Images) -> None:
        self.patches.fit(images)

    def read(self, images: Images) -> Tensor:
        place = _grouped(self.patches.symbols(images))
        levels = torch.arange(1, self.levels, device=place.device)
        return (place[..., None] == levels).flatten(2).to(images.dtype)

    def visible_symbols(self, visible: Tensor) -> Tensor:  # noqa: ARG002 - none is
        raise RGMError(
            "the paper's symbols follow from the whole image, whose pixels are ranked: none is left where some are "
            "hidden; the preset counting completes images"
        )

    def appearance(self, shares: Tensor) -> Tensor:
        values = _grouped(self.patches.values.movedim(3, 0))  # (groups, levels, variates)
        return torch.einsum("gkvl,glv->gkv", shares, values.to(shares.dtype))

    def decode(self, appearance: Tensor) -> Tensor:
        tiles = appearance.unflatten(2, (2, 2, MODES)).unflatten(0, self.grid)
        return self.patches.decode(tiles.permute(2, 0, 3, 1, 4, 5).reshape(-1, TILES, TILES, MODES))

    def field(self, row: int, column: int) -> Box:
        return self.patches.field(2 * row, 2 * column, tiles=2)


def leaves(config: SymbolConfig, image: Shape, grid: Grid) -> Leaves:
    """Return the leaves of a configuration; `grid` is that of z_1, which pixel values are divided among."""
    match config:
        case RankedSymbols():
            return _RankedLeaves(image)
        case PixelValues():
            return PixelLeaves(image, grid, config.values)
        case _:
            return PixelsAndEdges(image, config.side, pixel_weight=config.pixel_weight, edge_weight=config.edge_weight)


def _grouped(tiles: Tensor) -> Tensor:
    """Return values of tiles (n, down, across, modes) by groups of 2 × 2: (groups, n, 4 · modes)."""
    n, down, across, modes = tiles.shape
    groups = tiles.reshape(n, down // 2, 2, across // 2, 2, modes)
    return groups.permute(1, 3, 0, 2, 4, 5).reshape(down // 2 * (across // 2), n, 4 * modes)
