"""A folder of images: one subfolder per class, optionally under `train/` and `test/`, or images without classes."""

import io
import logging
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
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

log = logging.getLogger("rgm")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif")
FORMATS = "PNG, JPEG, WebP, BMP, TIFF and GIF (its first frame) are read"
SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
}
"""Splits by the names of their folders and shards, in any letter case."""
MARKERS = (".rgm", "model.safetensors", "store.json")
"""Files by which a folder that rgm wrote is known: it holds no data."""
GROUND_SAMPLE, DARK = 1000, 64.0
"""The ground under transparent images is white where so many of them are darker on average than `DARK`."""
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
    ignored: str = ""
    """What was left out, in words."""


def list_split(root: Path, split: Split, *, seed: int) -> Listing:
    """Return the files of a split.

    `train/` holds the training images, or else `root` itself; a split without a folder of its own is a seeded,
    stratified sample of them. Raises RGMError for a folder without images, a class without any, or splits that differ
    in their classes.
    """
    own = _splits(root)
    place, aside = own.pop("train", root), own.values()
    train = _list(place, aside)
    if place != root:
        missed = Counter[str]()
        loose = _images((path for path in _visible(root) if path not in (place, *aside)), missed)
        train = replace(train, ignored=in_words(missed + _loose(loose)) or train.ignored)
    if split not in own:
        return divided(train, own, split, seed)
    found = _list(own[split])
    if found.classes != train.classes:
        odd = sorted(set(found.classes) ^ set(train.classes))
        raise RGMError(f"{own[split]} and {place} differ in their classes: {', '.join(odd)}")
    return found


def every_image(root: Path) -> Iterator[File]:
    """Yield the images of all splits, as far as they can be listed."""
    own = _splits(root)
    for place in {"train": root, **own}.values():
        with suppress(RGMError):
            yield from _list(place, own.values()).paths


def _splits(root: Path) -> dict[Split, Path]:
    """Return the folders of splits; among classes (as in bus, car, train) neither `train/` nor a `test/` of images.

    Raises RGMError for two folders of one split.
    """
    inside = [path for path in _visible(root) if path.is_dir() and not _is_passed_over(path)]
    found: dict[Split, Path] = {}
    for path in inside:
        split = SPLITS.get(path.name.lower())
        if split in found:
            raise RGMError(f"{found[split]} and {path} are both the {split} split: keep one of them")
        if split:
            found[split] = path
    if len(inside) > len(found) and not {"train", "test"} <= found.keys():
        found.pop("train", None)
        if "test" in found and not any(path.is_dir() for path in found["test"].iterdir()):
            del found["test"]
    return found


def _is_passed_over(folder: Path) -> bool:
    """Return whether a folder is hidden, or rgm's own output (or a folder of such)."""
    if folder.name.startswith("."):
        return True
    return _is_ours(folder) or any(map(_is_ours, folder.iterdir()))


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and any((folder / name).is_file() for name in MARKERS)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _list(folder: Path, aside: Collection[Path] = ()) -> Listing:
    """Return the images of a folder, without those of the folders `aside`."""
    visible = [path for path in _visible(folder) if path not in aside]
    classes = [path for path in visible if path.is_dir() and not _is_passed_over(path)]
    ignored = Counter[str]()
    if not classes:
        images = _images(visible, ignored)
        if not images:
            raise RGMError(f"{folder} holds no images, and no folders of them{_instead(ignored)}")
        return Listing(paths=images, labels=None, classes=(), ignored=in_words(ignored))
    if all(path.name.isdecimal() for path in classes):
        classes.sort(key=lambda path: (int(path.name), path.name))
    ignored += _loose(_images((path for path in visible if not path.is_dir()), ignored))
    paths: list[Path] = []
    labels: list[int] = []
    for label, place in enumerate(classes):
        missed = Counter[str]()
        inside = _images(_visible(place), missed)
        if not inside:
            raise RGMError(f"the class folder {place} holds no images{_instead(missed)}")
        paths += inside
        labels += [label] * len(inside)
        ignored += missed
    names = tuple(path.name for path in classes)
    return Listing(paths=tuple(paths), labels=tuple(labels), classes=names, ignored=in_words(ignored))


def _images(paths: Iterable[Path], ignored: Counter[str]) -> tuple[Path, ...]:
    """Return the image files among some paths; count all others by their kind."""
    found = []
    for path in paths:
        if path.is_dir():
            ignored["folder"] += not _is_passed_over(path)
        elif not path.is_file():
            ignored["special file"] += 1
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
        else:
            ignored[f"{path.suffix or 'nameless'} file"] += 1
    return tuple(found)


def _loose(images: Iterable[Path]) -> Counter[str]:
    """Count images that are in no class folder, where there are some."""
    return Counter(f"loose {path.suffix} image" for path in images)


@lru_cache(maxsize=256)
def warn_once(message: str) -> None:
    """Log a warning, but not again for every split."""
    log.warning("%s", message)


