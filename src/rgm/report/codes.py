"""Figures of abstraction: example images at every level, and the atlas of codes."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from rgm.evaluation.abstraction import Abstraction
from rgm.evaluation.quantities import subscript
from rgm.report.canvas import LABEL, SMALL, TITLE, WIDTH, bare, draw, drawable, new_figure, plain, show, verbatim, write
from rgm.report.mosaic import pixels_of
from rgm.report.palette import ACCENT, INK, QUIET, RULE, SECOND, code_colours, grid_colours, ink, legible_on

NUMBERED = 100
"""The largest number of cells of a map on which codes are numbered."""
LISTED = 10
"""The most concepts that are drawn as named bars, the most probable ones."""
ATLAS = 96
"""The most codes that the atlas shows, the most used ones."""
_BARS = 1.4
"""Width of the bar chart, in widths of an image."""


def abstraction_figure(result: Abstraction, *, rows: int = 4) -> Figure:
    """Return a few examples: image, codes of every level, probabilities of the concepts, and the reconstruction."""
    chosen = np.linspace(0, len(result.images) - 1, min(rows, len(result.images))).round().astype(int)
    depth = len(result.inference.codes)
    tall, wide = result.images.shape[2:]
    ratios = [1.0] * (1 + depth) + [_BARS, 1.0]
    side = WIDTH / (sum(ratios) + 0.35)
    figure = new_figure(len(chosen) * (side * tall / wide + 0.22) + 0.3)
    axes = figure.subplots(len(chosen), len(ratios), squeeze=False, width_ratios=ratios)
    colours = grid_colours(result)
    for row, example in zip(axes, chosen, strict=True):
        show(row[0], result.images[example])
        for level in range(depth):
            _map(row[1 + level], result.inference.codes[level][example].numpy(), colours[level], (tall, wide))
        truth = None if result.labels is None else int(result.labels[example])
        _concept(row[-2], result.inference.concept[example].numpy(), result.split.data.classes, truth)
        row[-2].set_box_aspect(tall / wide / _BARS)
        show(row[-1], result.inference.reconstruction[example])
    grids = [f"codes z{subscript(level + 1)}" for level in range(depth)]
    titles = ["image", *grids, f"concept z{subscript(depth + 1)}", "decoded from z₁"]
    for place, title in zip(axes[0], titles, strict=True):
        place.set_title(title, fontsize=TITLE, color=INK, pad=5)
    return figure


def _map(axes: Axes, codes: NDArray[np.int64], colours: NDArray[np.float64], image: tuple[int, int]) -> None:
    """Draw a grid of codes at the size of its image, with a colour and a number for each code."""
    tall, wide = image[0] / codes.shape[0], image[1] / codes.shape[1]
    axes.imshow(colours[codes], extent=(0, image[1], image[0], 0), interpolation="nearest")
    if codes.size <= NUMBERED:
        size = min(6.5, 46 / max(codes.shape))
        for (row, column), code in np.ndenumerate(codes):
            write(axes, (column + 0.5) * wide, (row + 0.5) * tall, str(code), size, legible_on(colours[code]))
    bare(axes)


def _concept(axes: Axes, probabilities: NDArray[np.float32], classes: tuple[str, ...], truth: int | None) -> None:
    """Draw the probability of each concept; the bar and the name of the true class are orange."""
    names = drawable(classes, len(probabilities), 12)
    colours = [SECOND if index == truth else ACCENT for index in range(len(probabilities))]
    plain(axes, "top", "right")
    if max(map(len, names)) <= 2 and len(names) <= 20:
        axes.bar(range(len(names)), probabilities, color=colours, width=0.75)
        axes.set_xticks(range(len(names)), [verbatim(name) for name in names], fontsize=SMALL)
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1], ["0", "½", "1"])
        shown, labels = list(range(len(names))), axes.get_xticklabels()
    else:
        best = set(np.argsort(-probabilities, kind="stable")[:LISTED].tolist())
        if truth is not None and truth not in best:
            best = set(np.argsort(-probabilities, kind="stable")[: LISTED - 1].tolist()) | {truth}
        shown = sorted(best)
        axes.barh(range(len(shown)), probabilities[shown], color=[colours[k] for k in shown], height=0.75)
        axes.set_yticks(range(len(shown)), [verbatim(names[k]) for k in shown], fontsize=6)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        labels = axes.get_yticklabels()
    for index, label in zip(shown, labels, strict=True):
        label.set_color(SECOND if index == truth else INK)
        label.set_fontweight("bold" if index == truth else "normal")


def atlas_figure(result: Abstraction) -> Figure:
    """Return, for each code, the mean patch encoded as it and its decoded patch, with its share of all cells.

    Codes are ordered by how much their decoded patch differs from an empty one. A code that is not needed is marked
    with the code that can replace it.
    """
    atlas = result.atlas
    states = len(atlas.counts)
    most_used = torch.argsort(atlas.counts, descending=True, stable=True)[:ATLAS].tolist()
    amount = ink(atlas)
    listed = sorted(most_used, key=lambda code: (amount[code], code))
    across = 8 if len(listed) <= 40 else 12
    down = -(-len(listed) // across)
    colours, total = code_colours(atlas), max(1, int(atlas.counts.sum()))
    tall, wide = atlas.encoded.shape[2:]
    aspect = tall / wide
    height = aspect + 0.85  # a patch of width 1, the line of text above it, and room beneath
    cell = (WIDTH - 0.1) / (across * 2.5)
    figure = new_figure(cell * height * down + 0.05)
    axes = figure.subplots()
    for place, code in enumerate(listed):
        left, top = 2.5 * (place % across), height * (place // across) + 0.5
        for offset, patches in enumerate((atlas.encoded, atlas.decoded)):
            x = left + 1.06 * offset
            if offset == 1 or int(atlas.counts[code]) > 0:
                extent = (x, x + 1, top + aspect, top)
                draw(axes, pixels_of(patches[code]), extent=extent, interpolation="nearest")
            axes.add_patch(Rectangle((x, top), 1, aspect, fill=False, edgecolor=RULE, linewidth=0.5))
        tag = Rectangle((left, top - 0.44), 0.9, 0.4, facecolor=colours[code], edgecolor=RULE, linewidth=0.5)
        axes.add_patch(tag)
        size = SMALL if across == 8 else 5.0
        write(axes, left + 0.45, top - 0.24, str(code), size, legible_on(colours[code]))
        share = _share(int(atlas.counts[code]), total)
        write(axes, left + 2.06, top - 0.24, share, size, ha="right")
        if int(atlas.counts[code]) and not result.split.needed.needed[code]:
            like = f"like {int(result.split.needed.replacement[code])}"
            write(axes, left + 2.06, top + aspect + 0.04, like, size, ha="right", va="top")
    first = listed[0] if listed else 0
    words = ("mean", "decoded") if result.split.needed.needed[first] else ("mean",)
    for offset, word in enumerate(words):  # once, under the first pair
        write(axes, 1.06 * offset + 0.5, 0.5 + aspect + 0.04, word, 6.0 if across == 8 else 4.5, QUIET, va="top")
    axes.set_xlim(-0.05, 2.5 * across - 0.35)
    axes.set_ylim(height * down, 0)
    bare(axes)
    if len(listed) < states:
        axes.set_xlabel(f"the {len(listed)} most used of {states} codes", fontsize=LABEL, color=QUIET)
    return figure


def _share(count: int, total: int) -> str:
    if not count:
        return "unused"
    share = 100 * count / total
    return f"{share:.1f} %" if share >= 0.05 else "<0.1 %"
