"""Writing files so that a reader never meets half of one."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from rgm.errors import RGMError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step: a temporary file beside it, flushed to disk, renamed over it.

    Raises RGMError where the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


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
    return RGMError(f"cannot write {path}: {reason}; name another place with --out")
