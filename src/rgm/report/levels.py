"""The figure of the levels: what each level costs and keeps, and which cells carry information about the class."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from rgm.evaluation.information import MutualInformation
from rgm.evaluation.levels import LevelMeasures, Levels
from rgm.evaluation.quantities import percent, subscript
from rgm.report.canvas import LABEL, SMALL, TITLE, bare, framed, new_figure, plain, write
from rgm.report.palette import ACCENT, INK, QUIET, SECOND, TRACK, legible_on

_INFORMATION = LinearSegmentedColormap.from_list("information", ["#ffffff", "#fbe3cd", "#f0ab6c", SECOND, "#5e2a02"])
_TOP = 1.13
"""Upper end of the axis of shares."""
NUMBERED = 100
"""The largest number of cells of a map on which bits are written."""


def levels_figure(result: Levels) -> Figure:
    """Return what each level keeps against what it costs, and the information about the class in every cell."""
    grids = len(result.cells)
    figure = new_figure(3.3)
    axes = figure.subplots(1, 1 + grids, width_ratios=[1.45, *([1.0] * grids)], squeeze=False)[0]
    _kept(axes[0], result.levels)
    whole = float(result.levels[0].class_share.wholes[0])
    top = max(float(cells.bits.max()) for cells in result.cells)
    for number, (place, cells) in enumerate(zip(axes[1:], result.cells, strict=True), start=1):
        _map(place, cells, top, whole)
        place.set_title(f"class information per cell of z{subscript(number)}, bits", fontsize=TITLE, color=INK, pad=6)
    return figure


def level_name(name: str) -> str:
    """Return a level's name with its number as a subscript."""
    return f"z{subscript(int(name[1:]))}" if name[0] == "z" and name[1:].isdigit() else name


def _kept(axes: Axes, levels: tuple[LevelMeasures, ...]) -> None:
    """Draw the shares of class information and of pixel variance that each level keeps, fine levels on the left.

    A level whose decoded images are worse than the mean image explains a negative share, which is given as a number.
    """
    bits = [level.bits.estimate().estimate for level in levels]
    lines = (
        ([level.class_share.estimate() for level in levels], SECOND, "o", "class information"),
        ([level.pixels_explained.estimate() for level in levels], ACCENT, "s", "pixel variance"),
    )
    for found, colour, marker, label in lines:
        middle = [one.estimate for one in found]
        reach = [[one.estimate - one.low for one in found], [one.high - one.estimate for one in found]]
        axes.errorbar(bits, middle, yerr=reach, color=colour, marker=marker, markersize=6, linewidth=1.8, label=label)
    for place, found, first in ((0.05, lines[0][0], 0), (-0.075, lines[1][0], 1)):
        for x, one in list(zip(bits, found, strict=True))[first:]:
            y = min(max(one.estimate + place, 0.03), _TOP - 0.03)  # worse than the mean image: at the edge
            write(axes, x, y, percent(one.estimate), SMALL, SECOND if place > 0 else ACCENT)
    plain(axes, "top", "right")
    axes.set_xscale("log")
    axes.set_xlim(max(bits) * 2.2, min(bits) / 2.2)
    axes.set_ylim(0, _TOP)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.xaxis.set_minor_locator(NullLocator())
    costs = [f"{bit:,.{0 if bit >= 10 else 1}f} bits" for bit in bits]
    names = [f"{level_name(level.name)}\n{cost}" for level, cost in zip(levels, costs, strict=True)]
    axes.set_xticks(bits, names)
    axes.tick_params(axis="x", labelsize=LABEL, labelcolor=INK)
    axes.set_title("information kept at each level", fontsize=TITLE, color=INK, loc="left", pad=6)
    axes.grid(axis="y", color=TRACK, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=LABEL, labelcolor=INK, loc="lower left")


def _map(axes: Axes, cells: MutualInformation, top: float, whole: float) -> None:
    """Draw the mutual information of each cell's code with the class, in bits."""
    information = cells.bits.numpy()
    axes.imshow(information, cmap=_INFORMATION, vmin=0, vmax=top or 1.0, interpolation="nearest")
    if information.size <= NUMBERED:
        size = min(SMALL, 44 / max(information.shape))
        for (row, column), bits in np.ndenumerate(information):
            colour = legible_on(np.array(_INFORMATION(bits / (top or 1.0))[:3]))
            text = f"{bits:.2f}".removeprefix("0")
            write(axes, float(column), float(row), text, size, colour)
    bare(axes)
    framed(axes)
    axes.set_xlabel(f"entropy of the class: {whole:.2f} bits", fontsize=SMALL, color=QUIET)
