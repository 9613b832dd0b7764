"""Figures of instantiation: the sheet of samples, five samples of one concept, completions of half-hidden images."""

import torch
from matplotlib.figure import Figure

from rgm.evaluation.instantiation import Instantiation
from rgm.report.canvas import LABEL, TITLE, WIDTH, drawable, new_figure, show, show_rows, verbatim
from rgm.report.palette import INK, QUIET

LONGEST = 14
"""The most characters of a row's name."""
ROWS = 30
"""The most concepts on the sheet."""
WIDEST = 0.75
"""The greatest width of a sample, in inches."""
COMPLETED, HIDDEN = 10, 0.8
"""The most images that are shown completed, and the grey value of their hidden cells."""
STRIP, CONCEPT = 5, 3
"""The number of samples in the strip, and its concept if there are as many."""


def strip_concept(result: Instantiation) -> int:
    """Return the concept that the strip shows."""
    return min(CONCEPT, len(result.sheet) - 1)


def sheet_figure(result: Instantiation) -> Figure:
    """Return the sheet of samples, one row for each concept, with the share recognised by the judge."""
    concepts, columns, _, _, wide = result.sheet.shape
    shown = min(concepts, ROWS)
    names = [verbatim(name) for name in drawable(result.classes, concepts, LONGEST)][:shown]
    margin = 0.1 + 0.08 * max(map(len, names)) + (0.8 if result.recognised is not None else 0)
    gap = max(1, round(wide / 28))
    figure, axes = show_rows(result.sheet[:shown], names, gap=gap, widest=WIDEST, margin=margin, room=0.35)
    if result.recognised is not None:
        across = columns * (wide + gap) - gap
        inch = across / min(WIDTH - margin, WIDEST * columns)
        end = across + 0.08 * inch
        for middle, share in zip(axes.get_yticks(), result.recognised.tolist(), strict=False):
            axes.text(end, middle, f"{100 * share:.0f} %", fontsize=TITLE, color=INK, va="center")
        axes.text(end, -0.05 * inch, "recognised", fontsize=LABEL, color=QUIET, va="bottom")
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
    """Return images by column: decoded from all codes, with the hidden cells greyed out, and completed."""
    found = result.completion
    decoded = found.reconstructed[:COMPLETED]
    shown, _, rows, columns = decoded.shape
    height, width = found.keep.shape
    kept = found.keep.repeat_interleave(rows // height, dim=0).repeat_interleave(columns // width, dim=1)
    masked = torch.where(kept, decoded, HIDDEN)
    tiles = torch.stack([decoded, masked, *found.completed[:shown].unbind(dim=1)])
    names = ["decoded", "kept", "resampled", *[""] * (len(tiles) - 3)]
    return show_rows(tiles, names, gap=max(1, round(columns / 14)), widest=WIDEST)[0]
