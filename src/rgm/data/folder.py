"""A folder of images: one subfolder per class, optionally under `train/` and `test/`, or images without classes."""

import io
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, get_args, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from rgm.data.images import Split
from rgm.data.split import stratified
from rgm.errors import RGMError

SUFFIXES = (".png", ".jpg", ".jpeg")
SHARES = {"validation": 0.1, "test": 0.2}
"""Shares of the training images for splits without a folder of their own."""


@runtime_checkable
class File(Protocol):
    """The source of an image: a path, or a part of another file."""

    def read_bytes(self) -> bytes:
        """Return its content."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of one split, sorted by name, with labels where the folder has classes."""

    paths: tuple[File, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]


def list_split(root: Path, split: Split, *, seed: int) -> Listing:
    """Return the files of a split.

    `train/` holds the training images, or else `root` itself; a split without a folder of its own is a seeded,
    stratified sample of them. Raises RGMError for a folder without images, a class without any, or splits that differ
    in their classes.
    """
    by_split = _is_divided(root)
    train = _list(root / "train" if by_split else root)
    own = {part for part in SHARES if by_split and (root / part).is_dir()}
    if split not in own:
        return divided(train, own, split, seed)
    found = _list(root / split)
    if found.classes != train.classes:
        odd = sorted(set(found.classes) ^ set(train.classes))
        raise RGMError(f"{root / split} and {root / 'train'} differ in their classes: {', '.join(odd)}")
    return found


def _is_divided(root: Path) -> bool:
    """Return whether `train/` is a split rather than a class (as in bus, car, train)."""
    inside = {path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    return "train" in inside and ("test" in inside or inside <= set(get_args(Split)))


def _list(folder: Path) -> Listing:
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    classes = [path for path in visible if path.is_dir()]
    if not classes:
        images = tuple(path for path in visible if path.suffix.lower() in SUFFIXES)
        if not images:
            raise RGMError(f"{folder} holds no PNG or JPEG images, and no folders of them")
        return Listing(paths=images, labels=None, classes=())
    paths: list[Path] = []
    labels: list[int] = []
    for label, place in enumerate(classes):
        inside = sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        if not inside:
            raise RGMError(f"the class folder {place} holds no PNG or JPEG images: remove it, or fill it")
        paths += inside
        labels += [label] * len(inside)
    return Listing(paths=tuple(paths), labels=tuple(labels), classes=tuple(path.name for path in classes))


def divided(listing: Listing, own: Collection[str], split: Split, seed: int) -> Listing:
    """Return a split's part of the training images, which those not in `own` share: a seeded, stratified sample.

    Raises RGMError where there are too few.
    """
    splits = [part for part in get_args(Split) if part not in own]
    if len(splits) == 1:
        return listing
    others = [SHARES[part] for part in splits[1:]]
    strata = torch.tensor(listing.labels if listing.labels else [0] * len(listing.paths))
    chosen = stratified(strata, (1 - sum(others), *others), seed)[splits.index(split)].tolist()
    if not chosen:
        raise RGMError(
            f"{len(listing.paths)} images are too few to divide into training, validation and test: add images, or "
            "give train/, validation/ and test/ folders"
        )
    labels = None if listing.labels is None else tuple(listing.labels[index] for index in chosen)
    return replace(listing, paths=tuple(listing.paths[index] for index in chosen), labels=labels)


def read_images(
    paths: tuple[File, ...], *, size: tuple[int, int] | None, channels: int | None
) -> UInt8[Tensor, "n channels height width"]:
    """Return images as one tensor, decoded by a pool of threads.

    `size` is (height, width), by default that of the first image, required of all; `channels` 1 or 3, by default 1
    where every image is grey. Raises RGMError with the name of an image that cannot be read or differs.
    """
    # Around the pool: warning filters belong to the process, and threads would undo each other's.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # damaged EXIF of a valid image
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        *_, channels = image_shape(paths, size=size, channels=channels)
        first = _decode(paths[0], size, channels)
        stack = np.empty((len(paths), *first.shape), dtype=np.uint8)

        def place(index: int) -> None:
            image = _decode(paths[index], size, channels)
            if image.shape != first.shape:
                raise RGMError(
                    f"{paths[index]} is {image.shape[0]} × {image.shape[1]} pixels, but {paths[0]} is "
                    f"{first.shape[0]} × {first.shape[1]}: resize all with --size"
                )
            stack[index] = image

        with ThreadPoolExecutor() as pool:
            list(pool.map(place, range(len(paths))))
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()


def image_shape(paths: tuple[File, ...], *, size: tuple[int, int] | None, channels: int | None) -> tuple[int, int, int]:
    """Return the height, width and channels of `read_images`."""
    if channels is None:
        channels = 1 if all(_is_grey(path) for path in paths) else 3
    height, width = size if size is not None else _decode(paths[0], None, channels).shape[:2]
    return height, width, channels


@contextmanager
def _open(path: File) -> Iterator[Image.Image]:
    """Yield an image; raise RGMError where it cannot be read, then or later."""
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RGMError(f"{path} claims to be larger than an image should be: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise RGMError(f"{path} cannot be read as an image: replace or remove it") from error


def _is_grey(path: File) -> bool:
    with _open(path) as image:
        return image.mode in ("1", "L", "LA", "I;16", "I")


def _decode(path: File, size: tuple[int, int] | None, channels: int) -> np.ndarray:
    with _open(path) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16-bit grey: keep the upper byte
            image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
        if "A" in image.getbands() or "transparency" in image.info:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
        image = image.convert("L" if channels == 1 else "RGB")
        if size is not None and (image.height, image.width) != size:
            image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    return pixels[:, :, None] if channels == 1 else pixels
