"""Codes and images as .npz files."""

import io
import math
import struct
import zlib
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError, unknown
from rgm.model.generative import RGM
from rgm.model.results import Samples
from rgm.runtime.seeds import as_seed
from rgm.storage.files import DENSEST, write_bytes

Arrays = dict[str, NDArray[np.generic]]
_DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, SyntaxError, TypeError)
"""What NumPy raises for a damaged file, beside the errors of its archive."""


def write(path: Path, arrays: Arrays) -> None:
    """Write arrays as one .npz file atomically; raise RGMError where it cannot be written."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def encoded(model: RGM, data: ImageSet) -> Arrays:
    """Return `z1` (and `z2` … below the concept), `concept`, `reconstruction` and, where known, `labels`."""
    result = model.infer(to_unit(data.images).to(model.device))
    arrays: Arrays = {f"z{level}": codes.cpu().numpy() for level, codes in enumerate(result.codes, start=1)}
    arrays["concept"] = result.concept.cpu().numpy()
    arrays["reconstruction"] = result.reconstruction.cpu().numpy()
    if data.labels is not None:
        arrays["labels"] = data.labels.numpy()
    return arrays


def decoded(model: RGM, z1: Int64[Tensor, "n height width"]) -> Arrays:
    """Return the `images` of codes; raise RGMError for codes that the model does not have."""
    return {"images": model.decode(z1.to(model.device)).cpu().numpy()}


def sampled(model: RGM, concepts: list[int], count: int, seed: int) -> Arrays:
    """Return `images`, `concept` and `z1` of `count` samples of each concept."""
    generator = torch.Generator(model.device).manual_seed(as_seed(seed))
    return _as_arrays(model.sample(torch.tensor(concepts), count, generator=generator))


def concepts_named(name: str, classes: tuple[str, ...]) -> list[int]:
    """Return the concepts of a name (`all`, a class's name, or its number); raise RGMError for any other."""
    if name == "all":
        return list(range(len(classes)))
    if name in classes:
        return [classes.index(name)]
    if name.isdecimal() and int(name) < len(classes):
        return [int(name)]
    raise unknown("concept", name, [*classes, "all"])


def completed(model: RGM, path: Path, concepts: list[int] | None, seed: int) -> Arrays:
    """Return `images`, `concept` and `z1` of a file's codes, with cells outside its `keep` resampled.

    The concept is the given one, or each grid's own in the file. Raises RGMError for arrays that do not fit.
    """
    z1, mask = read_codes(path), _array(path, "keep")
    if mask.dtype != np.bool_:
        raise RGMError(f"`keep` in {path} must be true or false for each cell, but is {mask.dtype}")
    if concepts is None:
        chosen = _concepts(path, model.num_classes)
    elif len(concepts) == 1:
        chosen = torch.tensor(concepts)
    else:
        raise RGMError("a completion needs one concept: name it with --concept")
    generator = torch.Generator(model.device).manual_seed(as_seed(seed))
    keep = torch.from_numpy(mask[None] if mask.ndim == 2 else mask)
    z1, keep, chosen = (part.to(model.device) for part in (z1, keep, chosen))
    return _as_arrays(model.complete(z1, keep, chosen, generator=generator))


def _as_arrays(samples: Samples) -> Arrays:
    named = {"images": samples.images, "concept": samples.concept, "z1": samples.z1}
    return {name: values.cpu().numpy() for name, values in named.items()}


def _concepts(path: Path, classes: int) -> Int64[Tensor, " n"]:
    """Return the `concept` of an .npz file: its numbers, or the most probable ones."""
    found = _array(path, "concept")
    if found.ndim == 2 and found.shape[1] == classes and found.dtype.kind in "iuf":
        return torch.from_numpy(found.argmax(axis=1))
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise RGMError(
            f"`concept` in {path} must be whole numbers of shape (n,) or probabilities of shape (n, {classes}), "
            f"but is {found.dtype} of shape {found.shape}"
        )
    return torch.from_numpy(found.astype(np.int64))


def _array(path: Path, name: str) -> NDArray[np.generic]:
    """Return one array of an .npz file; raise RGMError where there is none."""
    if not path.is_file():
        raise RGMError(f"no codes at {path}: `rgm encode` writes such a file")
    try:
        with path.open("rb") as stream:
            if stream.read(6) == b"\x93NUMPY":
                raise RGMError(f"{path} is a single array, not an .npz file: write it with np.savez")
            stream.seek(0)
            opened = np.load(stream, allow_pickle=False)
            if name not in opened:
                raise RGMError(f"{path} holds no array `{name}`, only {', '.join(opened) or 'nothing'}")
            _check_size(opened, name, path.stat().st_size)
            found: NDArray[np.generic] = opened[name]
    except RGMError:
        raise
    except (*_DAMAGE, struct.error, zlib.error, BadZipFile) as error:
        raise RGMError(f"{path} is not a whole .npz file ({error}): write it again") from error
    return found


def _check_size(opened: "np.lib.npyio.NpzFile", name: str, size: int) -> None:
    """Raise ValueError where an array's header claims more than a file of `size` bytes can hold.

    NumPy allocates the memory for an array before it reads it.
    """
    archive = opened.zip
    assert archive is not None  # it is open
    member = archive.getinfo(name if name in archive.namelist() else f"{name}.npy")
    with archive.open(member) as stream:
        first = np.lib.format.read_magic(stream) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    most = min(member.file_size, size * (1 if member.compress_type == ZIP_STORED else DENSEST))
    if math.prod(shape) * dtype.itemsize > most:
        raise ValueError(f"`{name}` claims {' × '.join(map(str, shape))} values, more than it holds")


def read_codes(path: Path) -> Int64[Tensor, "n height width"]:
    """Return the `z1` of an .npz file; raise RGMError for a file without integers of that name."""
    z1 = _array(path, "z1")
    if z1.dtype.kind not in "iu" or z1.ndim != 3:
        raise RGMError(
            f"`z1` in {path} must be whole numbers of shape (n, height, width), but is {z1.dtype} of shape {z1.shape}"
        )
    return torch.from_numpy(z1.astype(np.int64))


def read_images(path: Path) -> UInt8[Tensor, "n channels height width"]:
    """Return the 8-bit `images` of an .npz file; raise RGMError for a file without any."""
    images = _array(path, "images")
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise RGMError(
            f"`images` in {path} must be 8-bit, uint8 of shape (n, channels, height, width) with n ≥ 1, but is "
            f"{images.dtype} of shape {images.shape}"
        )
    return torch.from_numpy(images)
