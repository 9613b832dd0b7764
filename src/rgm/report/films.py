"""Films as pictures: strips of frames, row by row, the same as an animation, levels, paths, and errors by step."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from rgm.data.animations import gif
from rgm.evaluation.time import TimeResult
from rgm.report.canvas import LABEL, TITLE, WIDTH, bare, draw, new_figure, plain, show_rows
from rgm.report.mosaic import pixels_of
from rgm.report.palette import ACCENT, INK, QUIET, SECOND
from rgm.temporal.config import MemoryConfig
from rgm.temporal.flow import Flow

SHOWN = 12
"""Most frames of a strip."""
GAP = 2
TALLEST = 1.1
"""Inches of a level's row, at most."""
PATHS, ACROSS = 24, 8
"""Most paths that are drawn, and those in a row."""


def film_strips(result: TimeResult) -> Figure:
    """Return strips of a film, of what is predicted from its first frames, and of what was hidden and filled in."""
    return strips_figure(result.strips, result.names)


def strips_figure(films: Float[Tensor, "rows time height width *colour"], names: Sequence[str]) -> Figure:
    """Return the first frames of films in [0, 1], a row a film."""
    return show_rows(_planes(films)[:, :SHOWN], names, gap=GAP, widest=0.6, margin=1.6)[0]


def films_gif(result: TimeResult) -> bytes:
    """Return the films side by side as an animation."""
    frames = _planes(result.strips)
    rows, time, channels, height, width = frames.shape
    canvas = torch.full((time, channels, height, rows * (width + GAP) - GAP), 0.75)
    for row, film in enumerate(frames):
        canvas[..., row * (width + GAP) : row * (width + GAP) + width] = film
    shown = canvas.mul(255).round().byte()
    return gif(shown[:, 0] if channels == 1 else shown.permute(0, 2, 3, 1), enlarge=max(1, 120 // max(height, width)))


def levels_figure(film: Float[Tensor, "time height width *colour"], memory: MemoryConfig) -> Figure:
    """Return a film's first event at every level, from the event down to pixels, cut where a level's states end."""
    levels = memory.levels
    frames = _planes(film[None, : min(SHOWN, levels[-1].span)])[0]
    cuts = [(1, 1, "pixels")]
    for number, level in enumerate(levels, start=1):
        cuts.append((memory.side**number, level.span, f"level {number}" if number < len(levels) else "event"))
    canvases = [_cut(frames, block, span) for block, span, _ in reversed(cuts)]
    sizes = [canvas.shape[0] / canvas.shape[1] for canvas in canvases]
    margin = 0.8
    width = min(WIDTH - margin, TALLEST / max(sizes))
    figure = new_figure(width * sum(sizes) + 0.15 * len(cuts), width + margin)
    rows = figure.subplots(len(cuts), 1, squeeze=False, gridspec_kw={"height_ratios": sizes})[:, 0]
    for axes, canvas, (*_, name) in zip(rows, canvases, reversed(cuts), strict=True):
        draw(axes, canvas)
        bare(axes)
        axes.set_ylabel(name, fontsize=TITLE, color=INK, rotation=0, ha="right", va="center", labelpad=8)
    return figure


def paths_figure(flow: Flow) -> Figure:
    """Return the paths of a flow: from where each copies, or where each place moves to if places have kernels.

    A shared kernel is drawn with the pixel that it predicts in its centre: the whiter, the more is copied from there.
    """
    window = 2 * flow.config.reach + 1
    learned = flow.kernels.amax(dim=2).mean(dim=0) * window**2 > 2  # one that no film needed has stayed uniform
    order = flow.start.argsort(descending=True)
    shown = order[learned[order]][:PATHS].cpu()
    down = max(1, -(-len(shown) // ACROSS))
    side = WIDTH / ACROSS
    figure = new_figure(down * side, WIDTH)
    grid = figure.subplots(down, ACROSS, squeeze=False).flatten()
    _, height, width = flow.image
    reach = flow.config.reach
    offset = torch.arange(-reach, reach + 1, dtype=torch.float32)
    for axes in grid:
        bare(axes)
    for axes, path in zip(grid, shown.tolist(), strict=False):
        kernels = flow.kernels[:, path].cpu().float()
        axes.spines[:].set(visible=True, color=QUIET, linewidth=0.6)
        if len(kernels) == 1:
            draw(axes, (kernels[0] / kernels[0].max()).reshape(window, window, 1).numpy())
            axes.plot(reach, reach, marker="+", color=SECOND, markersize=5)
            continue
        moved = -(kernels @ torch.cartesian_prod(offset, offset)).reshape(height, width, 2)[::3, ::3]
        axes.quiver(moved[..., 1].numpy(), moved[..., 0].numpy(), color=ACCENT, angles="xy", width=0.012)
        axes.invert_yaxis()
        axes.set_aspect("equal")
    return figure


def rollout_figure(model: Sequence[float], repeat: Sequence[float]) -> Figure:
    """Return the squared error of each frame after a cue: of the model's, and of the cue's last frame repeated."""
    figure = new_figure(2.3, 0.7 * WIDTH)
    axes = figure.subplots()
    steps = range(1, len(model) + 1)
    for values, name, colour in ((repeat, "the last frame repeated", SECOND), (model, "the model", ACCENT)):
        axes.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=3.5, label=name)
    axes.set_xlabel("frames after the cue", fontsize=LABEL, color=QUIET)
    axes.set_title("mean squared error", fontsize=TITLE, color=INK)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.grid(axis="y", color=QUIET, alpha=0.2, linewidth=0.6)
    axes.legend(fontsize=LABEL, frameon=False)
    plain(axes, "top", "right")
    return figure


def _cut(frames: Float[Tensor, "time channels height width"], block: int, span: int) -> NDArray[np.float32]:
    """Return frames side by side, with gaps between blocks of `block` pixels a side and wider ones between spans."""
    time, _, height, width = frames.shape
    gap = 1 if block > 1 else 0
    rows, columns = (np.arange(size) + gap * (np.arange(size) // block) for size in (height, width))
    starts = [frame * (columns[-1] + 3) + 4 * (frame // span) for frame in range(time)]
    pixels = [pixels_of(frame) for frame in frames]
    canvas = np.ones((rows[-1] + 1, starts[-1] + columns[-1] + 1, pixels[0].shape[2]), dtype=np.float32)
    for start, frame in zip(starts, pixels, strict=True):
        canvas[rows[:, None], start + columns[None]] = frame
    return canvas


def _planes(strips: Tensor) -> Float[Tensor, "rows time channels height width"]:
    return strips[:, :, None] if strips.ndim == 4 else strips.permute(0, 1, 4, 2, 3)
