"""Animated pictures (GIF, APNG, WebP) and folders of numbered pictures as films, and films as GIF files."""

import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError
from torch import Tensor

from rgm.data.folder import FORMATS, image_files, in_words, visible, warn_once
from rgm.errors import RGMError

ANIMATIONS = (".gif", ".png", ".apng", ".webp")
MILLISECONDS = 80
"""Duration of a frame of a GIF that is written."""
ENLARGED = "a film by rgm: a pixel has {} pixels a side"
"""The comment of a GIF that is written."""
MOST_BYTES = 2**31
"""Most bytes that the frames of one file may take once decoded."""


def read_animation(path: Path) -> UInt8[Tensor, "frames height width *colour"]:
    """Return all frames of an animated picture, grey where every pixel is.

    A GIF by `gif` is read at the film's own size and with all of its frames: equal ones in a row are stored as one.
    Raises RGMError for a file that is missing, cut short, no picture, or has one frame alone.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RGMError(f"cannot read {path}: {error.strerror or error}") from error
    if _is_short(content):
        raise RGMError(f"{path} is cut short: its end is missing; fetch or make it again")
    try:
        with Image.open(io.BytesIO(content)) as image:
            side = _enlarged(image)
            width, height = (edge // (side or 1) for edge in image.size)
            frames: list[NDArray[np.uint8]] = []
            for frame in ImageSequence.Iterator(image):
                times = 1 if side is None else max(1, round(frame.info.get("duration", 0) / MILLISECONDS))
                check_bytes(path, len(frames) + times, height, width)
                frames += [np.asarray(frame.convert("RGB"))[:: side or 1, :: side or 1]] * times
            if len(frames) < 2:
                raise RGMError(f"{path} has one frame alone: a film needs at least two")
    except RGMError:
        raise
    except (OSError, EOFError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise RGMError(f"{path} is damaged or no picture: {' '.join(str(error).split())}") from error
    return grey_if_grey(torch.from_numpy(np.stack(frames)))


def read_pictures(folder: Path) -> UInt8[Tensor, "frames height width *colour"]:
    """Return the pictures of a folder as one film, in the order of the numbers in their names.

    Raises RGMError for a folder with fewer than two pictures, or with pictures of several sizes.
    """
    ignored = Counter[str]()
    paths = list(image_files(visible(folder), ignored))
    if left_out := in_words(ignored):
        warn_once(f"left out of {folder}: {left_out} ({FORMATS})")
    if len(paths) < 2:
        raise RGMError(f"{folder} holds {len(paths) or 'no'} pictures: a film is at least two, with numbers as names")
    paths.sort(key=lambda path: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)])
    frames = []
    for path in paths:
        try:
            with Image.open(path) as image:
                frames.append(np.asarray(image.convert("RGB")))
        except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise RGMError(f"{path} is damaged or no picture: {' '.join(str(error).split())}") from error
        if frames[-1].shape != frames[0].shape:
            (height, width), (first_height, first_width) = frames[-1].shape[:2], frames[0].shape[:2]
            raise RGMError(
                f"{path} has {height} × {width} pixels, but {paths[0].name} has {first_height} × {first_width}: the "
                "frames of a film have one size"
            )
    return grey_if_grey(torch.from_numpy(np.stack(frames)))


def gif(frames: UInt8[Tensor, "frames height width *colour"], *, enlarge: int = 1) -> bytes:
    """Return a film as a looping GIF, each pixel `enlarge` pixels a side, which its comment says."""
    large = frames.repeat_interleave(enlarge, dim=1).repeat_interleave(enlarge, dim=2)
    pictures = [Image.fromarray(frame.numpy()) for frame in large]
    content = io.BytesIO()
    pictures[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=MILLISECONDS,
        loop=0,
        optimize=False,
        comment=ENLARGED.format(enlarge),
    )
    return content.getvalue()


def _enlarged(image: Image.Image) -> int | None:
    """Return how many pixels a side a film's pixel is in a GIF by `gif`; None for another's."""
    comment = image.info.get("comment", b"")
    found = re.fullmatch(ENLARGED.format(r"([1-9]\d{0,3})"), comment.decode("latin-1")) if comment else None
    side = int(found[1]) if found else None
    return None if side is None or any(edge % side for edge in image.size) else side


def check_bytes(path: Path, count: int, height: int, width: int) -> None:
    """Raise RGMError where the frames of a file take more than `MOST_BYTES` once decoded."""
    if count * height * width * 3 > MOST_BYTES:
        raise RGMError(
            f"{path} has {count:,} frames of {height} × {width} pixels, or more: too many to hold in memory, where "
            f"{MOST_BYTES // (height * width * 3):,} would fit"
        )


def grey_if_grey(frames: Tensor) -> Tensor:
    """Return frames of colour, (frames, height, width, 3), without colour where every pixel is grey."""
    return frames[..., 0].clone() if bool((frames == frames[..., :1]).all()) else frames


def _is_short(content: bytes) -> bool:
    """Return whether an animated picture lacks its end: Pillow reads the frames before it without a word."""
    if content.startswith((b"GIF87a", b"GIF89a")):
        return not content.rstrip(b"\0").endswith(b";")
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content[-16:]
    if content.startswith(b"RIFF"):
        return int.from_bytes(content[4:8], "little") + 8 > len(content)
    return False
