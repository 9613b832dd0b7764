"""Images by name, from a folder, or from the user's own arrays."""

import hashlib
import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, SupportsIndex, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor

from rgm.data import folder, shards
from rgm.data.cache import build_cache, is_cache, open_cache
from rgm.data.images import ImageSet, Split
from rgm.data.labels import HIDDEN, whole_numbers
from rgm.data.named import NAMED, NamedSet, cache_dir, held_in, locate, read_files
from rgm.data.names import DATA_NAMES
from rgm.data.split import held_out, largest_label, stratified
from rgm.errors import RGMError, unknown
from rgm.runtime.progress import Watch
from rgm.runtime.seeds import as_seed, whole
from rgm.storage.files import as_path

log = logging.getLogger("rgm")

LARGEST = 4096
"""Maximum side of resized images, in pixels."""
DARKEST = 32
"""Images without a brighter pixel are said to be so: 12 bits of 16, or 0 and 1."""
DIGITS_SHARES = (0.7, 0.1, 0.2)
"""The embedded digits' shares of training, validation and test."""


def load_data(
    name: str | Path = "auto",
    split: Split = "train",
    *,
    data_dir: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    seed: SupportsIndex = 0,
) -> ImageSet:
    """Return one split of a data set as uint8 tensors in memory, in the data set's own order.

    `name`: `mnist`, `fashion-mnist`, `kmnist`, `digits`, a folder of images, or `auto`: MNIST where it is available, in
    `data_dir` or elsewhere, else the embedded digits. `data_dir` holds the named sets' IDX files; `size` resizes, to a
    square side or (height, width); `channels` is 1 or 3; `seed` divides a folder that has no test images. Raises
    RGMError for a set that is unknown, missing, or damaged.
    """
    if split not in get_args(Split):
        raise unknown("split", split, get_args(Split))
    if channels not in (None, 1, 3):
        raise RGMError(f"images have 1 or 3 channels, but {channels} were requested")
    shape = (
        None if size is None else _sides(*size) if isinstance(size, tuple) and len(size) == 2 else _sides(size, size)
    )
    path, name = as_path(name, "a data set"), str(name)
    place, divided_by = None if data_dir is None else as_path(data_dir, "`data_dir`"), as_seed(seed)
    if name == "auto":
        place = _automatic(place, os.environ.get("RGM_DATA_DIR"), str(cache_dir("mnist")))
        name = "digits" if place is None else "mnist"
    if name in NAMED:
        found = _named(NAMED[name], split, place)
    elif name == "digits":
        found = _digits(split)
    elif os.sep in name or (name and path.is_dir()):
        return _folder(path, split, shape, channels, divided_by)
    elif path.is_file():
        raise _no_folder(path)
    else:
        raise unknown("data set or folder", name, [*DATA_NAMES, "folders of images"])
    return _fitted(found, shape, channels)


def _sides(*sides: Any) -> tuple[int, int]:
    height, width = (whole(side, "the side of an image in pixels", 4, LARGEST) for side in sides)
    return height, width


def natural_size(data: str, preset: str, side: int | None) -> int | None:
    """Return the side that a folder's images are resized to for a preset, with a warning; None for no resizing.

    Named sets and caches keep their size.
    """
    if side is None or not _is_listed(data):
        return None
    warn_if_resized(data, "train", (side, side), f"the size of the preset {preset}: --size chooses another")
    return side


def warn_if_resized(data: str, split: Split, size: tuple[int, int], why: str) -> None:
    """Warn where the first image of a folder's split has another height and width than `size`; `why` it is resized."""
    if _is_listed(data) and folder.image_size(listed(Path(data), split).paths[0]) != size:
        log.warning("the images in %s are resized to %d × %d pixels, %s", Path(data), *size, why)


def _no_folder(path: Path) -> RGMError:
    if not path.is_file():
        return RGMError(f"no folder of images at {path}")
    return RGMError(
        f"{path} is a file: images are of a folder, or of a named set ({', '.join(DATA_NAMES)}); films, such as .gif "
        "or .npz, are for presets of films, such as film-flow"
    )


def _is_listed(data: str) -> bool:
    """Return whether images are of a folder, rather than of a named set or a cache."""
    root = Path(data)
    return data not in (*NAMED, "digits", "auto") and root.is_dir() and not is_cache(root)


@lru_cache(maxsize=16)
def _automatic(data_dir: Path | None, _environment: str | None, _cache: str) -> Path | None:
    """Return MNIST's folder, or None for the digits; decided once, so that all splits of a run are of one set."""
    mnist = NAMED["mnist"]
    if data_dir is not None and (given := held_in(mnist, data_dir)):
        return given
    absent = "" if data_dir is None else f"{data_dir} holds no {mnist.title}: "
    try:
        found = locate(mnist, None)
    except RGMError as error:
        log.warning("%s%s. Using the 1,797 small digits embedded in scikit-learn", absent, error)
        return None
    if absent:
        log.warning("%sit is taken from %s", absent, found)
    return found


