"""Tensors with a header in one safetensors file: versioned, with a checksum, and without code."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rgm.errors import RGMError
from rgm.storage.files import write_bytes

VERSION = 1


class DamagedError(RGMError):
    """A corrupted file: truncated or changed."""


def write_tensors(path: Path, kind: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and a header for JSON atomically; equal content gives bit-identical files.

    The header is the file's metadata under the one key `kind` (several keys would have no fixed order), with the
    format's `version` and the `sha256` of the header and of every tensor's name, type, shape and bytes. Raises RGMError
    where the file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    open_header = json.dumps({"version": VERSION, "sha256": "", **header})
    sealed = open_header.replace('"sha256": ""', f'"sha256": "{_digest(open_header, plain)}"', 1)
    write_bytes(path, save(plain, metadata={kind: sealed}))


def read_tensors(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the header, without version and checksum, and the tensors of a file by `write_tensors`.

    Raises DamagedError for a corrupted file, and RGMError for one of another kind or of a newer version. Sizes in the
    header are checked against the file before memory is allocated.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except OSError as error:
        raise RGMError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, RuntimeError, TypeError) as error:
        raise DamagedError(
            f"{path} is not a whole safetensors file ({' '.join(str(error).split())}): it is of another kind, or "
            "damaged: name another file, or fetch or train this one again"
        ) from error
    if kind not in metadata:
        found = ", ".join(sorted(metadata)) or "none"
        raise RGMError(
            f"{path} is a safetensors file but not of the requested kind: its header has no entry {kind!r} (it has "
            f"{found})"
        )
    text = metadata[kind]
    try:
        header = json.loads(text)
        version, checksum = header.pop("version"), header.pop("sha256")
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path} has a header that is not rgm's ({error}): fetch or train it again") from error
    if isinstance(version, int) and version > VERSION:
        raise RGMError(
            f"{path} was written by a newer rgm (format {version}, this one reads up to {VERSION}): update rgm"
        )
    if checksum != _digest(text.replace(f'"sha256": "{checksum}"', '"sha256": ""', 1), tensors):
        raise DamagedError(f"{path} is not as it was written: its checksum differs; fetch or train it again")
    return header, tensors


def misfits(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """Return the differences of tensors from an architecture's: in names, shapes or types."""
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    problems += [f"{name} is not part of it" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        shapes = [tuple(tensors[name].shape) for tensors in (expected, found)]
        if shapes[0] != shapes[1]:
            problems.append(f"{name} has shape {shapes[1]} where {shapes[0]} is expected")
        elif expected[name].is_floating_point() != found[name].is_floating_point():
            problems.append(f"{name} is of {found[name].dtype} where {expected[name].dtype} is expected")
    return sorted(problems)


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
