"""Figures of the three experiments, drawn from their results alone."""

import io
from functools import singledispatch
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from rgm.experiments.abstraction import Abstraction
from rgm.experiments.instantiation import Instantiation
from rgm.experiments.locality import MARGIN, Locality
from rgm.model.receptive import Box
from rgm.report.palette import ACCENT, INK, QUIET, SECOND, code_colours, legible_on

Image = Float[Tensor, "channels rows columns"]
DPI = 144
STRIP = 5
"""Samples in the notebook's strip, and the concept that it shows."""
STRIP_CONCEPT = 3


@singledispatch
def experiment_figures(result: object) -> dict[str, Figure]:
    """Return the figures of an experiment's result by file stem."""
    raise TypeError(f"no figure is known for {type(result).__name__}")


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _show(axes: Axes, image: Image, title: str = "") -> None:
    """Draw an image without ticks, grey or in colour."""
    pixels = image.clamp(0, 1).permute(1, 2, 0).numpy()
    axes.imshow(pixels if pixels.shape[2] == 3 else pixels[:, :, 0], cmap="gray", vmin=0, vmax=1)
    _bare(axes, title)


def _bare(axes: Axes, title: str = "") -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=9, color=INK)


def _outline(axes: Axes, box: Box, **style: Any) -> None:
    corner = (box.left - 0.5, box.top - 0.5)
    axes.add_patch(Rectangle(corner, box.right - box.left, box.bottom - box.top, fill=False, **style))


def _short(name: str, length: int = 12) -> str:
    """Return a class's name cut to a length, without what matplotlib would read as mathematics."""
    plain = name.replace("$", "S")
    return plain if len(plain) <= length else plain[: length - 1] + "…"


# Abstraction


@experiment_figures.register
def _abstraction(result: Abstraction) -> dict[str, Figure]:
    return {"abstraction": abstraction_figure(result), "abstraction-atlas": atlas_figure(result)}


def abstraction_figure(result: Abstraction, *, rows: int = 4) -> Figure:
    """Return input, z_1 map, z_2 bars and reconstruction of a few examples."""
    chosen = np.linspace(0, len(result.images) - 1, min(rows, len(result.images))).round().astype(int)
    figure = _figure(9.0, 2.35 * len(chosen))
    axes = figure.subplots(len(chosen), 4, squeeze=False, width_ratios=(1, 1, 1.5, 1))
    colours = code_colours(result.atlas)
    for number, (row, example) in enumerate(zip(axes, chosen, strict=True)):
        first = number == 0
        _show(row[0], result.images[example], "input" if first else "")
        _code_map(row[1], result.inference.z1[example].numpy(), colours, "codes z₁" if first else "")
        truth = None if result.labels is None else int(result.labels[example])
        _bars(row[2], result.inference.concept[example].numpy(), result.classes, truth)
        if first:
            row[2].set_title("concept z₂", fontsize=9, color=INK)
        _show(row[3], result.inference.reconstruction[example], "from its codes" if first else "")
    return figure


def _code_map(axes: Axes, codes: np.ndarray, colours: np.ndarray, title: str) -> None:
    axes.imshow(colours[codes])
    if codes.size <= 100:
        for (row, column), code in np.ndenumerate(codes):
            axes.text(
                column,
                row,
                str(code),
                ha="center",
                va="center",
                fontsize=6.5,
                color=legible_on(colours[code]),
            )
    _bare(axes, title)


def _bars(axes: Axes, probabilities: np.ndarray, classes: tuple[str, ...], truth: int | None) -> None:
    colours = [SECOND if index == truth else ACCENT for index in range(len(probabilities))]
    axes.bar(range(len(probabilities)), probabilities, color=colours, width=0.75)
    names = [_short(name, 8) for name in classes] or [str(index) for index in range(len(probabilities))]
    crowded = max(map(len, names)) > 2
    step = max(1, len(names) // 20)
    axes.set_xticks(range(0, len(names), step), names[::step], fontsize=7, rotation=90 if crowded else 0)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1], ["0", "½", "1"], fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=QUIET, length=0, labelcolor=INK)


