"""Small animations: one cell that takes each code in turn, and further samples of each concept."""

import io

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rgm.evaluation.instantiation import Instantiation
from rgm.evaluation.locality import Locality
from rgm.model.receptive import Box
from rgm.report.mosaic import mosaic, pixels_of
from rgm.report.palette import CHANGE, SECOND

STEP_MS = 400
"""Duration of a frame, in milliseconds."""
SIDE, TILE = 224, 84
"""Pixels of an image's longer side, for a single image and in a grid of images."""
FRAMES = 32
"""The most frames of one animation."""
ACROSS = 5
"""Concepts in one row."""
Frame = NDArray[np.uint8]


def cell_gif(result: Locality) -> bytes:
    """Return an image whose outlined cell takes each code in turn, next to a map of the change, as a GIF."""
    example = result.example
    scale = max(1, SIDE // max(example.original.shape[1:]))
    change = (example.sweep - example.original).abs().amax(dim=1)
    greatest = float(change.max()) or 1.0
    frames = []
    step = -(-len(change) // FRAMES)
    for decoded, difference in zip(example.sweep[::step], change[::step], strict=True):
        left = _outlined(_enlarged(_pixels(decoded), scale), example.patch, scale)
        map_ = (CHANGE(difference.numpy() / greatest)[..., :3] * 255).astype(np.uint8)
        right = _outlined(_enlarged(map_, scale), example.patch, scale)
        gap = np.full((left.shape[0], scale * 2, 3), 255, dtype=np.uint8)
        frames.append(np.concatenate([left, gap, right], axis=1))
    return _gif(frames)


def concepts_gif(result: Instantiation) -> bytes:
    """Return a grid of all concepts with a new sample of each in every frame, as a GIF."""
    classes, variants, channels, rows, columns = result.sheet.shape
    across = min(ACROSS, classes)
    down = -(-classes // across)
    scale = max(1, TILE // max(rows, columns))
    frames = []
    for variant in range(variants):
        tiles = result.sheet.new_ones(down * across, channels, rows, columns)
        tiles[:classes] = result.sheet[:, variant]
        canvas = mosaic(tiles.unflatten(0, (down, across)), gap=2)
        grey = np.repeat(canvas, 3, axis=2) if channels == 1 else canvas
        frames.append(_enlarged((grey * 255).round().astype(np.uint8), scale))
    return _gif(frames)


def _pixels(image: Float[Tensor, "channels rows columns"]) -> Frame:
    pixels = (pixels_of(image) * 255).round().astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _enlarged(pixels: Frame, scale: int) -> Frame:
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def _outlined(pixels: Frame, box: Box, scale: int, width: int = 2) -> Frame:
    """Draw an orange border just inside a box of an image."""
    colour = [int(SECOND[place : place + 2], 16) for place in (1, 3, 5)]
    rows = slice(box.top * scale, box.bottom * scale)
    columns = slice(box.left * scale, box.right * scale)
    inner = pixels[rows, columns].copy()
    pixels[rows, columns] = colour
    if min(inner.shape[:2]) > 2 * width:
        pixels[rows, columns][width:-width, width:-width] = inner[width:-width, width:-width]
    return pixels


def _gif(frames: list[Frame]) -> bytes:
    """Return frames as a GIF that loops forever; equal frames give equal bytes."""
    palette = Image.fromarray(np.concatenate(frames, axis=0)).quantize(96)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, format="GIF", save_all=True, append_images=pictures[1:], duration=STEP_MS, loop=0, optimize=False
    )
    return buffer.getvalue()
