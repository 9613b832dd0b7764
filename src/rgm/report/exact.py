"""Figures of exact inference: likelihood, out-of-distribution detection, surprise, completion, selective answers."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from rgm.evaluation.exactness import Exactness, Quadrants, Surprise
from rgm.evaluation.quantities import percent
from rgm.model.receptive import Box
from rgm.report.canvas import (
    LABEL,
    SMALL,
    TITLE,
    WIDTH,
    bare,
    framed,
    new_figure,
    outline,
    plain,
    show,
    show_rows,
    verbatim,
    write,
)
from rgm.report.palette import ACCENT, CHANGE, INK, QUIET, RULE, SECOND, TRACK

HIDDEN = torch.tensor([0.81, 0.42, 0.08])
"""The colour of hidden pixels, which grey images cannot have."""
BINS = 60
_HUES = (SECOND, "#6a51a3", "#3d7d3d", "#7a5c3e")


def evidence_figure(result: Exactness) -> Figure:
    """Return the negative log-likelihood of test images and of out-of-distribution images, with the AUROC."""
    figure = new_figure(2.6)
    axes = figure.subplots(1, 2, width_ratios=[2.2, 1])
    values = [result.nats.numpy(), *(other.nats.numpy() for other in result.out_of_distribution)]
    low, high = (float(np.percentile(np.concatenate(values), q)) for q in (0.2, 99.8))
    edges = np.linspace(low, high, BINS)
    names = [f"{result.data}, test", *(other.name for other in result.out_of_distribution)]
    for nats, name, colour in zip(values, names, (ACCENT, *_HUES)[: len(values)], strict=True):
        share = np.histogram(np.clip(nats, low, high), edges)[0] / len(nats)
        axes[0].stairs(share, edges, color=colour, linewidth=1.6, label=verbatim(name))
        axes[0].stairs(share, edges, color=colour, fill=True, alpha=0.15)
    plain(axes[0], "top", "right", "left")
    axes[0].set_yticks([])
    axes[0].set_xlabel("−log p(image) in nats; further right is less probable", fontsize=LABEL, color=QUIET)
    axes[0].set_title("exact negative log-likelihood", fontsize=TITLE, color=INK, loc="left")
    axes[0].legend(frameon=False, fontsize=LABEL, labelcolor=INK)
    _auroc(axes[1], result)
    return figure


def _auroc(axes: Axes, result: Exactness) -> None:
    for place, (other, colour) in enumerate(zip(result.out_of_distribution, _HUES, strict=False)):
        found = other.auroc
        axes.errorbar(
            found.estimate,
            place,
            xerr=[[found.estimate - found.low], [found.high - found.estimate]],
            color=colour,
            marker="o",
            markersize=6,
        )
        axes.annotate(
            f"{verbatim(other.name)} {found.estimate:.3f}",
            (found.estimate, place),
            (0, 7),
            textcoords="offset points",
            fontsize=LABEL,
            color=INK,
            ha="right" if found.estimate > 0.85 else "center",
        )
    axes.set_xlim(0.48, 1.02)
    axes.set_ylim(len(result.out_of_distribution) - 0.4, -0.7)
    axes.set_yticks([])
    axes.axvline(1.0, color=RULE, linewidth=0.8)
    plain(axes, "top", "right", "left")
    axes.set_title("distinguished from test images", fontsize=TITLE, color=INK, loc="left")
    axes.set_xlabel("AUROC: 0.5 is chance, 1 is perfect", fontsize=LABEL, color=QUIET)


def quadrants_figure(result: Quadrants) -> Figure:
    """Return images by column: original, with a quadrant hidden, and with that quadrant resampled."""
    images = _coloured(result.images)
    masked = torch.where(result.visible[:, None], images, HIDDEN[:, None, None])
    tiles = torch.stack([images, masked, *(_coloured(sample) for sample in result.completed.unbind(dim=1))])
    names = ["image", "visible", "resampled", *[""] * (len(tiles) - 3)]
    return show_rows(tiles, names, gap=max(1, round(tiles.shape[4] / 14)), widest=0.8)[0]


def surprise_figure(result: Surprise) -> Figure:
    """Return images with one cell replaced by that of another image, and the surprise at each of their cells."""
    count = len(result.images)
    side = WIDTH / count
    figure = new_figure(2 * side * 1.08 + 0.5, WIDTH)
    axes = figure.subplots(2, count, squeeze=False)
    top = float(result.maps.max())
    rows, columns = result.images.shape[2:]
    height, width = result.maps.shape[1:]
    for number in range(count):
        show(axes[0, number], result.images[number])
        axes[1, number].imshow(result.maps[number].numpy(), cmap=CHANGE, vmin=0, vmax=top, interpolation="nearest")
        bare(axes[1, number])
        framed(axes[1, number])
        row, column = result.replaced[number]
        tall, wide = rows // height, columns // width
        outline(axes[0, number], Box.of(row, column, tall, wide), edgecolor=SECOND, linewidth=1.2)
        outline(axes[1, number], Box.of(row, column), edgecolor=SECOND, linewidth=1.2)
    titles = ("outlined: a cell from another image", f"−log p(cell | all others), 0 to {top:.0f} nats")
    for place, title in zip(axes[:, 0], titles, strict=True):
        place.set_title(" ", fontsize=TITLE, pad=5)  # reserves the space; the title itself is wider than its column
        text = place.text(0, 1.06, title, fontsize=TITLE, color=INK, transform=place.transAxes)
        text.set_in_layout(False)
    return figure


def selective_figure(result: Exactness) -> Figure:
    """Return the error rate on the answered images against their share, ranked by confidence and by likelihood."""
    figure = new_figure(2.6, 0.62 * WIDTH)
    axes = figure.subplots()
    right = result.right.double()
    for score, colour, name in (
        (result.margin, ACCENT, "ranked by confidence"),
        (result.nats.neg(), SECOND, "ranked by likelihood, as in the paper"),
    ):
        order = score.argsort(descending=True, stable=True)
        counts = torch.arange(1, len(order) + 1)
        wrong = 1 - right[order].cumsum(0) / counts
        kept = counts >= min(len(order), max(20, len(order) // 50))  # shares of a handful of images are noise
        axes.plot((counts / len(order))[kept], wrong[kept], color=colour, linewidth=1.8, label=name)
    axes.set_ylim(0, 1.35 * axes.dataLim.y1 or 1.0)
    axes.set_xlim(0, 1.01)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    axes.set_xlabel("share of images answered", fontsize=LABEL, color=QUIET)
    axes.set_title("error rate on the answered images", fontsize=TITLE, color=INK, loc="left")
    plain(axes, "top", "right")
    axes.grid(axis="y", color=TRACK, linewidth=0.8)
    write(axes, 1.02, float(wrong[-1]), f"all: {percent(float(wrong[-1]))}", SMALL, ha="left")
    axes.legend(frameon=False, fontsize=LABEL, labelcolor=INK, loc="upper left")
    return figure


def _coloured(images: torch.Tensor) -> torch.Tensor:
    return images.expand(-1, 3, -1, -1)
