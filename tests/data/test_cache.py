import gzip
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rgm.data import cache as caching
from rgm.data.cache import Block, Part, open_cache
from rgm.data.load import cache_images, from_arrays, load_data
from rgm.errors import RGMError


def png(value: int, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (8, 8), value if mode == "L" else (value, 0, 255 - value)).save(buffer, format="PNG")
    return buffer.getvalue()


def shard(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def sample(number: int, label: int | None = None) -> dict[str, bytes]:
    files = {f"set/{number:04d}.png": png(number)}
    return files if label is None else {**files, f"set/{number:04d}.cls": f"{label}\n".encode()}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards of 15 images of two classes, image n of the grey n."""
    root = tmp_path / "shards"
    root.mkdir()
    for number in range(2):
        inside = range(15 * number, 15 * number + 15)
        shard(root / f"{number:06d}.tar", {k: v for n in inside for k, v in sample(n, n % 2).items()})
    return root


def test_shards_load_like_a_folder(shards: Path) -> None:
    parts = [load_data(str(shards), split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [20, 4, 6]
    values = torch.cat([part.images[:, 0, 0, 0] for part in parts])
    assert sorted(values.tolist()) == list(range(30))
    for part in parts:
        assert part.classes == ("0", "1")
        assert part.labels is not None
        assert torch.equal(part.images[:, 0, 0, 0].long() % 2, part.labels)


def test_shards_may_belong_to_splits(tmp_path: Path) -> None:
    for name, first in (("train-0", 0), ("train-1", 10), ("test-0", 20), ("val-0", 30)):
        shard(tmp_path / f"{name}.tar", {k: v for n in range(first, first + 10) for k, v in sample(n).items()})
    firsts = {
        split: load_data(str(tmp_path), split).images[:, 0, 0, 0].tolist() for split in ("train", "test", "validation")
    }
    assert firsts == {"train": [*range(20)], "test": [*range(20, 30)], "validation": [*range(30, 40)]}
    assert load_data(str(tmp_path), "train").labels is None


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.png": png(1), "b.png": png(2), "a.cls": b"1"}, "b.png has no class, but others have: add b.cls"),
        ({"a.png": png(1), "a.cls": b"cat"}, "a.cls must hold the number of a class, from 0, but holds 'cat'"),
        ({"a.txt": b"1"}, "holds no images in its shards, but 1 .txt file"),
    ],
)
def test_a_shard_that_lacks_something_is_named(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    shard(tmp_path / "0.tar", files)
    with pytest.raises(RGMError, match=re.escape(reason)):
        load_data(str(tmp_path), "train")


def test_a_damaged_shard_is_named_and_skipped_if_requested(shards: Path, tmp_path: Path) -> None:
    whole = (shards / "000001.tar").read_bytes()
    for damaged in (whole[:3000], b"no tar" * 200, whole[: 512 + 40]):
        (shards / "000001.tar").write_bytes(damaged)
        with pytest.raises(RGMError, match=r"000001\.tar is not a complete tar file .*--skip-damaged"):
            load_data(str(shards), "train")
    cache_images(shards, tmp_path / "cache", skip_damaged=True)
    assert sum(len(open_cache(tmp_path / "cache", split)) for split in ("train", "validation", "test")) == 15


@pytest.mark.parametrize("channels", [None, 3])
def test_a_cache_equals_its_folder(
    shards: Path, tmp_path: Path, channels: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "BLOCK", 7)
    steps: list[tuple[int, int, int]] = []
    cache_images(
        shards, tmp_path / "cache", channels=channels, watch=lambda r: steps.append((r.step, r.steps, r.images))
    )
    assert [step for step, *_ in steps] == [1, 2, 3, 4, 5]
    assert {count for _, count, _ in steps} == {5}
    assert sum(images for *_, images in steps) == 30
    for split in ("train", "validation", "test"):
        stored, loaded = (load_data(str(tmp_path / "cache"), split), load_data(str(shards), split, channels=channels))
        assert stored.on_disk
        assert not loaded.on_disk
        assert torch.equal(stored.images, loaded.images)
        assert stored.labels is not None
        assert loaded.labels is not None
        assert torch.equal(stored.labels, loaded.labels)
        assert (stored.classes, stored.sha256) == (loaded.classes, loaded.sha256)


def test_an_interrupted_cache_is_resumed(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "BLOCK", 7)
    out = tmp_path / "cache"

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_images(shards, out, watch=stop)
    with pytest.raises(RGMError, match="is incomplete: resume it with"):
        open_cache(out, "train")
    with pytest.raises(RGMError, match="is incomplete: resume it with"):
        load_data(out)
    decoded: list[int] = []
    read = caching.read_images
    monkeypatch.setattr(caching, "read_images", lambda paths, **more: decoded.append(len(paths)) or read(paths, **more))
    with (out / "train" / "images.u8").open("ab") as stream:
        stream.write(b"half a block")
    cache_images(shards, out)
    assert decoded == [7, 6, 4, 6]  # all but the first block
    cache_images(shards, out)
    assert len(decoded) == 4
    # A block that was changed on disk is decoded again, with those after it.
    with (out / "train" / "images.u8").open("r+b") as stream:
        stream.seek(7 * 64 + 5)
        stream.write(b"\xff")
    cache_images(shards, out)
    assert decoded[4:] == [7, 6]
    assert torch.equal(open_cache(out, "train").images, load_data(str(shards), "train").images)


def test_unreadable_images_are_named_or_skipped(tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(30):
        (root / f"{number:02d}.png").write_bytes(png(number))
    (root / "07.png").write_bytes(png(7)[:50])
    with pytest.raises(RGMError, match=r"07\.png cannot be read as an image"):
        cache_images(root, tmp_path / "cache", channels=1)
    cache_images(root, tmp_path / "cache", channels=1, skip_damaged=True)
    values = torch.cat([open_cache(tmp_path / "cache", s).images[:, 0, 0, 0] for s in ("train", "validation", "test")])
    assert sorted(values.tolist()) == [n for n in range(30) if n != 7]


def test_a_full_disk_is_reported_before_decoding(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RGMError, match=r"30 images of 1 × 8 × 8 need 0\.0 MB in .* 0\.0 MB free: free some"):
        cache_images(shards, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".rgm"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda part: (part / "images.u8").write_bytes(b""), "should have 1,280 bytes"),
        (lambda part: (part / "labels.i64").unlink(), "should have 160 bytes"),
        (lambda part: (part / "store.json").write_text("{}"), "is not a header of a cache"),
        (lambda part: (part / "store.json").write_text("no"), "is not a header of a cache"),
        (lambda part: (part / "store.json").write_text('{"version": 9}'), "is of version 9, and this rgm reads 1"),
    ],
)
def test_an_incomplete_cache_is_refused(
    shards: Path, tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    out = tmp_path / "cache"
    cache_images(shards, out)
    damage(out / "train")
    with pytest.raises(RGMError, match=reason):
        load_data(str(out), "train")
    with pytest.raises(RGMError, match=r"holds images of 1 × 8 × 8, as they were cached"):
        load_data(str(out), "test", size=16)


TRAINS = """
import json, resource, sys
from rgm.cli import main
try:
    main()
finally:
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss), file=sys.stderr)
"""


@pytest.mark.slow
def test_twenty_gigabytes_are_trained_on_in_little_memory(tmp_path: Path) -> None:
    """A sparse cache of 1.6 million colour images, against one of a thousand: the same steps, the same memory."""

    def sparse(out: Path, counts: dict[str, int]) -> None:
        for split, count in counts.items():
            folder = out / split
            folder.mkdir(parents=True)
            with (folder / "images.u8").open("wb") as stream:
                stream.truncate(count * 3 * 64 * 64)
            np.arange(count, dtype="<i8").__mod__(10).tofile(folder / "labels.i64")
            part = Part(
                version=1,
                name="sparse",
                source="zeros",
                listing="",
                shape=(3, 64, 64),
                classes=tuple("0123456789"),
                labelled=True,
                blocks=(Block(images=count, crc32=0),),
                sha256="0",
            )
            (folder / "store.json").write_text(json.dumps(asdict(part)))

    def peak(out: Path, epochs: float) -> int:
        command = [sys.executable, "-c", TRAINS, "train", "--data", str(out), "--preset", "colour64", "--device", "cpu"]
        more = ["--epochs", str(epochs), "--batch-size", "16", "--out", str(out / "run"), "--quiet"]
        done = subprocess.run([*command, *more], check=True, capture_output=True, text=True, timeout=280)
        return int(done.stderr.split()[-1])

    others = {"validation": 10, "test": 10}
    large = 20 * 10**9 // (3 * 64 * 64)
    sparse(tmp_path / "small", {"train": 1_000, **others})
    sparse(tmp_path / "large", {"train": large, **others})
    steps = 12
    small_kib = peak(tmp_path / "small", steps * 16 / 1_000)
    large_kib = peak(tmp_path / "large", steps * 16 / large)
    assert large_kib - small_kib < 300 * 1024


def test_labels_in_any_letter_case_and_in_json(tmp_path: Path) -> None:
    upper = {
        f"{n:04}.{kind}": content for n in range(40) for kind, content in (("PNG", png(n)), ("CLS", b"%d" % (n % 2)))
    }
    json_ = {f"{n:04}.png": png(n) for n in range(40)} | {f"{n:04}.json": b'{"label": %d}' % (n % 2) for n in range(40)}
    for name, files in (("upper", upper), ("json", json_)):
        (tmp_path / name).mkdir()
        shard(tmp_path / name / "a.tar", files)
        data = load_data(str(tmp_path / name))
        assert data.labels is not None
        assert torch.equal(data.images[:, 0, 0, 0].long() % 2, data.labels)


def test_a_class_out_of_all_proportion_is_named(tmp_path: Path) -> None:
    shard(tmp_path / "a.tar", {k: v for n in range(40) for k, v in sample(n, 999_999_999 if n == 39 else 0).items()})
    with pytest.raises(RGMError, match=r"0039.cls holds class 999,999,999, out of proportion to 40 images"):
        load_data(str(tmp_path))
    with pytest.raises(RGMError, match="the label of image 1 is 999,999,999, out of proportion to 2 images"):
        from_arrays(np.zeros((2, 8, 8), np.uint8), [0, 999_999_999])


def labelled(root: Path, name: str, label: Callable[[int], object], count: int = 10) -> None:
    root.mkdir(exist_ok=True)
    files = {f"{n}.png": png(n) for n in range(count)}
    shard(root / name, files | {f"{n}.json": json.dumps({"Label": label(n)}).encode() for n in range(count)})


@pytest.mark.parametrize("label", [lambda n: n % 2, lambda n: str(n % 2), lambda n: float(n % 2)])
def test_labels_in_json(tmp_path: Path, label: Callable[[int], object]) -> None:
    labelled(tmp_path / "set", "train.tar", label)
    assert load_data(tmp_path / "set").classes == ("0", "1")


@pytest.mark.parametrize("label", ["cat", -1, 0.5, True, [1]])
def test_labels_in_json_that_are_no_class(tmp_path: Path, label: object) -> None:
    labelled(tmp_path / "set", "train.tar", lambda _: label)
    with pytest.raises(RGMError, match=r"0\.json must hold the number of a class, from 0, but holds"):
        load_data(tmp_path / "set")


def test_shards_without_classes_are_said_to_be_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard(tmp_path / "train.tar", {f"._{n}.png": b"x" for n in range(8)} | {f"{n}.png": png(n) for n in range(8)})
    assert load_data(tmp_path).labels is None
    assert "hold no classes (NAME.cls, or a label in NAME.json)" in caplog.text


def test_names_of_shards(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Splits in any letter case; a name that only begins like a split is none; what is left out is said."""
    for name in ("Train-0.TAR", "Val_0.tar", "valley.tar"):
        labelled(tmp_path, name, lambda n: n % 2, 6 if name == "Val_0.tar" else 10)
    (tmp_path / "a").mkdir()
    assert [len(load_data(tmp_path, split)) for split in ("train", "validation", "test")] == [8, 6, 2]
    assert "1 folder, 1 further shard" in caplog.text


