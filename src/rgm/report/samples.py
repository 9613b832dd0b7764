"""Figures of instantiation: the sheet of samples, five samples of one concept, halves drawn anew."""

import torch
from matplotlib.figure import Figure

from rgm.evaluation.instantiation import Instantiation
from rgm.report.canvas import LABEL, TITLE, WIDTH, bare, drawable, mosaic, new_figure, show, verbatim
from rgm.report.palette import INK, QUIET

LONGEST = 14
"""Letters of a row's name: at most so many."""
ROWS = 30
"""Concepts on the sheet: at most so many."""
WIDEST = 0.75
"""Inches; the width of a sample: at most so much."""
HALVED, VEIL = 10, 0.8
"""Images that are shown completed, at most, and the grey over what is hidden of them."""
STRIP, CONCEPT = 5, 3
"""Samples in the strip, and the concept that it shows where there is one of that number."""


def strip_concept(result: Instantiation) -> int:
    """Return which concept the strip shows."""
    return min(CONCEPT, len(result.sheet) - 1)


def sheet_figure(result: Instantiation) -> Figure:
    """Return the sheet of samples, one row a concept, with the judge's share at the row's end."""
    concepts, columns, _, tall, wide = result.sheet.shape
    shown = min(concepts, ROWS)
    gap = max(1, round(wide / 28))
    canvas = mosaic(result.sheet[:shown], gap)
    names = [verbatim(name) for name in drawable(result.classes, concepts, LONGEST)][:shown]
    beside = 0.1 + 0.08 * max(map(len, names)) + (0.8 if result.recognised is not None else 0)
    width = min(WIDTH - beside, WIDEST * columns)
    figure = new_figure(width * canvas.shape[0] / canvas.shape[1] + 0.35, width + beside)
    axes = figure.subplots()
    axes.imshow(canvas if canvas.shape[2] == 3 else canvas[:, :, 0], cmap="gray", vmin=0, vmax=1)
    bare(axes)
    middles = [row * (tall + gap) + tall / 2 - 0.5 for row in range(shown)]
    axes.set_yticks(middles, names, fontsize=TITLE, color=INK)
    axes.tick_params(length=0)
    if result.recognised is not None:
        end = canvas.shape[1] + 0.08 * canvas.shape[1] / width
        for middle, share in zip(middles, result.recognised.tolist(), strict=False):
            axes.text(end, middle, f"{100 * share:.0f} %", fontsize=TITLE, color=INK, va="center")
        axes.text(
            end, -0.05 * canvas.shape[1] / width, "recognised", fontsize=LABEL, color=QUIET, va="bottom"
        )
    if shown < concepts:
        axes.set_xlabel(f"the first {shown} of {concepts} concepts", fontsize=LABEL, color=QUIET)
    return figure


def strip_figure(result: Instantiation) -> Figure:
    """Return five samples of one concept."""
    concept = strip_concept(result)
    count = min(STRIP, result.sheet.shape[1])
    tall, wide = result.sheet.shape[3:]
    figure = new_figure(WIDTH / STRIP * tall / wide + 0.3, WIDTH / STRIP * count)
    for index, axes in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        show(axes, result.sheet[concept, index], f"sample {index + 1}")
    return figure


def completion_figure(result: Instantiation) -> Figure:
    """Return images by column: as their codes paint them, with the hidden cells veiled, and as they were completed."""
    found = result.completion
    painted = found.reconstructed[:HALVED]
    shown, _, rows, columns = painted.shape
    height, width = found.keep.shape
    kept = found.keep.repeat_interleave(rows // height, dim=0).repeat_interleave(columns // width, dim=1)
    veiled = torch.where(kept, painted, VEIL)
    tiles = torch.stack([painted, veiled, *found.completed[:shown].unbind(dim=1)])
    gap = max(1, round(columns / 14))
    canvas = mosaic(tiles, gap)
    beside = 1.1
    across = min(WIDTH - beside, WIDEST * shown)
    figure = new_figure(across * canvas.shape[0] / canvas.shape[1] + 0.1, across + beside)
    axes = figure.subplots()
    axes.imshow(canvas if canvas.shape[2] == 3 else canvas[:, :, 0], cmap="gray", vmin=0, vmax=1)
    bare(axes)
    names = ["all codes", "kept", "drawn anew", *[""] * (len(tiles) - 3)]
    middles = [row * (rows + gap) + rows / 2 - 0.5 for row in range(len(tiles))]
    axes.set_yticks(middles, names, fontsize=TITLE, color=INK)
    axes.tick_params(length=0)
    return figure
