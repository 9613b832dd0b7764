"""The IDX format of MNIST and similar sets."""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from rgm.errors import RGMError
from rgm.storage.files import DENSEST

_UINT8 = 0x08


def read_idx(path: Path) -> UInt8[Tensor, "*shape"]:
    """Return an IDX file of unsigned bytes, `.gz` or not, as a tensor.

    The header is two zero bytes, the element type, the number of axes, and each axis as a big-endian 32-bit integer.
    Raises RGMError, with the file's name, for one that is missing, damaged, truncated or of another format.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            most = path.stat().st_size * (DENSEST if packed else 1)
            return _read(gzip.GzipFile(fileobj=file) if packed else file, path, most)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RGMError(f"{path} is a damaged gzip file ({error}): fetch the data set again") from error
    except OSError as error:
        raise RGMError(f"cannot read {path}: {error.strerror or error}") from error


def _read(stream: io.BufferedIOBase, path: Path, most: int) -> UInt8[Tensor, "*shape"]:
    """Read a file of at most `most` bytes: no memory is allocated for more, whatever its header claims."""
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] != _UINT8 or start[3] == 0:
        raise RGMError(
            f"{path} is not an IDX file of unsigned bytes: it begins with {start.hex() or 'nothing'} where "
            "0000 08 and the number of axes are expected; fetch the data set again"
        )
    sizes = stream.read(4 * start[3])
    if len(sizes) < 4 * start[3]:
        raise RGMError(f"{path} is cut short within its header: fetch the data set again")
    shape = struct.unpack(f">{start[3]}I", sizes)
    expected = math.prod(shape)
    content = bytearray(stream.read(min(expected, most)))
    short = len(content) < expected
    if short or stream.read(1):
        raise RGMError(
            f"{path} is {'cut short' if short else 'too long'}: its header claims {expected:,} bytes "
            f"({' × '.join(map(str, shape))}), but {f'{len(content):,}' if short else 'more'} follow; fetch the data "
            "set again"
        )
    if not expected:  # an axis of 0 and axes too long for a tensor would overflow
        raise RGMError(f"{path} is empty ({' × '.join(map(str, shape))}): fetch the data set again")
    return torch.frombuffer(content, dtype=torch.uint8).reshape(shape)
