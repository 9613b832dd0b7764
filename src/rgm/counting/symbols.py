"""The leaves of a tree: images to symbols of groups, and symbols to images."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rgm.counting.config import PixelSymbols, RankedSymbols, SymbolConfig
from rgm.counting.edges import PixelsAndEdges
from rgm.counting.ranked import RankedPatches
from rgm.errors import RGMError
from rgm.model.receptive import Box

Images = Float[Tensor, "n channels rows columns"]
Shape = tuple[int, int, int]


class Leaves(nn.Module, ABC):
    """Symbols of a grid of groups: `variates` a group, each in one of `levels`."""

    grid: tuple[int, int]
    variates: int
    levels: int
    disjoint = False
    """Whether groups decode to disjoint pixels."""

    @abstractmethod
    def weights(self) -> Float[Tensor, " variates"]:
        """Return each variate's weight for inference of codes and the class."""

    @abstractmethod
    def likelihood_weights(self) -> Float[Tensor, " variates"]:
        """Return each variate's weight in the probability of an image: 1, or 0 where it is not part of it."""

    @abstractmethod
    def exists(self) -> Bool[Tensor, "groups variates"]:
        """Return which variates exist in each group."""

    def fit(self, images: Images) -> None:
        """Fit the parameters of the symbols, if there are any."""

    @abstractmethod
    def read(self, images: Images) -> Float[Tensor, "groups n symbols"]:
        """Return the probability of every level but the first, for every variate of every group."""

    @abstractmethod
    def visible_symbols(self, visible: Bool[Tensor, "n rows columns"]) -> Float[Tensor, "groups n variates"]:
        """Return 1 for each variate that is determined by visible pixels, else 0; raise RGMError where none is."""

    @abstractmethod
    def appearance(
        self, shares: Float[Tensor, "groups states variates levels"]
    ) -> Float[Tensor, "groups states features"]:
        """Return the appearance of every state, as `decode` takes it."""

    @abstractmethod
    def decode(self, appearance: Float[Tensor, "groups n features"]) -> Images:
        """Return the mean images of groups of this appearance."""

    @abstractmethod
    def field(self, row: int, column: int) -> Box:
        """Return the pixels that a group can change."""


class _PixelLeaves(Leaves):
    """Pixels and edges as leaves: two levels, off and on."""

    levels = 2
    disjoint = True

    def __init__(self, config: PixelSymbols, image: Shape) -> None:
        super().__init__()
        self.config, self.cells = config, PixelsAndEdges(image, config.side)
        self.grid, self.variates = self.cells.grid, self.cells.count

    def weights(self) -> Tensor:
        pixels, edges = (
            torch.full((count,), weight)
            for count, weight in (
                (self.cells.pixels, self.config.pixel_weight),
                (self.cells.edges, self.config.edge_weight),
            )
        )
        return torch.cat([pixels, edges])

    def likelihood_weights(self) -> Tensor:
        return (torch.arange(self.variates) < self.cells.pixels).float()

    def exists(self) -> Tensor:
        return torch.ones(self.grid[0] * self.grid[1], self.variates, dtype=torch.bool)

    def read(self, images: Images) -> Tensor:
        return self.cells.read(images)

    def visible_symbols(self, visible: Tensor) -> Tensor:
        return self.cells.visible_symbols(visible)

    def appearance(self, shares: Tensor) -> Tensor:
        return shares[:, :, : self.cells.pixels, 1]

    def decode(self, appearance: Tensor) -> Tensor:
        return self.cells.decode(appearance)

    def field(self, row: int, column: int) -> Box:
        return Box.of(row, column, self.config.side, self.config.side)


class _RankedLeaves(Leaves):
    """The paper's symbols as leaves: 2 × 2 tiles per group, 16 variates per tile, 7 levels each."""

    def __init__(self, image: Shape) -> None:
        super().__init__()
        self.patches = RankedPatches(image)
        tiles, _, modes, levels = self.patches.values.shape
        self.grid, self.levels = (tiles // 2, tiles // 2), levels
        self.variates = 4 * modes

    def weights(self) -> Tensor:
        return torch.ones(self.variates)

    def likelihood_weights(self) -> Tensor:
        return self.weights()

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
        rows, columns = self.grid
        modes = self.variates // 4
        tiles = appearance.unflatten(2, (2, 2, modes)).unflatten(0, (rows, columns))
        return self.patches.decode(tiles.permute(2, 0, 3, 1, 4, 5).reshape(-1, 2 * rows, 2 * columns, modes))

    def field(self, row: int, column: int) -> Box:
        corners = [self.patches.field(2 * row + down, 2 * column + across) for down in (0, 1) for across in (0, 1)]
        tops, bottoms, lefts, rights = zip(*corners, strict=True)
        return Box(top=min(tops), bottom=max(bottoms), left=min(lefts), right=max(rights))


def leaves(config: SymbolConfig, image: Shape) -> Leaves:
    """Return the leaves of a configuration."""
    match config:
        case PixelSymbols():
            return _PixelLeaves(config, image)
        case RankedSymbols():
            return _RankedLeaves(image)


def _grouped(tiles: Tensor) -> Tensor:
    """Return values of tiles (n, down, across, modes) by groups of 2 × 2: (groups, n, 4 · modes)."""
    n, down, across, modes = tiles.shape
    groups = tiles.reshape(n, down // 2, 2, across // 2, 2, modes)
    return groups.permute(1, 3, 0, 2, 4, 5).reshape(down // 2 * (across // 2), n, 4 * modes)
