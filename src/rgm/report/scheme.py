"""A drawing of the hierarchy, with one image as an example at every level."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rgm.evaluation.abstraction import Abstraction
from rgm.evaluation.quantities import subscript
from rgm.report.canvas import LABEL, SMALL, TITLE, WIDTH, drawable, new_figure, verbatim, write
from rgm.report.mosaic import pixels_of
from rgm.report.palette import ACCENT, INK, QUIET, RULE, SECOND, grid_colours

_SLANT, _DEPTH, _RISE = 0.42, 0.36, 0.92
"""Slant and depth of a plane and the distance between two levels, in widths of a plane."""
_SQUARES = 12
"""The most concepts that are drawn as squares."""
Colours = NDArray[np.float64]


def scheme_figure(result: Abstraction, *, example: int | None = None) -> Figure:
    """Return the levels as planes over one another: an image, its grids of codes, its concept.

    One cell of each grid is outlined, with the region of the level below that it covers. The example is the fourth
    image, or the last if there are fewer.
    """
    chosen = min(3, len(result.images) - 1) if example is None else example
    pixels = pixels_of(result.images[chosen]).astype(np.float64)
    image = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    codes = [grid[chosen].numpy() for grid in result.inference.codes]
    grids = [colours[grid] for colours, grid in zip(grid_colours(result), codes, strict=True)]
    planes = [image, *grids]
    width = 0.68 * WIDTH
    figure = new_figure(width * (0.22 + 0.27 * len(planes)), width)
    axes = figure.subplots()
    for level, plane in enumerate(planes):
        _plane(axes, plane, level)
    for level in range(1, len(planes)):
        _cell(axes, planes[level], level)
    top = len(planes)
    _concept(axes, result, chosen, top)
    names = [f"image\n{image.shape[0]} × {image.shape[1]} pixels"]
    for level, grid in enumerate(grids, start=1):
        names.append(f"codes z{subscript(level)}\n{grid.shape[0]} × {grid.shape[1]} cells")
    for level, name in enumerate(names):
        write(axes, 1.52, level * _RISE + 0.18, name, LABEL, ha="left")
    concept = f"concept z{subscript(top)}\none of {result.inference.concept.shape[1]}"
    write(axes, 1.52, top * _RISE + 0.1, concept, LABEL, ha="left")
    height = top * _RISE + 0.1
    for x, low, high, colour, text in (
        (-0.28, 0.1, height, ACCENT, "recognition, bottom-up"),
        (2.35, height, 0.1, SECOND, "generation, top-down"),
    ):
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "mutation_scale": 13}
        axes.annotate("", (x, high), (x, low), arrowprops=arrow)
        side = -0.09 if x < 0 else 0.09
        write(axes, x + side, height / 2, text, LABEL, colour, rotation=90)
    axes.set_xlim(-0.5, 2.55)
    axes.set_ylim(-0.12, top * _RISE + 0.34)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return figure


def _corner(x: float, y: float, level: int) -> tuple[float, float]:
    """Return the drawing coordinates of a point of a plane; (0, 0) is its far left corner, (1, 1) its near right."""
    return x + _SLANT * (1 - y), level * _RISE + _DEPTH * (1 - y)


def _quad(left: float, top: float, right: float, bottom: float, level: int) -> list[tuple[float, float]]:
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return [_corner(x, y, level) for x, y in corners]


def _plane(axes: Axes, colours: Colours, level: int) -> None:
    rows, columns = colours.shape[:2]
    quads = [
        _quad(j / columns, i / rows, (j + 1) / columns, (i + 1) / rows, level)
        for i in range(rows)
        for j in range(columns)
    ]
    faces = colours.reshape(-1, 3)
    edges = faces if level == 0 else [RULE]
    axes.add_collection(PolyCollection(quads, facecolors=faces, edgecolors=edges, linewidths=0.3, zorder=2 + 2 * level))
    _border(axes, (0.0, 0.0, 1.0, 1.0), level, 3.0 + 2 * level, QUIET, 0.8)


def _border(
    axes: Axes, box: tuple[float, float, float, float], level: int, zorder: float, colour: str, width: float
) -> None:
    quad = _quad(*box, level)
    axes.add_collection(PolyCollection([quad], facecolors="none", edgecolors=colour, linewidths=width, zorder=zorder))


def _cell(axes: Axes, upper: Colours, level: int) -> None:
    """Outline the middle cell of a grid and the region under it on the level below, with lines between the two."""
    rows, columns = upper.shape[:2]
    i, j = rows // 2, columns // 2
    box = (j / columns, i / rows, (j + 1) / columns, (i + 1) / rows)
    for place in (level, level - 1):
        _border(axes, box, place, 3.5 + 2 * place, SECOND, 1.5)
    for above, below in zip(_quad(*box, level), _quad(*box, level - 1), strict=True):
        axes.plot(*zip(above, below, strict=True), color=SECOND, linewidth=0.7, alpha=0.8, zorder=3.2 + 2 * (level - 1))


def _concept(axes: Axes, result: Abstraction, chosen: int, level: int) -> None:
    """Draw the concepts as squares above the grid below; the more probable, the darker."""
    probabilities = result.inference.concept[chosen].numpy()
    names = drawable(result.split.data.classes, len(probabilities), 6)
    best = np.sort(np.argsort(-probabilities, kind="stable")[:_SQUARES])
    middle, width = 0.5 + _SLANT / 2, min(0.115, 1.3 / len(best))
    left = middle - width * len(best) / 2
    for place, concept in enumerate(best):
        share = float(probabilities[concept])
        x = left + width * place
        axes.add_collection(_square(x, level * _RISE + 0.06, width, share))
        size, colour = TITLE if len(names[concept]) < 3 else SMALL - 1, "white" if share > 0.5 else INK
        name = verbatim(names[concept])
        write(axes, x + width / 2, level * _RISE + 0.06 + width / 2, name, size, colour, zorder=30)
    winner = left + width * (int(np.flatnonzero(best == probabilities.argmax())[0]) + 0.5)
    for corner in _quad(0.0, 0.0, 1.0, 1.0, level - 1):
        axes.plot(
            *zip((winner, level * _RISE + 0.06), corner, strict=True), color=SECOND, linewidth=0.7, alpha=0.6, zorder=20
        )


def _square(x: float, y: float, width: float, share: float) -> PolyCollection:
    shade = 1 - share * (1 - np.array([0x0B, 0x6E, 0x99]) / 255)
    quad = [(x, y), (x + width, y), (x + width, y + width), (x, y + width)]
    return PolyCollection([quad], facecolors=[shade], edgecolors=RULE, linewidths=0.8, zorder=25)
