"""Films as pictures: strips of frames, row by row, and the same as an animation."""

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from rgm.data.animations import gif
from rgm.evaluation.time import TimeResult
from rgm.report.canvas import show_rows

SHOWN = 12
"""Most frames of a strip."""
GAP = 2


def film_strips(result: TimeResult) -> Figure:
    """Return strips of a film, of what is foretold from its first frames, and of what was hidden and filled in."""
    frames = _planes(result.strips)[:, :SHOWN]
    return show_rows(frames, result.names, gap=GAP, widest=0.6, margin=1.6)[0]


def films_gif(result: TimeResult) -> bytes:
    """Return the films side by side as an animation."""
    frames = _planes(result.strips)
    rows, time, channels, height, width = frames.shape
    canvas = torch.full((time, channels, height, rows * (width + GAP) - GAP), 0.75)
    for row, film in enumerate(frames):
        canvas[..., row * (width + GAP) : row * (width + GAP) + width] = film
    shown = canvas.mul(255).round().byte()
    return gif(shown[:, 0] if channels == 1 else shown.permute(0, 2, 3, 1), enlarge=max(1, 120 // max(height, width)))


def _planes(strips: Tensor) -> Float[Tensor, "rows time channels height width"]:
    return strips[:, :, None] if strips.ndim == 4 else strips.permute(0, 1, 4, 2, 3)
