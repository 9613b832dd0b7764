"""Atomic writes of files."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from rgm.errors import RGMError

DENSEST = 1032
"""Maximum compression ratio of a deflated file."""
MARKER = ".rgm"
"""The file by which a folder that rgm wrote is known."""
FileKind = Literal["arrays", "a model", "compressed images", "GIF", "a picture by rgm", "WAV"]
_BEGINS: dict[FileKind, tuple[int, bytes]] = {
    "arrays": (0, b"PK"),
    "a model": (8, b"{"),
    "compressed images": (0, b"RGMZ"),
    "GIF": (0, b"GIF8"),
    "a picture by rgm": (41, b"Software\0rgm"),  # its first text: photographs are the user's own
    "WAV": (0, b"RIFF"),
}
"""What files of each kind begin with, and after how many bytes."""
_UNFINISHED = ".rgm-"
"""Prefix of temporary files."""


def as_path(value: object, what: str) -> Path:
    """Return a path; raise RGMError for what is none, or cannot be one on this system."""
    if not value or not isinstance(os.fspath(value) if isinstance(value, os.PathLike) else value, str):
        raise RGMError(f"{what} must be a name or a path, but is {' '.join(repr(value).split())[:80]}")
    path = Path(str(value))
    try:
        path.exists()
    except (OSError, ValueError) as error:  # a name too long, or with a null character
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RGMError(f"{what} cannot be {str(value)[:40]!r}: {(reason or 'no such path').lower()}") from None
    return path


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically, flushed to disk; raise RGMError where the folder cannot be written."""
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
        temporary.chmod(0o644)  # mkstemp makes private files
        temporary.replace(path)
        _flush_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock a folder for this process, and remove temporary files of a killed one.

    Locks may be nested, and are released when a process dies. Raises RGMError where another process holds the folder,
    or where it cannot be written.
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
            f"{folder} is being written by another process: wait for it to end, or give another place with --out"
        ) from None


def own_folder(folder: Path, names: Iterable[str], earlier: Callable[[Path], bool], what: str) -> Path:
    """Make a folder this program's own, or keep it so, and return it: its marker says what there may be replaced.

    `names` (patterns) are of files that will be written or removed; `earlier` says whether a folder without a marker of
    `what` is output of an earlier version. Raises RGMError for a folder that holds files of these names, but is none of
    ours.
    """
    marker, line = folder / MARKER, f"{what} of rgm: its files may be replaced by rgm\n"
    marked = marker.read_text(errors="replace") if marker.is_file() else ""
    if line in marked:
        return writable_folder(folder)
    if folder.is_dir() and not earlier(folder):
        foreign = next((path for name in names for path in folder.glob(name)), None)
        if foreign is not None:
            raise RGMError(
                f"{folder} holds files that are not {what}'s, such as {foreign.relative_to(folder)}: name another "
                "folder with --out, or move them away"
            )
    writable_folder(folder)
    write_text(marker, marked + line)
    return folder


def write_text(path: Path, content: str) -> None:
    """Write a text file atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, indented, without NaN or infinity, which are not JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def writable_folder(path: Path) -> Path:
    """Return a folder that exists and can be written, creating it where needed; raise RGMError otherwise."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


def writable_file(path: Path, kind: FileKind) -> Path:
    """Return a path that a file of a kind can be written to, creating its folder where needed.

    Raises RGMError where it cannot, or where a file of another kind is in its place.
    """
    if path.is_dir():
        raise RGMError(f"cannot write {path}: it is a folder; give a file in it with --out")
    if path.exists() and not path.is_file():  # such as /dev/null, which a file would take the place of
        raise RGMError(f"cannot write {path}: it is no ordinary file; give another place with --out")
    if path.exists():
        with path.open("rb") as stream:
            start = stream.read(64)
        place, begins = _BEGINS[kind]
        if start and not start[place:].startswith(begins):
            raise RGMError(
                f"{path} holds something else than {kind}, which would be lost: give another place with --out"
            )
    writable_folder(path.parent)
    return path


def _cannot_write(path: Path, error: OSError) -> RGMError:
    reason = error.strerror or str(error)
    if isinstance(error, FileExistsError | NotADirectoryError):
        reason = "a file is in the place of a folder"
    return RGMError(f"cannot write {path}: {reason}; give another place")
