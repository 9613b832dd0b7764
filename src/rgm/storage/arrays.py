"""Arrays in .npz and .npy files of others: no more memory is allocated than a file can hold."""

import io
import math
import struct
import zlib
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile

import numpy as np
from numpy.typing import NDArray

from rgm.errors import RGMError
from rgm.storage.files import DENSEST

_DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, SyntaxError, TypeError)
"""What NumPy raises for a damaged file, beside the errors of its archive."""


def read_array(path: Path, name: str | None, missing: str) -> NDArray[np.generic]:
    """Return an .npz file's array of this name, or without a name an .npy file's.

    Raises RGMError for a file that is damaged, of another format or without such an array and, in the words of
    `missing`, where there is none.
    """
    if not path.is_file():
        raise RGMError(missing)
    try:
        with path.open("rb") as stream:
            single = stream.read(6) == b"\x93NUMPY"
            stream.seek(0)
            return _single(path, stream, single) if name is None else _named(path, stream, name, single)
    except RGMError:
        raise
    except (*_DAMAGE, struct.error, zlib.error, BadZipFile) as error:
        raise RGMError(
            f"{path} is not a whole {'.npy' if name is None else '.npz'} file ({' '.join(str(error).split())}): "
            "write it again"
        ) from error


def _single(path: Path, stream: io.BufferedIOBase, single: bool) -> NDArray[np.generic]:
    if not single:
        raise RGMError(f"{path} is not an .npy file: write it with np.save")
    _check_claim(stream, path.stat().st_size, "it")
    stream.seek(0)
    found: NDArray[np.generic] = np.load(stream, allow_pickle=False)
    return found


def _named(path: Path, stream: io.BufferedIOBase, name: str, single: bool) -> NDArray[np.generic]:
    if single:
        raise RGMError(f"{path} is a single array, not an .npz file: write it with np.savez")
    opened = np.load(stream, allow_pickle=False)
    if name not in opened:
        raise RGMError(f"{path} holds no array `{name}`, only {', '.join(opened) or 'nothing'}")
    archive = opened.zip
    member = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")
    size = path.stat().st_size * (1 if member.compress_type == ZIP_STORED else DENSEST)
    with archive.open(member) as inside:
        _check_claim(inside, min(member.file_size, size), f"`{name}`")
    found: NDArray[np.generic] = opened[name]
    return found


def _check_claim(stream: io.BufferedIOBase, most: int, what: str) -> None:
    """Raise ValueError where an array's header claims more than `most` bytes: NumPy allocates them before it reads."""
    first = np.lib.format.read_magic(stream) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if math.prod(shape) * dtype.itemsize > most:
        raise ValueError(f"{what} claims {' × '.join(map(str, shape))} values, more than it holds")
