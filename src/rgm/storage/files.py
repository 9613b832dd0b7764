"""Writing files so that a reader never meets half of one."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rgm.errors import RGMError

DENSEST = 1032
"""Bytes that one byte of a deflated file can stand for, at most."""
_UNFINISHED = ".rgm-"
"""How the names of files begin that are being written."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step: a temporary file beside it, flushed to disk, renamed over it, the folder flushed.

    Raises RGMError where the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_UNFINISHED)
    except OSError as error:
        raise _cannot_write(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)  # mkstemp makes private files; a result is for sharing
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Have a folder's names reach the disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone, and clear away what a killed one was writing there.

    Claims may be nested. The system lets go of the claim of a process that dies. Raises RGMError where another
    process holds the folder, or where it cannot be written.
    """
    writable_folder(folder)
    try:
        with FileLock(folder / ".lock", timeout=0, is_singleton=True):
            for place in (folder, folder / "checkpoints", folder / "figures"):
                for leftover in place.glob(f"{_UNFINISHED}*"):
                    leftover.unlink(missing_ok=True)
            yield
    except Timeout:
        raise RGMError(
            f"{folder} is being written by another process: wait for it to end, or name another place with --out"
        ) from None


def write_text(path: Path, content: str) -> None:
    """Write a text file in one step, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one step: indented, and never NaN or infinity, which are not JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def writable_folder(path: Path) -> Path:
    """Return a folder that exists and can be written, making it where needed.

    Raises RGMError otherwise, before any work is done whose result would be lost.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def writable_file(path: Path) -> Path:
    """Return a path that a file can be written to, making its folder where needed; raise RGMError otherwise."""
    if path.is_dir():
        raise RGMError(f"cannot write {path}: it is a folder; name a file in it with --out")
    writable_folder(path.parent)
    return path


def _cannot_write(path: Path, error: OSError) -> RGMError:
    reason = error.strerror or str(error)
    return RGMError(f"cannot write {path}: {reason}; name another place")
