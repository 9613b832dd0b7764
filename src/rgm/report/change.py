"""Figures of locality: a change of one cell and a change of the concept, and where a cell's change lies."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from rgm.evaluation.locality import MARGIN, Locality
from rgm.evaluation.quantities import percent
from rgm.model.receptive import Box
from rgm.report.canvas import (
    LABEL,
    SMALL,
    TITLE,
    WIDTH,
    bare,
    colour_bar,
    drawable,
    framed,
    new_figure,
    outline,
    plain,
    show,
    verbatim,
    write,
)
from rgm.report.palette import ACCENT, CHANGE, INK, QUIET, RULE, SECOND, TRACK

ATLAS_SIDE = 8
"""The most cells on a side of the atlas of changes."""
_PATCH = {"edgecolor": SECOND, "linewidth": 1.8, "label": "the cell's own patch"}
_NEAR = {"edgecolor": SECOND, "linewidth": 1.3, "linestyle": ":", "label": f"patch + {MARGIN} pixels"}
_FIELD = {"edgecolor": INK, "linewidth": 1.1, "linestyle": (0, (4, 2.5)), "label": "receptive field"}


def change_figure(result: Locality) -> Figure:
    """Return the original, the image with one cell changed, their difference, and an image of another concept."""
    example = result.example
    difference = (example.local - example.original).abs().amax(dim=0)
    names = drawable(result.classes, max(example.old_concept, example.new_concept) + 1, 10)
    old, new = verbatim(names[example.old_concept]), verbatim(names[example.new_concept])
    tall, wide = difference.shape
    figure = new_figure(WIDTH / 4.1 * tall / wide + 0.95)
    axes = figure.subplots(1, 4)
    show(axes[0], example.original, "original,\ndecoded")
    show(axes[1], example.local, f"one cell changed:\ncode {example.before} → {example.after}")
    drawn = axes[2].imshow(
        difference.numpy(), cmap=CHANGE, vmin=0, vmax=float(difference.max()) or 1.0, interpolation="nearest"
    )
    bare(axes[2], "difference\nof the two")
    framed(axes[2])
    show(axes[3], example.globally, f"concept changed:\n{old} → {new}")
    for place in axes[:2]:
        outline(place, example.patch, **_PATCH)
    handles = [outline(axes[2], example.patch, **_PATCH), outline(axes[2], example.field, **_FIELD)]
    below = axes[2].inset_axes((0.0, -0.09, 1.0, 0.045))
    label = "change of a pixel (white − black = 1)"
    bar = colour_bar(figure, drawn, label, SMALL, cax=below, orientation="horizontal")
    bar.ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=LABEL, labelcolor=INK)
    return figure


def spread_figure(result: Locality) -> Figure:
    """Return the mean squared change around a changed cell, and its shares by region."""
    figure = new_figure(3.6)
    axes = figure.subplot_mosaic(
        [["map", "gap", "shares"], ["map", "gap", "extents"]], width_ratios=(1, 0.02, 1), height_ratios=(3, 2)
    )
    axes["gap"].set_axis_off()
    handles = _around(figure, axes["map"], result)
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=LABEL, labelcolor=INK)
    measures = result.measures()
    shares = ("own_patch_share", "patch_plus_2_share", "receptive_field_share")
    names = ("its own patch", f"patch + {MARGIN} pixels", "receptive field")
    _bars(axes["shares"], "share of a cell's change inside", names, [measures[name] for name in shares], SECOND)
    extents = [measures["local_extent"], measures["global_extent"]]
    title = "share of pixels visibly changed by"
    _bars(axes["extents"], title, ("one other code", "another concept"), extents, ACCENT)
    return figure


def maps_figure(result: Locality) -> Figure:
    """Return the atlas: at the position of each cell, the mean squared change of the image when that cell is changed.

    A grid with more than eight cells on a side is subsampled at equal steps.
    """
    step = -(-max(result.atlas.shape[:2]) // ATLAS_SIDE)
    atlas = result.atlas[::step, ::step]
    height, width, rows, columns = atlas.shape
    gap = max(1, rows // 14)
    canvas = np.full((height * (rows + gap) - gap, width * (columns + gap) - gap), np.nan)
    figure = new_figure(WIDTH * 0.8 * canvas.shape[0] / canvas.shape[1] + 0.2)
    axes = figure.subplots()
    tall, wide = result.patch_size
    for row in range(height):
        for column in range(width):
            top, left = row * (rows + gap), column * (columns + gap)
            frame = Box(top=top, bottom=top + rows, left=left, right=left + columns)
            canvas[frame.slices] = atlas[row, column].numpy()
            outline(axes, frame, edgecolor=RULE, linewidth=0.6)
            above, before = top + row * step * tall, left + column * step * wide
            cell = Box(top=above, bottom=above + tall, left=before, right=before + wide)
            outline(axes, cell, edgecolor=SECOND, linewidth=0.9)
    scale = PowerNorm(0.5, vmin=0, vmax=float(atlas.max()) or 1.0)
    drawn = axes.imshow(canvas, cmap=CHANGE, norm=scale, interpolation="nearest")
    bare(axes)
    if step > 1:
        axes.set_xlabel(f"one in {step} cells of each row and column", fontsize=LABEL, color=QUIET)
    colour_bar(figure, drawn, "mean squared change (square-root scale)", LABEL, ax=axes, shrink=0.6, pad=0.02)
    return figure


def _around(figure: Figure, axes: Axes, result: Locality) -> list[Rectangle]:
    """Draw the mean change around a cell, in pixels from its patch's corner; return the outlines."""
    (top, left), (tall, wide) = result.origin, result.patch_size
    own = Box(top=0, bottom=tall, left=0, right=wide)
    near = Box(top=-MARGIN, bottom=tall + MARGIN, left=-MARGIN, right=wide + MARGIN)
    field = _reached(result)
    reach = max(-field.top, -field.left, field.bottom - tall, field.right - wide, MARGIN)
    around = min(reach + 2, 3 * max(tall, wide))
    rows, columns = result.aligned.shape
    window = Box(
        top=max(-around, -top),
        bottom=min(tall + around, rows - top),
        left=max(-around, -left),
        right=min(wide + around, columns - left),
    )
    seen = result.aligned[top + window.top : top + window.bottom, left + window.left : left + window.right]
    drawn = axes.imshow(
        seen.numpy(),
        cmap=CHANGE,
        norm=PowerNorm(0.5, vmin=0, vmax=float(seen.max()) or 1.0),
        extent=(window.left - 0.5, window.right - 0.5, window.bottom - 0.5, window.top - 0.5),
        interpolation="nearest",
    )
    plain(axes)
    axes.spines[:].set(color=RULE)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_title("mean change around the changed cell", fontsize=TITLE, color=INK, pad=6)
    axes.set_xlabel("pixels from the patch's upper left corner", fontsize=LABEL, color=QUIET)
    colour_bar(figure, drawn, "squared change (square-root scale)", LABEL, ax=axes, shrink=0.8, pad=0.03)
    boxes = [(own, _PATCH), (near, _NEAR), (field, _FIELD)]
    handles = [outline(axes, box, **style) for box, style in boxes]
    axes.set_xlim(window.left - 0.5, window.right - 0.5)
    axes.set_ylim(window.bottom - 0.5, window.top - 0.5)
    return handles


