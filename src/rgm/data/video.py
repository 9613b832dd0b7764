"""Films in MP4, QuickTime, Matroska, WebM and AVI files, through the extra `video`."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from rgm.data.animations import check_bytes, grey_if_grey
from rgm.errors import RGMError

log = logging.getLogger("rgm")

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def read_video(path: Path) -> UInt8[Tensor, "frames height width *colour"]:
    """Return all frames of the first video of a file, upright, grey where every pixel is; its sound is left out.

    Needs the extra `video` (PyAV). Raises RGMError where it is absent, and for a file that is cut short or damaged, has
    no video or one frame alone, or is too large for memory; warns where the decoder goes on after damage.
    """
    try:
        import av  # an extra, and only where it is asked for
    except ImportError:
        raise RGMError(f"to read {path} takes one more package: pip install 'rgm[video]'") from None
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with path.open("rb") as stream:
            short = _is_short(stream, path.stat().st_size)
        if short:
            raise RGMError(f"{path} is cut short: its end is missing; fetch or make it again")
        with av.logging.Capture(local=False) as said, av.open(str(path)) as container:
            if not container.streams.video:
                raise RGMError(f"{path} holds no video: a film is made of frames")
            video = container.streams.video[0]
            if video.codec_context is None:
                raise RGMError(f"{path} is damaged or no video: it does not say how its frames are coded")
            video.thread_type = "AUTO"
            check_bytes(path, max(1, video.frames), video.height, video.width)
            frames = list(_upright(path, container.decode(video)))
    except RGMError:
        raise
    except (OSError, ValueError, EOFError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RGMError(f"{path} is damaged or no video: {reason}") from error
    finally:
        av.logging.set_level(level)
    if said:  # the decoder goes on after damage: frames are missing, or not as they were
        log.warning("%s is damaged: %s", path, " ".join(said[0][2].split()))
    if len(frames) < 2:
        raise RGMError(f"{path} has {len(frames) or 'no'} frame alone: a film needs at least two")
    return grey_if_grey(torch.from_numpy(np.stack(frames)))


def _upright(path: Path, decoded: Iterator[Any]) -> Iterator[NDArray[np.uint8]]:
    """Yield frames (height, width, 3) as they are to be shown; raise RGMError for too many, or of several sizes."""
    first: tuple[int, ...] | None = None
    for number, frame in enumerate(decoded, start=1):
        if frame.is_corrupt:  # shown as far as it goes
            raise RGMError(f"{path} is damaged or no video: frame {number} is not whole")
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
        first = first or pixels.shape
        if pixels.shape != first:
            raise RGMError(
                f"frame {number} of {path} has {pixels.shape[0]} × {pixels.shape[1]} pixels, but the first has "
                f"{first[0]} × {first[1]}: the frames of a film have one size"
            )
        check_bytes(path, number, *first[:2])
        yield pixels


def _is_short(stream: BinaryIO, size: int) -> bool:
    """Return whether a file ends before the last of its parts does: what is left would be read without a word."""
    begin = stream.read(12)
    if begin.startswith(b"RIFF"):
        return int.from_bytes(begin[4:8], "little") + 8 > size
    if begin.startswith(_EBML):
        return _matroska_end(stream) > size
    return begin[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip") and _boxes_end(stream, size) > size


def _boxes_end(stream: BinaryIO, size: int) -> int:
    """Return where the last box of an MP4 or QuickTime file ends."""
    place = 0
    while place < size:
        stream.seek(place)
        head = stream.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # the length follows, in 64 bits
            length = int.from_bytes(head[8:], "big")
        elif length == 0:  # to the end of the file
            return size
        place += max(8, length)
    return place


def _matroska_end(stream: BinaryIO) -> int:
    """Return where the segment of a Matroska or WebM file ends, or 0 where it does not say."""
    stream.seek(4)
    length, place = _vint(stream)
    stream.seek(place + length)
    if stream.read(4) != _SEGMENT:
        return 0
    length, place = _vint(stream)
    return place + length


def _vint(stream: BinaryIO) -> tuple[int, int]:
    """Return a length of variable size, 0 where it is unknown, and where what it measures begins."""
    first = (stream.read(1) or b"\xff")[0]
    size = 9 - first.bit_length()
    value = int.from_bytes(bytes([first & (2 ** (8 - size) - 1)]) + stream.read(size - 1), "big")
    return (0 if value == 2 ** (7 * size) - 1 else value), stream.tell()