def _named(known: NamedSet, split: Split, data_dir: Path | None) -> ImageSet:
    images, labels = read_files(known, locate(known, data_dir), test=split == "test")
    if split != "test":
        validation = held_out(images)
        keep = validation if split == "validation" else ~validation
        images, labels = images[keep], labels[keep]
    return image_set(known.name, split, images, labels, known.classes, known.title)


def _digits(split: Split) -> ImageSet:
    """Return the digits, their 8 × 8 pixels of 0 … 16 scaled to 24 × 24 of 0 … 255 within a margin of 2 pixels."""
    images, labels = _all_digits()
    index = stratified(labels, DIGITS_SHARES, seed=0)[get_args(Split).index(split)]
    source = "the 1,797 digits embedded in scikit-learn"
    return image_set("digits", split, images[index], labels[index], tuple("0123456789"), source)


@lru_cache(maxsize=1)
def _all_digits() -> tuple[UInt8[Tensor, "n 1 28 28"], Int64[Tensor, " n"]]:
    """Return the images and labels of all splits, which are read once."""
    from sklearn.datasets import load_digits  # slow to import

    bunch = load_digits()
    small, labels = torch.from_numpy(bunch.images).float()[:, None] / 16, torch.from_numpy(bunch.target).long()
    large = F.interpolate(small, size=(24, 24), mode="bicubic", align_corners=False).clamp(0, 1)
    return F.pad(large, (2, 2, 2, 2)).mul(255).round().to(torch.uint8), labels


def _folder(root: Path, split: Split, size: tuple[int, int] | None, channels: int | None, seed: int) -> ImageSet:
    if is_cache(root):
        cached = open_cache(root, split)
        present, *shape = cached.shape
        if size not in (None, tuple(shape)) or channels not in (None, present):
            raise RGMError(
                f"{root} holds images of {' × '.join(map(str, cached.shape))}, as they were cached: make another cache "
                "for another size or number of channels"
            )
        return cached
    listing = listed(root, split, seed=seed)
    kind = shards if shards.are_in(root) else folder
    pixels = folder.pixels_of(kind.every_image(root), channels)  # of the whole folder, not of a split
    images = folder.read_images(listing.paths, size=size, pixels=pixels)
    if len(images) > 1 and bool((images == images[:, :, :1, :1]).all()):
        log.warning("every image of %s (%s) is of one flat colour: is their transparency what shows them?", root, split)
    elif (brightest := int(images.max())) < DARKEST:
        log.warning("no pixel of %s (%s) is above %d of 255: are its values of another range?", root, split, brightest)
    labels = None if listing.labels is None else torch.tensor(listing.labels)
    return image_set(root.resolve().name, split, images, labels, listing.classes, f"the folder {root}")


def apart(data: str | Path, out: Path) -> None:
    """Raise RGMError for an output folder that is the data's own, or one of its images.

    What is written there would be read as data, or its images no more, since folders of rgm are passed over.
    """
    if str(data) in DATA_NAMES or not Path(data).is_dir() or not out.is_dir():
        return
    root, place = Path(data).resolve(), out.resolve()
    if place == root or (root in place.parents and folder.holds_data(place)):
        raise RGMError(f"{out} is the folder of the images: give another with --out, such as {out / 'rgm'}")


def listed(root: Path, split: Split, *, seed: int = 0, skip_damaged: bool = False) -> folder.Listing:
    """Return the files of a split of a folder of images or of tar shards; raise RGMError where it is neither."""
    if not root.is_dir():
        raise _no_folder(root)
    try:
        if shards.are_in(root):
            found = shards.list_shards(root, split, seed=seed, skip_damaged=skip_damaged)
        else:
            found = folder.list_split(root, split, seed=seed)
        if found.ignored:
            folder.warn_once(f"left out of {root}: {found.ignored} ({folder.advice(found.ignored)})")
        return found
    except OSError as error:
        raise RGMError(f"cannot read the folder {error.filename or root}: {error.strerror or error}") from error


def cache_images(
    root: Path,
    out: Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    skip_damaged: bool = False,
    watch: Watch = lambda _: None,
) -> None:
    """Decode a folder of images, or of tar shards, into a cache that `load_data` opens by its path.

    Raises RGMError as `load_data` does, and where disk space does not suffice.
    """
    shape = None if size is None else _sides(size, size)
    if is_cache(root):
        raise RGMError(f"{root} is a cache already: every --data takes it")
    apart(root, out)
    listings: dict[Split, folder.Listing] = {
        split: listed(root, split, skip_damaged=skip_damaged) for split in get_args(Split)
    }
    pixels = folder.pixels_of((path for listing in listings.values() for path in listing.paths), channels)
    build_cache(root, listings, out, size=shape, pixels=pixels, skip_damaged=skip_damaged, watch=watch)


def _fitted(data: ImageSet, size: tuple[int, int] | None, channels: int | None) -> ImageSet:
    images = data.images
    if size is not None and tuple(images.shape[2:]) != size:
        batches = [
            F.interpolate(batch.float(), size=size, mode="bilinear", antialias=True, align_corners=False)
            .round()
            .clamp(0, 255)
            .to(torch.uint8)
            for batch in images.split(4096)
        ]
        images = torch.cat(batches)
    if channels == 3 and images.shape[1] == 1:
        images = images.repeat(1, 3, 1, 1)
    if images is data.images:
        return data
    return image_set(data.name, data.split, images, data.labels, data.classes, data.source)


