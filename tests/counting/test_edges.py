"""Pixels and oriented edges against plain loops over positions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rgm.counting.edges import ORIENTATIONS, REACH, STEEP, PixelsAndEdges
from rgm.errors import RGMError


def made(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def edges_of(cells: PixelsAndEdges, images: Tensor) -> Tensor:
    """Return the edges alone as (n, orientations, rows, columns)."""
    rows, columns = cells.grid
    half = cells.side // 2
    symbols = cells.read(images)[:, :, cells.pixels :].unflatten(2, (ORIENTATIONS, half, half))
    tiles = symbols.unflatten(0, (rows, columns)).permute(2, 3, 0, 4, 1, 5)
    return tiles.reshape(len(images), ORIENTATIONS, rows * half, columns * half)


def brute(grey: list[list[float]]) -> list[list[set[int]]]:
    """Return the orientations at every second position of one image, counted by eighths of a turn from the right."""
    rows, columns = len(grey), len(grey[0])

    def at(row: int, column: int) -> float:
        return grey[min(max(row, 0), rows - 1)][min(max(column, 0), columns - 1)]

    def smooth(row: int, column: int) -> float:
        near = [at(row + down, column + across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
        return (at(row, column) + sum(near) / 9) / 2

    def found(row: int, column: int) -> int | None:
        inside_columns, inside_rows = 0 < column < columns - 1, 0 < row < rows - 1
        across = smooth(row, column + 1) - smooth(row, column - 1) if inside_columns else 0.0
        down = smooth(row + 1, column) - smooth(row - 1, column) if inside_rows else 0.0
        if across**2 + down**2 <= STEEP**2:
            return None
        return round(math.atan2(down, across) / (math.pi / 4)) % ORIENTATIONS

    each = [[found(row, column) for column in range(columns)] for row in range(rows)]
    return [
        [
            {
                each[near][across]
                for near in range(row - 1, row + 2)
                for across in range(column - 1, column + 2)
                if near < rows and across < columns
            }
            - {None}
            for column in range(1, columns, 2)
        ]
        for row in range(1, rows, 2)
    ]


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([2, 4, 6]), st.integers(1, 3), st.integers(0, 999))
def test_edges_are_where_the_gradient_is_steep(down: int, across: int, side: int, channels: int, seed: int) -> None:
    cells = PixelsAndEdges((channels, down * side, across * side), side)
    images = made(2, channels, down * side, across * side, seed=seed)
    found = edges_of(cells, images)
    assert set(found.unique().tolist()) <= {0.0, 1.0}
    for image, planes in zip(images.mean(dim=1), found, strict=True):
        expected = brute(image.tolist())
        for row, places in enumerate(expected):
            for column, orientations in enumerate(places):
                assert set(planes[:, row, column].nonzero().flatten().tolist()) == orientations


@pytest.mark.parametrize("turn", range(4))
def test_a_straight_border_has_one_orientation(turn: int) -> None:
    cells = PixelsAndEdges((1, 8, 8))
    image = torch.zeros(1, 1, 8, 8)
    image[..., 4:] = 1
    found = edges_of(cells, image.rot90(-turn, (2, 3)))[0]  # brighter to the right, below, to the left, above
    on = found.flatten(1).any(dim=1).nonzero().flatten().tolist()
    assert on == [2 * turn]
    assert found.sum() == 12  # three positions wide, four long


def test_a_slanted_border_is_slanted() -> None:
    rows, columns = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    image = (rows + columns > 11).float()[None, None]
    found = edges_of(PixelsAndEdges((1, 12, 12)), image)[0]
    inside = found[:, 1:-1, 1:-1]  # on the image's own border, half the gradient is missing
    assert inside.flatten(1).any(dim=1).nonzero().flatten().tolist() == [1]


@pytest.mark.parametrize("grey", [0.0, 0.4, 1.0])
def test_a_constant_image_has_no_edges(grey: float) -> None:
    cells = PixelsAndEdges((3, 8, 12))
    symbols = cells.read(torch.full((2, 3, 8, 12), grey))
    assert symbols.shape == (6, 2, cells.count)
    assert (cells.pixels, cells.edges, cells.count) == (48, 32, 80)
    assert not symbols[:, :, cells.pixels :].any()
    assert bool((symbols[:, :, : cells.pixels] == grey).all())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12), (1, 28, 28)])
def test_decoding_inverts_encoding(shape: tuple[int, int, int]) -> None:
    cells, images = PixelsAndEdges(shape), made(5, *shape)
    assert torch.equal(cells.decode(cells.read_pixels(images)), images)
    assert torch.equal(cells.read(images)[:, :, : cells.pixels], cells.read_pixels(images))
    corner = cells.read_pixels(images)[cells.grid[1] + 1, 2]  # the cell in the second row and column
    assert torch.equal(corner, images[2, :, 4:8, 4:8].flatten())


def test_visible_symbols_do_not_depend_on_hidden_pixels(generator: torch.Generator) -> None:
    cells = PixelsAndEdges((1, 16, 16))
    images = made(1, 1, 16, 16)
    for _ in range(30):
        row, column = torch.randint(16, (2,), generator=generator).tolist()
        visible = torch.ones(1, 16, 16, dtype=torch.bool)
        visible[:, row, column] = False
        other = images.clone()
        other[0, 0, row, column] = 1 - other[0, 0, row, column]
        seen = cells.visible_symbols(visible)
        changed = cells.read(images) != cells.read(other)
        assert not (changed & (seen == 1)).any()
        assert seen[:, :, : cells.pixels].sum() == 255


def test_symbols_are_visible_up_to_their_reach() -> None:
    """An edge is hidden by pixels within REACH of its position, and by no other."""
    cells = PixelsAndEdges((2, 16, 16))
    visible = torch.ones(1, 16, 16, dtype=torch.bool)
    visible[:, 5, 12] = False
    seen = cells.visible_symbols(visible)[:, 0, cells.pixels :].unflatten(1, (ORIENTATIONS, 2, 2))
    places = seen.unflatten(0, (4, 4)).permute(2, 0, 3, 1, 4).reshape(ORIENTATIONS, 8, 8)
    for row in range(8):
        for column in range(8):
            far = max(abs(2 * row + 1 - 5), abs(2 * column + 1 - 12)) > REACH
            assert bool((places[:, row, column] == far).all())
    assert cells.visible_symbols(visible)[:, :, : cells.pixels].sum() == 2 * 255
    assert bool((cells.visible_symbols(torch.ones_like(visible)) == 1).all())
    assert not cells.visible_symbols(torch.zeros_like(visible)).any()


def test_errors() -> None:
    with pytest.raises(RGMError, match="does not divide by 4: resize to 8 × 12"):
        PixelsAndEdges((1, 9, 11))
    with pytest.raises(RGMError, match="even number of pixels, but 3"):
        PixelsAndEdges((1, 9, 9), 3)
