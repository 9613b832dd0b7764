"""The IDX format of MNIST and its relatives."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from rgm.errors import RGMError

_UINT8 = 0x08


def read_idx(path: Path) -> UInt8[Tensor, "*shape"]:
    """Return an IDX file of unsigned bytes as a tensor; `.gz` or not.

    The header is two zero bytes, the element type, the number of axes, and each axis as a big-endian 32-bit
    integer. Raises RGMError, with the file's name, for one that is missing, damaged, truncated or foreign.
    """
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UINT8 or content[3] == 0:
        raise RGMError(
            f"{path} is not an IDX file of unsigned bytes: it begins with {content[:4].hex() or 'nothing'} where "
            "0000 08 and the number of axes are expected; fetch the data set again"
        )
    axes = content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise RGMError(f"{path} is cut short within its header: fetch the data set again")
    shape = struct.unpack(f">{axes}I", content[4:start])
    expected, found = math.prod(shape), len(content) - start
    if found != expected:
        raise RGMError(
            f"{path} is {'cut short' if found < expected else 'too long'}: its header promises {expected:,} bytes "
            f"({' × '.join(map(str, shape))}), but {found:,} follow; fetch the data set again"
        )
    if not expected:  # an axis of 0 beside axes too long for a tensor would overflow, and nothing is in it
        raise RGMError(f"{path} is empty ({' × '.join(map(str, shape))}): fetch the data set again")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RGMError(f"cannot read {path}: {error.strerror or error}") from error
    if raw[:2] != b"\x1f\x8b":
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise RGMError(f"{path} is a damaged gzip file ({error}): fetch the data set again") from error
