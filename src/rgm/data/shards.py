"""Tar shards by the convention of webdataset: an image and its annotations share a name up to the first dot."""

import json
import logging
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rgm.data.folder import SPLITS, SUFFIXES, Listing, divided, in_words, warn_once
from rgm.data.images import Split
from rgm.data.split import largest_label
from rgm.errors import RGMError

log = logging.getLogger("rgm")


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

    @property
    def key_and_kind(self) -> tuple[str, str]:
        """What the files of one image share, and the rest of the name."""
        folder, _, base = self.name.rpartition("/")
        stem, _, kind = base.partition(".")
        return f"{self.shard}/{folder}/{stem}", kind.lower()

    def __str__(self) -> str:
        """Return the file's location as text."""
        return f"{self.shard}: {self.name}"


def list_shards(root: Path, split: Split, *, seed: int, skip_damaged: bool = False) -> Listing:
    """Return the images of a split of a folder of tar files, in the order of shards and of files within them.

    `train….tar` hold training images, or else every shard that is of no other split does; `val….tar` (or another name
    of `SPLITS`) and `test….tar` the other splits, which without shards of their own are seeded samples of the training
    images. `NAME.cls` holds the class of `NAME.png` as an integer, or `NAME.json` under `label`, `cls` or `class`;
    letter case does not matter. Raises RGMError for a damaged shard (skipped with a warning with `skip_damaged`), a
    class that is no number, out of proportion or not among the training images', or an image without a class among
    others with one.
    """
    own: dict[Split | None, list[Path]] = {}
    for path in tars(root):
        own.setdefault(SPLITS.get(re.split("[^a-z]", path.name.lower())[0]), []).append(path)
    shards = own.pop("train", None) or own.pop(None, None)
    if not shards:
        raise RGMError(f"{root} holds no shards of training images: their names begin with train")
    train, others = _list(shards, skip_damaged), Counter({"further shard": len(own.pop(None, []))})
    others["folder"] = sum(path.is_dir() and not path.name.startswith(".") for path in root.iterdir())
    train = replace(train, ignored=", ".join(filter(None, [train.ignored, in_words(others)])))
    if train.labels is None:
        warn_once(f"the shards of {root} hold no classes (NAME.cls, or a label in NAME.json)")
    if split not in own:
        return divided(train, {part for part in own if part}, split, seed)
    found = _list(own[split], skip_damaged)
    if len(found.classes) > len(train.classes):
        raise RGMError(
            f"the {split} shards of {root} hold class {found.classes[-1]}, but the training shards hold "
            f"{f'0 … {train.classes[-1]}' if train.classes else 'none'}"
        )
    return replace(found, classes=train.classes if found.classes else ())


def tars(root: Path) -> list[Path]:
    """Return the tar files in a folder."""
    return sorted(path for path in root.iterdir() if path.suffix.lower() == ".tar" and path.is_file())


def every_image(root: Path) -> Iterator[Member]:
    """Yield the images of all splits, as far as they can be listed."""
    for shard in tars(root):
        with suppress(RGMError, tarfile.TarError, EOFError, OSError):
            yield from (member for member in _members(shard) if f".{member.key_and_kind[1]}" in SUFFIXES)


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
            key, kind = member.key_and_kind
            if f".{kind}" in SUFFIXES and key not in images:
                images[key] = member
            elif kind == "cls":
                labels[key] = _label(member, member.read_bytes()[:20].decode("ascii", "replace").strip()), member
            elif kind == "json" and (found := _json_label(member)) is not None:
                labels.setdefault(key, (found, member))
            else:
                ignored[f"{'NAME.…' if '.' in kind else ''}.{kind.rpartition('.')[2]} file"] += 1
    left_out = in_words(ignored)
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
            if entry.isfile() and not entry.name.rpartition("/")[2].startswith(".")
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
    named = {name.lower(): value for name, value in found.items()} if isinstance(found, dict) else {}
    value = next((value for name in ("label", "cls", "class") if (value := named.get(name)) is not None), None)
    return None if value is None else _label(member, str(value)[:20])


def _label(member: Member, text: str) -> int:
    if not re.fullmatch(r"[0-9]+(\.0*)?", text):
        raise RGMError(f"{member} must hold the number of a class, from 0, but holds {text!r}")
    return int(text.partition(".")[0])
