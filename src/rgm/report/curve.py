"""The course of a training."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rgm.report.palette import ACCENT, INK, QUIET, SECOND
from rgm.training.loop import EpochRecord


def curve_figure(history: tuple[EpochRecord, ...]) -> Figure:
    """Return the loss and the validation split's squared error by epoch."""
    figure = Figure(figsize=(9, 2.4), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    epochs = range(1, len(history) + 1)
    left.plot(epochs, [record.loss for record in history], color=ACCENT, marker="o", markersize=3)
    left.set_title("training loss", fontsize=9, color=INK)
    errors = [record.validation.get("squared_error", float("nan")) for record in history]
    right.plot(epochs, errors, color=SECOND, marker="o", markersize=3)
    right.set_title("squared error, validation images", fontsize=9, color=INK)
    for axes in (left, right):
        axes.set_xlabel("epoch", fontsize=8, color=INK)
        axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(which="both", labelsize=7, colors=QUIET)
    return figure
