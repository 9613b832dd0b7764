"""Tar shards by the convention of webdataset: an image and its annotations share a name up to the first dot."""

import json
import logging
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rgm.data.folder import SUFFIXES, Listing, divided
from rgm.data.images import Split
from rgm.data.split import largest_label
from rgm.errors import RGMError

log = logging.getLogger("rgm")

_PREFIXES = {"train": ("train",), "validation": ("val", "dev"), "test": ("test",)}


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file within a shard."""

    shard: Path
    name: str
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """Return the file's content."""
        with self.shard.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)

    def __str__(self) -> str:
        """Return the file's location as text."""
        return f"{self.shard}: {self.name}"


def list_shards(root: Path, split: Split, *, seed: int, skip_damaged: bool = False) -> Listing:
    """Return the images of a split of a folder of tar files, in the order of shards and of files within them.

    `train….tar` hold training images, or else every shard does; `val….tar` (or `dev….tar`) and `test….tar` the other
    splits, which without shards of their own are seeded samples of the training images. `NAME.cls` holds the class of
    `NAME.png` as an integer, or `NAME.json` under `label`, `cls` or `class`; letter case does not matter. Raises
    RGMError for a damaged shard (skipped with a warning with `skip_damaged`), a class out of proportion, or an image
    without a class among others with one.
    """
    own = {
        part: found
        for part, prefixes in _PREFIXES.items()
        if (found := sorted(path for prefix in prefixes for path in root.glob(f"{prefix}*.tar")))
    }
    train = own.pop("train", None) or sorted({*root.glob("*.tar")}.difference(*own.values()))
    if not train:
        raise RGMError(f"{root} holds no shards of training images: their names begin with train")
    if split in own:
        return _list(own[split], skip_damaged)
    return divided(_list(train, skip_damaged), own, split, seed)


def every_image(root: Path) -> Iterator[Member]:
    """Yield the images of all splits, as far as they can be listed."""
    for shard in sorted(root.glob("*.tar")):
        with suppress(RGMError, tarfile.TarError, EOFError, OSError):
            yield from (one for one in _members(shard) if f".{one.name.rpartition('.')[2].lower()}" in SUFFIXES)


def _list(shards: list[Path], skip_damaged: bool) -> Listing:
    images: dict[str, Member] = {}
    labels: dict[str, tuple[int, Member]] = {}
    ignored = Counter[str]()
    for shard in shards:
        try:
            inside = _members(shard)
        except (tarfile.TarError, EOFError, OSError) as error:
            reason = f"{shard} is not a complete tar file ({error})"
            if not skip_damaged:
                raise RGMError(f"{reason}: download it again, or skip it with --skip-damaged") from None
            log.warning("%s: skipped", reason)
            continue
        for member in inside:
            folder, _, base = member.name.rpartition("/")
            stem, _, kind = base.partition(".")
            key = f"{shard}/{folder}/{stem}"
            if f".{kind.lower()}" in SUFFIXES:
                images[key] = member
            elif kind.lower() == "cls":
                labels[key] = _label(member), member
            elif kind.lower() == "json" and (found := _json_label(member)) is not None:
                labels.setdefault(key, (found, member))
            else:
                ignored[kind] += 1
    left_out = ", ".join(f"{count:,} .{kind} file{'s' if count > 1 else ''}" for kind, count in sorted(ignored.items()))
    if not images:
        raise RGMError(f"{shards[0].parent} holds no images in its shards{f', but {left_out}' if left_out else ''}")
    if not labels:
        return Listing(paths=tuple(images.values()), labels=None, classes=(), ignored=left_out)
    most = largest_label(len(images))
    for number, member in labels.values():
        if number > most:
            raise RGMError(
                f"{member} holds class {number:,}, out of proportion to {len(images):,} images: classes are numbers "
                f"from 0, here up to {most:,}"
            )
    for key, member in images.items():
        if key not in labels:
            raise RGMError(f"{member} has no class, but others have: add {key.rpartition('/')[2]}.cls")
    numbers = tuple(labels[key][0] for key in images)
    classes = tuple(map(str, range(max(numbers) + 1)))
    return Listing(paths=tuple(images.values()), labels=numbers, classes=classes, ignored=left_out)


def _members(shard: Path) -> list[Member]:
    end = shard.stat().st_size
    with tarfile.open(shard, "r:") as archive:
        found = [
            Member(shard=shard, name=entry.name, offset=entry.offset_data, size=entry.size)
            for entry in archive
            if entry.isfile()
        ]
    if found and found[-1].offset + found[-1].size > end:
        raise EOFError("it ends in the middle of a file")
    return found


def _json_label(member: Member) -> int | None:
    """Return the class that a JSON annotation holds, if it holds one."""
    try:
        found = json.loads(member.read_bytes())
    except (ValueError, RecursionError):
        return None
    values = (found.get(name) for name in ("label", "cls", "class")) if isinstance(found, dict) else ()
    return next((value for value in values if type(value) is int and value >= 0), None)


def _label(member: Member) -> int:
    text = member.read_bytes()[:20].decode("ascii", "replace").strip()
    if not text.isdigit():
        raise RGMError(f"{member} must hold the number of a class, from 0, but holds {text!r}")
    return int(text)
