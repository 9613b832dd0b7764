"""Faults of a disk: full, read-only, interrupted."""

import errno
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rgm.errors import RGMError
from rgm.storage.files import folder_lock, own_folder, writable_file, write_bytes, write_json

HOLD = (
    "import sys, time, pathlib; from rgm.storage.files import folder_lock\nwith folder_lock(pathlib.Path(sys.argv[1])):"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    write_bytes(path, b"before")
    return path


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(file: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*((os, call) if call == "fsync" else (Path, call)), full)
        with pytest.raises(RGMError, match=r"cannot write .*No space left on device; give another place"):
            write_bytes(file, b"after")
    assert file.read_bytes() == b"before"
    assert list(file.parent.iterdir()) == [file]


def test_a_file_the_system_lets_grow_no_further(file: Path) -> None:
    """A real fault while writing: the system's limit on the size of a file."""
    program = f"import pathlib, rgm.storage.files as files; files.write_bytes(pathlib.Path({str(file)!r}), bytes(9000))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert "RGMError: cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert file.read_bytes() == b"before"
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_that_cannot_be_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.mkstemp", read_only)
    with pytest.raises(RGMError, match="Read-only file system"):
        write_bytes(file, b"after")
    assert file.read_bytes() == b"before"


def test_a_file_in_a_folders_place(file: Path) -> None:
    with pytest.raises(RGMError, match="cannot write"):
        write_bytes(file / "inside", b"after")


def test_names_reach_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is flushed before it gets its name, the folder afterwards."""
    done: list[str] = []
    flush, rename = os.fsync, Path.replace

    def flushed(handle: int) -> None:
        done.append("folder" if Path(f"/proc/self/fd/{handle}").is_dir() else "file")
        flush(handle)

    def replaced(self: Path, target: Path) -> Path:
        done.append("name")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", replaced)
    write_bytes(tmp_path / "file", b"content")
    assert done == ["file", "name", "folder"]


def test_no_number_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_folder_is_one_process_alone_and_is_free_when_that_is_killed(tmp_path: Path) -> None:
    program = f"{HOLD}\n  pathlib.Path(sys.argv[1], 'held').touch(); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as other:
        deadline = time.monotonic() + 30
        while not (tmp_path / "held").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(RGMError, match="is being written by another process"), folder_lock(tmp_path):
            pass
        other.kill()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".rgm-half").touch()
    with folder_lock(tmp_path), folder_lock(tmp_path):  # `rgm run` locks it, and so does its training
        assert not list((tmp_path / "checkpoints").iterdir())
    with folder_lock(tmp_path):
        pass


def test_a_file_takes_no_devices_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RGMError, match="it is no ordinary file"):
        writable_file(tmp_path / "pipe", "arrays")


def test_a_folder_of_one_kind_is_not_of_another(tmp_path: Path) -> None:
    folder = own_folder(tmp_path / "out", ["*.json"], lambda _: False, "a run")
    write_json(folder / "config.json", {})
    own_folder(folder, ["*.json"], lambda _: False, "a run")
    with pytest.raises(RGMError, match=r"holds files that are not an export's, such as config\.json"):
        own_folder(folder, ["*.json"], lambda _: False, "an export")
    own_folder(folder, ["*.onnx"], lambda _: False, "an export")
    own_folder(folder, ["*.json"], lambda _: False, "a run")
