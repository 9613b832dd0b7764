"""Images decoded once into memory-mapped files: sets larger than memory."""

import hashlib
import itertools
import json
import logging
import math
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import TypeAdapter
from torch import Tensor

from rgm.data.folder import File, Listing, Pixels, image_size, read_images
from rgm.data.images import ImageSet, Split
from rgm.errors import RGMError
from rgm.runtime.progress import StepRecord, Watch
from rgm.storage.files import own_folder, write_json

log = logging.getLogger("rgm")

VERSION = 1
HEADER = "store.json"
"""Its name on disk is part of the format."""
PIXELS = "images.u8"
BLOCK = 512
"""Images decoded and written at once."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Consecutive images: their number and checksum."""

    images: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """The header of a split's `images.u8` and `labels.i64`; the split is complete where it has a `sha256`."""

    version: int
    name: str
    source: str
    listing: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    labelled: bool
    blocks: tuple[Block, ...]
    sha256: str | None

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(block.images for block in self.blocks)

    @property
    def size(self) -> int:
        """Bytes of an image."""
        return math.prod(self.shape)


def is_cache(folder: Path) -> bool:
    """Return whether a folder is a cache of decoded images; raise RGMError for one that was never completed."""
    complete = all((folder / split / HEADER).is_file() for split in get_args(Split))
    if not complete and any((folder / split / PIXELS).is_file() for split in get_args(Split)):
        raise _incomplete(folder)
    return complete


def _incomplete(folder: Path) -> RGMError:
    return RGMError(f"{folder} is incomplete: resume it with the same `rgm cache … --out {folder}`")


def open_cache(folder: Path, split: Split) -> ImageSet:
    """Return a split of a cache, its pixels read from disk on access; raise RGMError where it is incomplete."""
    part = _header(folder / split / HEADER)
    if part.sha256 is None:
        raise _incomplete(folder)
    shape = (part.images, *part.shape)
    pixels, labels = folder / split / PIXELS, folder / split / "labels.i64"
    expected = {pixels: part.images * part.size, **({labels: 8 * part.images} if part.labelled else {})}
    for path, size in expected.items():
        if not path.is_file() or path.stat().st_size != size:
            raise RGMError(f"{path} should have {size:,} bytes: remove {folder}, and build it again with `rgm cache`")
    # Copy-on-write: PyTorch warns of read-only memory, and nothing writes to it.
    images = torch.from_numpy(np.memmap(pixels, dtype=np.uint8, mode="c", shape=shape))
    known = torch.from_numpy(np.fromfile(labels, dtype="<i8").astype(np.int64)) if part.labelled else None
    return ImageSet(
        name=part.name,
        split=split,
        images=images,
        labels=known,
        classes=part.classes,
        source=part.source,
        sha256=part.sha256,
        on_disk=True,
    )


