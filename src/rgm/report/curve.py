"""Training curves."""

from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rgm.report.canvas import LABEL, TITLE, new_figure, plain, verbatim
from rgm.report.palette import ACCENT, INK, QUIET, SECOND
from rgm.runtime.progress import EpochRecord

_VALIDATED = "squared_error"
_DECADES = 30
"""Values that span more than this factor are drawn on a logarithmic scale."""


def curve_figure(history: tuple[EpochRecord, ...]) -> Figure:
    """Return each stage's loss by epoch, in a panel of its own, and the squared error on validation images."""
    stages = [(name, list(records)) for name, records in groupby(history, key=lambda record: record.stage)]
    errors = [(n, r.validation[_VALIDATED]) for n, r in enumerate(history, start=1) if _VALIDATED in r.validation]
    panels = len(stages) + bool(errors)
    figure = new_figure(2.1)
    axes = figure.subplots(1, max(1, panels), squeeze=False)[0]
    for place, (name, records) in zip(axes, stages, strict=False):
        title = "training loss" if len(stages) == 1 else f"loss, stage “{name}”"
        _line(place, title, [record.epoch for record in records], [r.loss for r in records], ACCENT)
    if errors:
        numbers, values = zip(*errors, strict=True)
        _line(axes[-1], "squared error on validation images", list(numbers), list(values), SECOND)
    return figure


def _line(axes: Axes, title: str, epochs: list[int], values: list[float], colour: str) -> None:
    axes.plot(epochs, values, color=colour, linewidth=1.6, marker="o" if len(epochs) <= 15 else "", markersize=3.5)
    axes.set_title(verbatim(title), fontsize=TITLE, color=INK)
    axes.set_xlabel("epoch", fontsize=LABEL, color=QUIET)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    if min(values) > 0 and max(values) > _DECADES * min(values):
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.grid(axis="y", color=QUIET, alpha=0.2, linewidth=0.6)
    plain(axes, "top", "right")