def in_words(ignored: Counter[str]) -> str:
    """Return what was left out, by its kinds."""
    return ", ".join(f"{count:,} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(ignored.items()) if count)


def _instead(ignored: Counter[str]) -> str:
    """Return what a folder without images holds, and what to do about it."""
    found = in_words(ignored)
    if ignored["folder"]:
        return f", but {found}: name the folder whose folders are the classes"
    return f", but {found}: {FORMATS}, convert the others" if found else f": fill it, or remove it ({FORMATS})"


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
    paths: tuple[File, ...], *, size: tuple[int, int] | None, pixels: "Pixels | None" = None
) -> UInt8[Tensor, "n channels height width"]:
    """Return images as one tensor, decoded by a pool of threads.

    `size` is (height, width), by default that of the first image, required of all; `pixels` is by default what these
    images have in common. Raises RGMError with the name of an image that cannot be read or differs.
    """
    pixels = pixels or pixels_of(paths)
    with _image_warnings():
        first = _decode(paths[0], size, pixels)
        stack = np.empty((len(paths), *first.shape), dtype=np.uint8)

        def place(index: int) -> None:
            image = _decode(paths[index], size, pixels)
            if image.shape != first.shape:
                raise RGMError(
                    f"{paths[index]} is {image.shape[0]} × {image.shape[1]} pixels, but {paths[0]} is "
                    f"{first.shape[0]} × {first.shape[1]}: resize all with --size"
                )
            stack[index] = image

        with ThreadPoolExecutor() as pool:
            list(pool.map(place, range(len(paths))))
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What all images of a set have in common: 1 channel or 3, and the grey value under transparent pixels."""

    channels: int
    ground: int = 0


def pixels_of(paths: Iterable[File], channels: int | None = None) -> Pixels:
    """Return what images have in common; `channels` are by default 1 where every image is grey, else 3.

    The ground is white where the transparent ones among `GROUND_SAMPLE` images are dark on average, else black.
    """
    paths = tuple(paths)
    with _image_warnings():
        if channels is None:
            channels = 1 if all(map(_is_grey, paths)) else 3
        step = max(1, len(paths) // GROUND_SAMPLE)
        ink = [found for path in paths[::step] if (found := _ink(path)) is not None]
    return Pixels(channels=channels, ground=255 if ink and sum(ink) / len(ink) < DARK else 0)


@contextmanager
def _image_warnings() -> Iterator[None]:
    """Set which warnings of Pillow count; around a pool of threads, which would undo each other's filters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # damaged EXIF of a valid image
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def image_size(path: File) -> tuple[int, int]:
    """Return the height and width of an image."""
    with _image_warnings():
        height, width = _decode(path, None, Pixels(channels=1)).shape[:2]
    return height, width


@contextmanager
def _open(path: File) -> Iterator[Image.Image]:
    """Yield an image; raise RGMError where it cannot be read, then or later."""
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            yield image
    except RGMError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RGMError(f"{path} claims to be larger than an image should be: {error}") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise RGMError(f"{path} cannot be read as an image: replace or remove it") from error


def _is_transparent(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def _is_grey(path: File) -> bool:
    with _open(path) as image:
        return image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I")


def _ink(path: File) -> float | None:
    """Return the mean grey value of what is opaque; None where all or nothing is, or the image cannot be read."""
    with suppress(RGMError), _open(path) as image:
        if not _is_transparent(image):
            return None
        values = np.asarray(image.convert("RGBA"), dtype=np.float32)
        opacity = values[..., 3]
        if opacity.any() and opacity.min() < 255:
            return float((values[..., :3].mean(axis=2) * opacity).sum() / opacity.sum())
    return None


def _as_bytes(values: np.ndarray, path: File) -> np.ndarray:
    """Return 16-bit grey values, of which the upper byte is kept, or floats in [0, 1] as bytes."""
    low, high, most = float(values.min()), float(values.max()), 1 if values.dtype.kind == "f" else 65535
    if not (low >= 0 and high <= most):
        raise RGMError(f"{path} has values of {low:g} … {high:g}: grey values lie in 0 … 65535, floats in 0 … 1")
    return (values // 256 if most > 1 else (255 * values).round()).astype(np.uint8)


def _decode(path: File, size: tuple[int, int] | None, pixels: Pixels) -> np.ndarray:
    with _open(path) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode[0] in "IF":
            image = Image.fromarray(_as_bytes(np.asarray(image), path))
        if _is_transparent(image):
            layer, ground = image.convert("RGBA"), pixels.ground
            image = Image.alpha_composite(Image.new("RGBA", layer.size, (ground, ground, ground, 255)), layer)
        image = image.convert("L" if pixels.channels == 1 else "RGB")
        if size is not None and (image.height, image.width) != size:
            image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    values = np.asarray(image)
    return values[:, :, None] if pixels.channels == 1 else values