def build_cache(
    root: Path,
    listings: dict[Split, Listing],
    out: Path,
    *,
    size: tuple[int, int] | None = None,
    pixels: Pixels,
    skip_damaged: bool = False,
    watch: Watch = lambda _: None,
) -> None:
    """Decode a folder's images into a cache, block by block; an interrupted cache is verified and resumed.

    `size` and `pixels` as in `rgm.data.folder.read_images`. Raises RGMError where disk space does not suffice, before
    any work, and for an image that cannot be read, with its name; `skip_damaged` skips such images.
    """
    height, width = size or image_size(listings["train"].paths[0])
    shape = (pixels.channels, height, width)
    count = sum(len(listing.paths) for listing in listings.values())
    names = [f"{split}/{file}" for split in listings for file in (HEADER, PIXELS, "labels.i64")]
    own_folder(out, names, lambda out: any(out.glob(f"*/{HEADER}")), "a cache")
    done = sum(path.stat().st_size for path in out.glob(f"*/{PIXELS}"))
    needed, free = count * (math.prod(shape) + 8) - done, shutil.disk_usage(out).free
    if needed > free:
        raise RGMError(
            f"{count:,} images of {' × '.join(map(str, shape))} need {needed / 1e6:,.1f} MB in {out}, which has "
            f"{free / 1e6:,.1f} MB free: free some, or give another --out or a smaller --size"
        )
    steps, step = sum(-(-len(listing.paths) // BLOCK) for listing in listings.values()), 0
    read = partial(read_images, size=(height, width), pixels=pixels)
    for split, listing in listings.items():
        fresh = Part(
            version=VERSION,
            name=root.resolve().name,
            source=f"the folder {root}",
            listing=hashlib.sha256("\n".join(map(str, listing.paths)).encode()).hexdigest(),
            shape=shape,
            classes=listing.classes,
            labelled=listing.labels is not None,
            blocks=(),
            sha256=None,
        )
        for images in _build(fresh, listing, out / split, read, skip_damaged):
            step += 1
            watch(StepRecord(stage=f"cache {split}", step=step, steps=steps, images=images, loss=0.0, terms={}))


def _build(
    part: Part, listing: Listing, folder: Path, read: Callable[[tuple[File, ...]], Tensor], skip_damaged: bool
) -> Iterator[int]:
    """Write the missing blocks, and yield the number of images of each block."""
    folder.mkdir(exist_ok=True)
    header, pixels, labels = (folder / name for name in (HEADER, PIXELS, "labels.i64"))
    if header.is_file():
        found = _header(header)
        if (found.listing, found.shape) == (part.listing, part.shape):
            part = _checked(found, pixels)
    if part.sha256 is not None:
        yield from (block.images for block in part.blocks)
        return
    for path, size in ((pixels, part.images * part.size), (labels, 8 * part.images)):
        path.touch()
        with path.open("r+b") as stream:
            stream.truncate(size)
    yield from (block.images for block in part.blocks)
    known = None if listing.labels is None else np.asarray(listing.labels, dtype="<i8")
    for start in range(BLOCK * len(part.blocks), len(listing.paths), BLOCK):
        paths = listing.paths[start : start + BLOCK]
        images, readable = _decoded(paths, read, skip_damaged)
        content = images.numpy().tobytes()
        with pixels.open("ab") as stream:
            stream.write(content)
        if known is not None:
            with labels.open("ab") as stream:
                stream.write(known[start : start + BLOCK][readable].tobytes())
        part = replace(part, blocks=(*part.blocks, Block(images=len(images), crc32=zlib.crc32(content))))
        write_json(header, asdict(part))
        yield len(images)
    digest = hashlib.sha256()
    for path in (pixels, labels):
        with path.open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)  # one digest of both files
    if not part.images:
        raise RGMError(f"none of the {len(listing.paths)} images for {folder} can be read")
    write_json(header, asdict(replace(part, sha256=digest.hexdigest())))


def _decoded(
    paths: tuple[File, ...], read: Callable[[tuple[File, ...]], Tensor], skip_damaged: bool
) -> tuple[UInt8[Tensor, "n channels height width"], list[int]]:
    """Return a block's images, and the indices of their paths."""
    try:
        return read(paths), list(range(len(paths)))
    except RGMError:
        if not skip_damaged:
            raise
    decoded, readable = [], []
    for place, path in enumerate(paths):
        try:
            decoded.append(read((path,)))
            readable.append(place)
        except RGMError as error:
            log.warning("%s: skipped", error)
    return torch.cat(decoded) if decoded else torch.zeros(0, dtype=torch.uint8), readable


def _checked(part: Part, pixels: Path) -> Part:
    """Return a header with the blocks up to the first corrupted one."""
    with pixels.open("rb") as stream:

        def unchanged(block: Block) -> bool:
            return zlib.crc32(stream.read(block.images * part.size)) == block.crc32

        intact = tuple(itertools.takewhile(unchanged, part.blocks))
    return part if intact == part.blocks else replace(part, blocks=intact, sha256=None)


def _header(path: Path) -> Part:
    try:
        content = json.loads(path.read_bytes())
        version = content.get("version", VERSION) if isinstance(content, dict) else VERSION
        if version == VERSION:
            return TypeAdapter(Part).validate_python(content)
    except (OSError, ValueError):
        raise RGMError(f"{path} is not a header of a cache: remove {path.parent.parent}, and build it again") from None
    raise RGMError(f"{path} is of version {version}, and this rgm reads {VERSION}: build it again, or update rgm")