def _reached(result: Locality) -> Box:
    """Return the receptive field, in pixels from the patch's corner.

    Where the image's border cuts off a side, the opposite side gives its length.
    """
    inner, outer = result.example.patch, result.example.field
    rows, columns = result.example.original.shape[1:]
    above, below = inner.top - outer.top, outer.bottom - inner.bottom
    before, after = inner.left - outer.left, outer.right - inner.right
    tall, wide = result.patch_size
    return Box(
        top=-max(above, below) if outer.top == 0 else -above,
        bottom=tall + (max(above, below) if outer.bottom == rows else below),
        left=-max(before, after) if outer.left == 0 else -before,
        right=wide + (max(before, after) if outer.right == columns else after),
    )


def _bars(axes: Axes, title: str, names: Sequence[str], shares: Sequence[float], fill: str) -> None:
    """Draw shares as bars on a background bar of length 1."""
    for place, value in enumerate(shares):
        axes.barh(place, 1, color=TRACK, height=0.6)
        axes.barh(place, value, color=fill, height=0.6)
        inside = value > 0.75
        x, side, colour = (value - 0.02, "right", "white") if inside else (value + 0.02, "left", INK)
        write(axes, x, float(place), percent(value), TITLE, colour, ha=side)
    plain(axes, "top", "right", "bottom", "left")
    axes.set_yticks(range(len(names)), names, fontsize=LABEL, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.set_title(title, fontsize=TITLE, color=INK, loc="left", pad=6)