def image_set(
    name: str, split: Split, images: Tensor, labels: Tensor | None, classes: tuple[str, ...], source: str
) -> ImageSet:
    """Return a set with the checksum of its pixels and labels."""
    digest = hashlib.sha256(images.contiguous().numpy().data)
    if labels is not None:
        digest.update(labels.contiguous().numpy().data)
    return ImageSet(
        name=name, split=split, images=images, labels=labels, classes=classes, source=source, sha256=digest.hexdigest()
    )


def joined(first: ImageSet, second: ImageSet) -> ImageSet:
    """Return the images of two splits of one set as one training split."""
    labels = None
    if first.labels is not None and second.labels is not None:
        labels = torch.cat([first.labels, second.labels])
    images = torch.cat([first.images, second.images])
    return image_set(first.name, "train", images, labels, first.classes, first.source)


def from_arrays(images: Any, labels: Any = None, *, name: str = "arrays", split: Split = "train") -> ImageSet:
    """Return the user's own tensors or arrays as a set.

    `images`: (n, height, width) or (n, channels, height, width), uint8 or floats in [0, 1]; `labels`: (n,) integers
    from 0. Bytes are shared with the caller's array where possible. Raises RGMError for anything else.
    """
    pixels = as_tensor(images, "images")
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4 or pixels.numel() == 0 or pixels.shape[1] not in (1, 3):
        last = pixels.ndim == 4 and pixels.shape[-1] in (1, 3)
        raise RGMError(
            "images must have shape (n, height, width) or (n, channels, height, width) with 1 or 3 channels and "
            f"no axis empty, but have {tuple(pixels.shape)}{': channels come first' if last else ''}"
        )
    if pixels.dtype == torch.bool:
        pixels = pixels.to(torch.uint8) * 255
    if pixels.is_floating_point():
        pixels = pixels.float()
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):
            raise RGMError(f"images of floats must lie in [0, 1], but range over {low:g} … {high:g}")
        pixels = pixels.mul(255).round().to(torch.uint8)
    elif pixels.dtype != torch.uint8:
        raise RGMError(f"images must be uint8 or floats in [0, 1], but are {pixels.dtype}")
    if labels is None:
        return image_set(name, split, pixels, None, (), "the user's own arrays")
    targets = as_tensor(labels, "labels")
    if targets.is_complex() or targets.shape != (len(pixels),):
        raise RGMError(
            f"labels must be {len(pixels)} whole numbers, one per image, but are {targets.dtype} of shape "
            f"{tuple(targets.shape)}"
        )
    if targets.is_floating_point():
        targets = whole_numbers(targets, "labels")
    low, high = int(targets.numpy().min()), int(targets.numpy().max())  # PyTorch's unsigned types have no minimum
    if low < HIDDEN:
        raise RGMError(f"labels count from 0, or are {HIDDEN} where they are not known, but the least is {low}")
    most = largest_label(len(pixels))
    if high > most:
        raise RGMError(
            f"the label of image {int(targets.numpy().argmax())} is {high:,}, out of proportion to "
            f"{len(pixels):,} images: labels are class numbers from 0, here up to {most:,}"
        )
    classes = tuple(str(label) for label in range(high + 1))
    return image_set(name, split, pixels, targets.long(), classes, "the user's own arrays")


def arrays_for(
    images: Any, labels: Any, *, shape: tuple[int, int, int], classes: int, labelled: bool = False
) -> ImageSet:
    """Return the user's own arrays as training images of a model; see `from_arrays`.

    `shape`: of the model's images; `classes`: its number of concepts; `labelled`: whether it needs every label.
    Raises RGMError where they do not fit.
    """
    data = from_arrays(images, labels)
    if labelled and (data.labels is None or int(data.labels.min()) < 0):
        raise RGMError("a counting model learns every class from its own images: it needs every image's label")
    if data.shape != shape:
        raise RGMError(
            f"the model takes images of shape {shape}, but got {data.shape}: resize them, or use a model for that shape"
        )
    if len(data.classes) > classes:
        raise RGMError(f"the model's concepts are 0 … {classes - 1}, but a label is {len(data.classes) - 1}")
    return data


def as_tensor(values: Any, what: str) -> Tensor:
    """Return the user's own tensor or array as a tensor on the CPU; raise RGMError for anything else."""
    if isinstance(values, Tensor):
        return values.detach().cpu().to_dense()
    try:
        array = np.asarray(values)
        # PyTorch takes neither foreign byte orders nor reversed axes, and warns of read-only arrays.
        return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    except (TypeError, ValueError, RuntimeError) as error:
        kind = getattr(values, "dtype", type(values).__name__)
        hint = "; np.unique(labels, return_inverse=True)[1] numbers names" if what == "labels" else ""
        reason = str(error).partition(". The only")[0]
        raise RGMError(f"{what} must be a tensor or an array of numbers, but are {kind} ({reason}){hint}") from error
