import gzip
import hashlib
import logging
import struct
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import requests
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rgm.data import load, named
from rgm.data.images import to_unit
from rgm.data.load import from_arrays, load_data
from rgm.errors import RGMError


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """No MNIST anywhere and no network; returns the requested addresses."""
    requested: list[str] = []

    def refuse(url: str, *_args: object, **_options: object) -> None:
        requested.append(url)
        raise requests.ConnectionError("no network")

    monkeypatch.setattr(named.pooch, "retrieve", refuse)
    monkeypatch.setenv("RGM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("RGM_DATA_DIR", raising=False)
    load._automatic.cache_clear()
    return requested


def idx_file(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def small_mnist(folder: Path, *, images: int = 24, labels: int = 24, suffix: str = ".gz") -> Path:
    values = np.random.default_rng(0).integers(0, 256, (images, 28, 28))
    for stem in ("train", "t10k"):
        idx_file(folder / f"{stem}-images-idx3-ubyte{suffix}", values)
        idx_file(folder / f"{stem}-labels-idx1-ubyte{suffix}", np.arange(labels) % 10)
    return folder


def test_auto_offline_warns_once_and_uses_digits(offline: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="rgm"):
        sets = [load_data("auto", split) for split in ("train", "validation", "test")]
    assert [data.name for data in sets] == ["digits"] * 3
    assert len(caplog.messages) == 1
    assert "no connection" in caplog.messages[0]
    assert "embedded in scikit-learn" in caplog.messages[0]
    assert offline


def test_mnist_insists(offline: list[str]) -> None:
    with pytest.raises(RGMError, match="could not be downloaded"):
        load_data("mnist")
    assert len({url.rsplit("/", 1)[0] for url in offline}) == 2, "every mirror is tried"


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_are_found_in_every_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    small_mnist(tmp_path / "data" / "mnist", suffix=suffix)
    for data_dir in (tmp_path / "data", tmp_path / "data" / "mnist"):
        assert len(load_data("mnist", "test", data_dir=data_dir)) == 24
    monkeypatch.setenv("RGM_DATA_DIR", str(tmp_path / "data"))
    assert load_data("auto", "train").name == "mnist"
    monkeypatch.delenv("RGM_DATA_DIR")
    monkeypatch.setenv("RGM_CACHE_DIR", str(tmp_path / "data"))
    assert len(load_data("mnist", "validation")) == 2


@pytest.mark.usefixtures("offline")
def test_auto_searches_on_if_the_folder_has_no_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    empty = tmp_path / "empty"
    with caplog.at_level(logging.WARNING, logger="rgm"):
        assert load_data("auto", data_dir=empty).name == "digits"
        small_mnist(tmp_path / "cached" / "mnist")
        monkeypatch.setenv("RGM_CACHE_DIR", str(tmp_path / "cached"))
        sets = [load_data("auto", split, data_dir=empty) for split in ("train", "test")]
        small_mnist(tmp_path / "named" / "mnist")
        assert len(load_data("auto", "test", data_dir=tmp_path / "named")) == 24
    assert [data.name for data in sets] == ["mnist", "mnist"]
    nowhere, elsewhere = caplog.messages
    assert nowhere.startswith(f"{empty} holds no MNIST: MNIST is not in ")
    assert "embedded in scikit-learn" in nowhere
    assert elsewhere == f"{empty} holds no MNIST: it is taken from {tmp_path / 'cached' / 'mnist'}"
    with pytest.raises(RGMError, match="holds no MNIST: the files"):
        load_data("mnist", data_dir=empty)


@pytest.mark.usefixtures("offline")
def test_images_and_labels_that_disagree(tmp_path: Path) -> None:
    small_mnist(tmp_path / "mnist", labels=23)
    with pytest.raises(RGMError, match=r"24 images .* but 23 labels"):
        load_data("mnist", data_dir=tmp_path)


@pytest.mark.usefixtures("offline")
def test_a_folder_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(RGMError, match="holds no MNIST: the files train-images-idx3-ubyte"):
        load_data("mnist", data_dir=tmp_path)


def test_a_download_is_verified_and_moved_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second mirror's file is kept; the first one's damaged file never reaches the cache."""
    good = b"the published file"
    checksum = "sha256:" + hashlib.sha256(good).hexdigest()
    known = named.NamedSet(
        name="tiny",
        title="Tiny",
        classes=("a",),
        mirrors=("http://one/", "http://two/"),
        files=(("file.gz", checksum),),
    )

    def fetch(_self: object, url: str, output_file: str, *_: object, **__: object) -> None:
        Path(output_file).write_bytes(good if "two" in url else b"damaged")

    monkeypatch.setattr(named.pooch.HTTPDownloader, "__call__", fetch)
    named.download(known, tmp_path / "tiny")
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["file.gz"]
    assert (tmp_path / "tiny" / "file.gz").read_bytes() == good

    bad = named.NamedSet(
        name="bad", title="Bad", classes=("a",), mirrors=("http://one/",), files=(("file.gz", checksum),)
    )
    with pytest.raises(RGMError, match="hash"):
        named.download(bad, tmp_path / "bad")
    assert list((tmp_path / "bad").iterdir()) == []


class Mirrors:
    """A server of mirrors, by the first part of the path; it records requests."""

    content = b"the published file" * 100

    def __init__(self) -> None:
        self.requested: list[str] = []
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror = self.path.split("/")[1]
                mirrors.requested.append(mirror)
                self.send_response(503 if mirror == "broken" else 200)
                self.send_header("Content-Length", str(len(mirrors.content)))
                self.end_headers()
                if mirror != "broken":
                    self.wfile.write(mirrors.content[: 10 if mirror == "cut" else None])

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def set(self, *names: str) -> named.NamedSet:
        address = f"http://127.0.0.1:{self.server.server_port}"
        checksum = f"sha256:{hashlib.sha256(self.content).hexdigest()}"
        return named.NamedSet(
            name="tiny",
            title="Tiny",
            classes=("a",),
            mirrors=tuple(f"{address}/{name}/" for name in names),
            files=(("file.gz", checksum),),
        )


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirrors]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mirrors = Mirrors()
    thread = Thread(target=mirrors.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield mirrors
    mirrors.server.shutdown()
    thread.join()
    mirrors.server.server_close()


def test_mirrors_are_tried_in_turn_until_one_is_sound(mirrors: Mirrors, tmp_path: Path) -> None:
    named.download(mirrors.set("broken", "cut", "sound"), tmp_path / "tiny")
    assert mirrors.requested == ["broken", "cut", "sound"]
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["file.gz"]
    assert (tmp_path / "tiny" / "file.gz").read_bytes() == mirrors.content


def test_a_broken_mirror_is_tried_twice_and_leaves_nothing(mirrors: Mirrors, tmp_path: Path) -> None:
    with pytest.raises(RGMError, match="the server answered 503"):
        named.download(mirrors.set("broken"), tmp_path / "tiny")
    assert mirrors.requested == ["broken", "broken"]
    assert list((tmp_path / "tiny").iterdir()) == []


def test_a_mirror_that_times_out_is_tried_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A network that drops packets causes no long delay."""
    requested: list[str] = []

    def swallow(url: str, *_: object, **__: object) -> None:
        requested.append(url)
        raise requests.ConnectTimeout

    monkeypatch.setattr(named.pooch, "retrieve", swallow)
    with pytest.raises(RGMError, match="did not answer in time"):
        named.download(named.NAMED["mnist"], tmp_path)
    assert len(requested) == len(named.NAMED["mnist"].mirrors)


@pytest.mark.parametrize("known", named.NAMED.values(), ids=lambda known: known.name)
def test_every_published_file_has_its_own_sha256(known: named.NamedSet) -> None:
    sums = [checksum for _, checksum in known.files]
    assert len(set(sums)) == 4
    assert all(len(bytes.fromhex(checksum.removeprefix("sha256:"))) == 32 for checksum in sums)
    assert all(mirror.endswith("/") for mirror in known.mirrors)
    assert len(known.classes) == 10


def test_digits_are_complete_and_split_once() -> None:
    sets = [load_data("digits", split) for split in ("train", "validation", "test")]
    assert sum(map(len, sets)) == 1797
    assert len({data.sha256 for data in sets}) == 3
    assert all(data.shape == (1, 28, 28) for data in sets)
    assert load_data("digits", "test").sha256 == sets[2].sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnits"}, "did you mean 'mnist'"),
        ({"name": ""}, "unknown data set ''"),
        ({"name": "digits", "split": "tset"}, "did you mean 'test'"),
        ({"name": "digits", "channels": 2}, "1 or 3 channels"),
        ({"name": "digits", "size": 2}, "in pixels must lie in 4 … 4096, but is 2"),
        ({"name": "digits", "size": (8, 10**8)}, "must lie in 4 … 4096"),
    ],
)
def test_unknown_names_suggest_the_nearest(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(RGMError, match=message):
        # The annotation of `split` lists the valid ones; the error is for callers without a type checker.
        load_data.__wrapped__(**arguments) if hasattr(load_data, "__wrapped__") else load_data(**arguments)  # type: ignore[arg-type]


def test_size_and_channels() -> None:
    assert load_data("digits", "test", size=32, channels=3).shape == (3, 32, 32)


@given(st.integers(1, 5), st.sampled_from([(6, 6), (1, 6, 6), (3, 4, 8)]), st.booleans())
@settings(max_examples=20, deadline=None)
def test_arrays_of_ones_own(count: int, shape: tuple[int, ...], floats: bool) -> None:
    bytes_ = np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)
    data = from_arrays(bytes_ / 255.0 if floats else bytes_, np.arange(count))
    expected = torch.from_numpy(bytes_).reshape(count, -1, *shape[-2:])
    assert torch.equal(data.images, expected)
    assert data.classes == tuple(str(label) for label in range(count))
    torch.testing.assert_close(to_unit(data.images), expected / 255)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 5)), None, "must have shape"),
        (np.zeros((2, 2, 5, 5)), None, "1 or 3 channels"),
        (np.full((2, 5, 5), 7.0), None, r"\[0, 1\]"),
        (np.full((2, 5, 5), np.nan), None, r"\[0, 1\]"),
        (np.zeros((2, 5, 5), dtype=np.int32), None, "uint8 or floats"),
        (np.zeros((2, 0, 5)), None, "no axis empty"),
        (np.full((2, 5, 5), "a"), None, "array of numbers"),
        ([[1], [1, 2]], None, "array of numbers"),
        (np.zeros((2, 5, 5)), ["a", "b"], "labels must be a tensor or an array of numbers"),
        (np.zeros((2, 5, 5)), [1], "2 whole numbers"),
        (np.zeros((2, 5, 5)), [0.5, 1.0], "whole numbers"),
        (np.zeros((2, 5, 5)), [-2, 0], "count from 0"),
    ],
)
def test_arrays_that_are_no_images(images: object, labels: list[object] | None, message: str) -> None:
    with pytest.raises(RGMError, match=message):
        from_arrays(images, labels)


def test_arrays_of_any_layout() -> None:
    """Reversed, read-only, of the other byte order, and unsigned arrays."""
    plain = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    locked = plain.copy()
    locked.flags.writeable = False
    expected = torch.from_numpy(plain)[:, None]
    assert torch.equal(from_arrays(plain[:, ::-1]).images, expected.flip(2))
    assert torch.equal(from_arrays(locked).images, expected)
    assert torch.equal(from_arrays((plain / 255).astype(">f4")).images, expected)
    for kind in ("<u2", ">u2", ">i4", "u8"):
        labels = from_arrays(plain, np.array([2, 0, 1]).astype(kind)).labels
        assert labels is not None
        assert labels.tolist() == [2, 0, 1]


@pytest.mark.mnist
def test_mnist_is_complete() -> None:
    train, validation, test = (load_data("mnist", split) for split in ("train", "validation", "test"))
    assert (len(train), len(validation), len(test)) == (55_000, 5_000, 10_000)
    pixels = torch.cat([train.images, validation.images]).float() / 255
    assert float(pixels.mean()) == pytest.approx(0.1307, abs=1e-4)
    assert float(pixels.std()) == pytest.approx(0.3081, abs=1e-4)