def atlas_figure(result: Abstraction) -> Figure:
    """Return, for each code, the mean patch seen under it and what it paints, with its share of all cells."""
    atlas, columns = result.atlas, 8
    states = len(atlas.counts)
    rows = -(-states // columns)
    figure = _figure(9.0, 0.95 * rows + 0.1)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    total = max(1, int(atlas.counts.sum()))
    colours = code_colours(atlas)
    gap = torch.ones(atlas.seen.shape[1], atlas.seen.shape[2], 1)
    for code, place in enumerate(axes):
        if code >= states:
            place.set_axis_off()
            continue
        pair = torch.cat([atlas.seen[code], gap, atlas.painted[code]], dim=2)
        _show(place, pair)
        share = 100 * int(atlas.counts[code]) / total
        place.set_title(
            f"{code}  {share:.1f} %" if share >= 0.05 or not share else f"{code}  <0.1 %",
            fontsize=7.5,
            color=INK if share else SECOND,
        )
        for spine in place.spines.values():
            spine.set(visible=True, color=colours[code], linewidth=2.5)
    return figure


# Instantiation


@experiment_figures.register
def _instantiation(result: Instantiation) -> dict[str, Figure]:
    return {"instantiation": sheet_figure(result), "instantiation-strip": strip_figure(result)}


def sheet_figure(result: Instantiation) -> Figure:
    """Return the sheet of samples, one row a concept, with the judge's share at the row's end."""
    concepts, columns, channels, tall, wide = result.sheet.shape
    gap = 1
    canvas = torch.ones(channels, concepts * (tall + gap) - gap, columns * (wide + gap) - gap)
    for concept in range(concepts):
        for column in range(columns):
            top, left = concept * (tall + gap), column * (wide + gap)
            canvas[:, top : top + tall, left : left + wide] = result.sheet[concept, column]
    figure = _figure(8.2, 8.2 * canvas.shape[1] / canvas.shape[2] * 0.86)
    axes = figure.subplots()
    _show(axes, canvas)
    middles = [concept * (tall + gap) + tall / 2 for concept in range(concepts)]
    axes.set_yticks(middles, [_short(name) for name in result.classes], fontsize=10, color=INK)
    axes.tick_params(length=0)
    if result.recognised is not None:
        other = axes.secondary_yaxis("right")
        shares = [f"{100 * float(share):.0f} %" for share in result.recognised]
        other.set_yticks(middles, shares, fontsize=9, color=QUIET)
        other.tick_params(length=0)
        other.spines["right"].set_visible(False)
        other.set_ylabel("recognised as their concept", fontsize=8, color=QUIET)
    return figure


def strip_figure(result: Instantiation) -> Figure:
    """Return five samples of one concept, as the notebook shows them."""
    concept = min(STRIP_CONCEPT, len(result.sheet) - 1)
    count = min(STRIP, result.sheet.shape[1])
    figure = _figure(1.7 * count, 2.0)
    for index, axes in enumerate(figure.subplots(1, count, squeeze=False)[0]):
        _show(axes, result.sheet[concept, index], f"sample {index + 1}")
    figure.suptitle(f"concept fixed at {_short(result.classes[concept])}", fontsize=10, color=INK)
    return figure


# Locality


@experiment_figures.register
def _locality(result: Locality) -> dict[str, Figure]:
    return {"locality": change_figure(result), "locality-map": spread_figure(result)}


def change_figure(result: Locality) -> Figure:
    """Return the original, one cell changed, their difference, and another concept in its place."""
    example = result.example
    difference = (example.local - example.original).abs().amax(dim=0)
    names = [_short(name, 8) for name in result.classes]
    old, new = names[example.old_concept], names[example.new_concept]
    figure = _figure(9.0, 2.5)
    axes = figure.subplots(1, 4)
    _show(axes[0], example.original, "original, from its codes")
    _show(axes[1], example.local, f"one cell: code {example.before} → {example.after}")
    drawn = axes[2].imshow(difference.numpy(), cmap="magma", vmin=0)
    _bare(axes[2], "what changed")
    bar = figure.colorbar(drawn, ax=axes[2], shrink=0.75, pad=0.03)
    bar.ax.tick_params(labelsize=6, length=2)
    bar.outline.set_visible(False)
    _show(axes[3], example.globally, f"another concept: {old} → {new}")
    for place in axes[:3]:
        _outline(place, example.patch, edgecolor=SECOND, linewidth=1.6)
    _outline(axes[2], example.field, edgecolor="#9fd3ea", linewidth=1.2, linestyle="--")
    return figure


def spread_figure(result: Locality) -> Figure:
    """Return the mean squared change around a changed cell, and how much of it stays where."""
    figure = _figure(9.0, 3.5)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    (top, start), (tall, wide) = result.origin, result.patch_size
    around = 2 * max(tall, wide)
    rows, columns = result.aligned.shape
    window = Box(
        top=max(0, top - around),
        bottom=min(rows, top + tall + around),
        left=max(0, start - around),
        right=min(columns, start + wide + around),
    )
    seen = result.aligned[window.top : window.bottom, window.left : window.right].numpy()
    extent = (
        window.left - start - 0.5,
        window.right - start - 0.5,
        window.bottom - top - 0.5,
        window.top - top - 0.5,
    )
    scale = PowerNorm(0.5, vmin=0, vmax=float(seen.max()) or 1.0)
    drawn = left.imshow(seen, cmap="magma", norm=scale, extent=extent)
    own = Box(top=0, bottom=tall, left=0, right=wide)
    near = Box(top=-MARGIN, bottom=tall + MARGIN, left=-MARGIN, right=wide + MARGIN)
    _outline(left, own, edgecolor=SECOND, linewidth=1.8)
    _outline(left, near, edgecolor="#9fd3ea", linewidth=1.2, linestyle="--")
    left.set_xlabel("pixels from the cell's patch", fontsize=8, color=INK)
    left.tick_params(labelsize=7, colors=QUIET)
    bar = figure.colorbar(drawn, ax=left, shrink=0.85, pad=0.02)
    bar.set_label("mean squared change (root scale)", fontsize=7.5, color=INK)
    bar.ax.tick_params(labelsize=6.5, length=2)
    bar.outline.set_visible(False)
    _shares(right, result)
    return figure


def _shares(axes: Axes, result: Locality) -> None:
    measures = result.measures()
    rows = [
        ("change in the cell's own patch", measures["own_patch_share"], SECOND),
        (f"… in the patch + {MARGIN} pixels", measures["patch_plus_2_share"], "#5fb0d0"),
        ("… in the receptive field", measures["receptive_field_share"], ACCENT),
        ("pixels moved by one cell", measures["local_extent"], QUIET),
        ("pixels moved by another concept", measures["global_extent"], QUIET),
    ]
    for place, (_, value, colour) in enumerate(rows):
        axes.barh(place, value, color=colour, height=0.62)
        inside = value > 0.8
        axes.text(
            value - 0.015 if inside else value + 0.015,
            place,
            f"{100 * value:.1f} %",
            va="center",
            ha="right" if inside else "left",
            fontsize=9,
            color="white" if inside else INK,
        )
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=8.5, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