def test_classes_are_those_of_the_whole_set(tmp_path: Path) -> None:
    for name, classes in (("train.tar", 3), ("val.tar", 2), ("test.tar", 4)):
        labelled(tmp_path, name, lambda n, classes=classes: n % classes)
    assert load_data(tmp_path, "validation").classes == ("0", "1", "2")
    with pytest.raises(RGMError, match=r"the test shards of .* hold class 3, but the training shards hold 0 … 2"):
        load_data(tmp_path, "test")


def test_a_cache_replaces_no_files_of_the_users_own(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "train").mkdir(parents=True)
    (tmp_path / "mine" / "train" / "images.u8").write_bytes(b"mine")
    with pytest.raises(RGMError, match=r"not a cache's, such as train/images\.u8"):
        cache_images(shards, tmp_path / "mine")
    assert (tmp_path / "mine" / "train" / "images.u8").read_bytes() == b"mine"
    with pytest.raises(RGMError, match="is the folder of the images"):
        cache_images(shards, shards)
    cache_images(shards, tmp_path / "cache")
    with pytest.raises(RGMError, match="is a cache already"):
        cache_images(tmp_path / "cache", tmp_path / "again")


def test_shards_in_folders_of_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, count in (("Train", 12), ("val", 5), ("test", 4)):
        (tmp_path / name).mkdir()
        labelled(tmp_path / name, "0.tar", lambda n: n % 2, count)
    labelled(tmp_path / "Train", "1.tar", lambda n: n % 2, 3)
    (tmp_path / "Train" / "notes.txt").touch()
    (tmp_path / "Train" / "2.tar.gz").touch()
    sets = [load_data(tmp_path, split) for split in ("train", "validation", "test")]
    assert [len(part) for part in sets] == [15, 5, 4]
    assert all(part.classes == ("0", "1") for part in sets)
    assert "1 .gz file, 1 .txt file" in caplog.text
    assert "unpack archives: of these only .tar is read" in caplog.text
    cache_images(tmp_path, tmp_path / "cache")
    assert torch.equal(load_data(tmp_path / "cache", "validation").images, sets[1].images)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_compressed_shards_say_what_to_do(tmp_path: Path, suffix: str) -> None:
    labelled(tmp_path / "set", "train.tar", lambda n: n % 2)
    packed = gzip.compress((tmp_path / "set" / "train.tar").read_bytes())
    (tmp_path / "set" / "train.tar").unlink()
    (tmp_path / "set" / f"train{suffix}").write_bytes(packed)
    expected = r"train\.tar is a compressed tar file: unpack it with gunzip" if suffix == ".tar" else "unpack archives"
    with pytest.raises(RGMError, match=expected):
        load_data(tmp_path / "set")


@pytest.mark.parametrize(("text", "taken"), [("1.0", True), ("1.", True), ("1.5", False), ("1e0", False), ("", False)])
def test_classes_of_shards_as_floats(tmp_path: Path, text: str, taken: bool) -> None:
    shard(
        tmp_path / "a.tar",
        {k: v for n in range(10) for k, v in {f"{n}.png": png(n), f"{n}.cls": text.encode()}.items()},
    )
    if taken:
        labels = load_data(tmp_path).labels
        assert labels is not None
        assert labels.unique().tolist() == [1]
    else:
        with pytest.raises(RGMError, match=rf"0\.cls must hold the number of a class, from 0, but holds '{text}'"):
            load_data(tmp_path)
