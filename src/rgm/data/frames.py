"""Films as tensors: what the user's own arrays may be."""

from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from rgm.data.load import as_tensor
from rgm.errors import RGMError

Frames = UInt8[Tensor, "_ _ height width *colour"]
"""Films of one length: (films, frames, rows, columns), with a last axis of 3 for colour."""

SHORTEST, WIDEST = 2, 4096
"""Least number of frames of a film; largest side of a frame in pixels."""
PICTURE = 8
"""Axes of so many or more are taken for rows and columns where a last axis of 4 could be colours."""
_SHAPES = "(frames, rows, columns) or (films, frames, rows, columns), with a last axis of 3 for colour"


def films_of(frames: Any, *, what: str = "frames", shortest: int = SHORTEST) -> Frames:
    """Return the user's own films as (films, frames, rows, columns), with a last axis of 3 for colour, uint8.

    `frames`: `_SHAPES`, uint8, or floats or booleans in [0, 1]. Raises RGMError for anything else: no film or frame, a
    single frame, a channel too many, or other numbers.
    """
    pixels = as_tensor(frames, what)
    if pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[-1] == 3 and pixels.shape[-2] != 3):
        pixels = pixels[None]
    if pixels.ndim not in (4, 5) or (pixels.ndim == 5 and pixels.shape[-1] != 3) or pixels.numel() == 0:
        raise RGMError(f"{what} must have the shape {_SHAPES}, but have {tuple(pixels.shape)}")
    if pixels.ndim == 4 and pixels.shape[-1] == 4 and min(pixels.shape[1:3]) >= PICTURE:
        raise RGMError(
            f"{what} of shape {tuple(pixels.shape)} seem to have four channels, where three are read: leave the fourth "
            "out, frames[..., :3]; films four pixels wide need a fifth column"
        )
    if pixels.shape[1] < shortest:
        raise RGMError(f"a film needs at least {shortest} frames, but {what} of shape {tuple(pixels.shape)} have one")
    if max(pixels.shape[2:4]) > WIDEST:
        raise RGMError(f"frames have at most {WIDEST:,} pixels a side, but {what} have {tuple(pixels.shape[2:4])}")
    if pixels.dtype == torch.bool:
        return pixels.to(torch.uint8) * 255
    if pixels.is_floating_point():
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):
            raise RGMError(f"{what} of floats must lie in [0, 1], but range over {low:g} … {high:g}")
        return pixels.mul(255).round().to(torch.uint8)
    if pixels.dtype != torch.uint8:
        raise RGMError(f"{what} must be uint8, or floats in [0, 1], but are {pixels.dtype}")
    return pixels
