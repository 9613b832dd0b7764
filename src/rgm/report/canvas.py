"""Helpers shared by the figures: sizes, images without ticks, outlines, class names that the font can show."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from rgm.model.receptive import Box
from rgm.report.mosaic import Image, mosaic, pixels_of
from rgm.report.palette import INK, QUIET, RULE

WIDTH = 7.6
"""Inches; all figures have this width, so that equal font sizes are equal on the page."""
TITLE, LABEL, SMALL = 9.0, 8.0, 7.0
"""Font sizes, in points."""
FONT = "DejaVu Sans"
"""Comes with matplotlib, so that figures are equal on every machine."""


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty white figure with a compressed layout; sizes are in inches."""
    return Figure(figsize=(width, height), layout="compressed", facecolor="white")


def show(axes: Axes, image: Image, title: str = "") -> None:
    """Draw an image without ticks, in grey or in colour."""
    draw(axes, pixels_of(image))
    bare(axes, title)


def draw(axes: Axes, pixels: NDArray[np.float32], **style: Any) -> None:
    """Draw pixels, (rows, columns, channels) in [0, 1], in grey or in colour."""
    axes.imshow(pixels if pixels.shape[2] == 3 else pixels[:, :, 0], cmap="gray", vmin=0, vmax=1, **style)


def bare(axes: Axes, title: str = "") -> None:
    """Remove ticks and frame, and set a title."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=TITLE, color=INK, pad=5)


def framed(axes: Axes) -> None:
    """Draw a thin frame around an image whose background is as white as the page."""
    axes.spines[:].set(visible=True, color=RULE, linewidth=0.8)


def write(axes: Axes, x: float, y: float, text: str, size: float, colour: str = INK, **style: Any) -> None:
    """Write a text centred at a point, where `style` does not say otherwise."""
    axes.text(x, y, text, fontsize=size, color=colour, **{"ha": "center", "va": "center"} | style)


def colour_bar(figure: Figure, drawn: AxesImage, label: str, size: float, **place: Any) -> Colorbar:
    """Draw the scale of a map's colours."""
    bar = figure.colorbar(drawn, **place)
    bar.ax.tick_params(labelsize=SMALL, length=2, colors=QUIET)
    bar.outline.set_edgecolor(RULE)
    bar.set_label(label, fontsize=size, color=QUIET)
    return bar


def plain(axes: Axes, *hidden: str) -> None:
    """Style the axes of a chart, without tick marks, and hide the named sides of its frame."""
    for side in hidden:
        axes.spines[side].set_visible(False)
    axes.spines[:].set(color=QUIET, linewidth=0.8)
    axes.tick_params(which="both", length=0, colors=QUIET, labelsize=SMALL)


def outline(axes: Axes, box: Box, **style: Any) -> Rectangle:
    """Draw the border of a rectangle of pixels."""
    corner = (box.left - 0.5, box.top - 0.5)
    drawn = Rectangle(corner, box.right - box.left, box.bottom - box.top, fill=False, **style)
    axes.add_patch(drawn)
    return drawn


def show_rows(
    tiles: Float[Tensor, "down across channels rows columns"],
    names: Sequence[str],
    *,
    gap: int,
    widest: float,
    margin: float = 1.1,
    room: float = 0.1,
) -> tuple[Figure, Axes]:
    """Return a new figure with rows of images and a name for each, and its axes.

    An image is at most `widest` inches wide; beside them are `margin` inches, below and above `room`.
    """
    rows = tiles.shape[3]
    canvas = mosaic(tiles, gap)
    width = min(WIDTH - margin, widest * tiles.shape[1])
    figure = new_figure(width * canvas.shape[0] / canvas.shape[1] + room, width + margin)
    axes = figure.subplots()
    draw(axes, canvas)
    bare(axes)
    middles = [row * (rows + gap) + rows / 2 - 0.5 for row in range(len(tiles))]
    axes.set_yticks(middles, names, fontsize=TITLE, color=INK)
    axes.tick_params(length=0)
    return figure, axes


def drawable(classes: Sequence[str], count: int, length: int) -> list[str]:
    """Return a name for each of `count` concepts that fits a figure.

    A name of more than `length` characters is cut, and numbered if another name is then equal; a name that the
    figure's font cannot show becomes "no. 3"; without classes, the names are numbers.
    """
    if not classes:
        return [str(index) for index in range(count)]
    names = [name if all(map(_has, name)) else f"no. {index}" for index, name in enumerate(classes)]
    cut = [_cut(name, length) for name in names]
    return [
        short if cut.count(short) == 1 else _cut(f"{index} {name}", length)
        for index, (short, name) in enumerate(zip(cut, names, strict=True))
    ]


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def verbatim(text: str) -> str:
    """Return a text with dollar signs escaped, so that matplotlib reads no formula in it."""
    return text.replace("$", r"\$")


@lru_cache(maxsize=4096)
def _has(character: str) -> bool:
    return character.isprintable() and get_font(findfont(FONT)).get_char_index(ord(character)) != 0
