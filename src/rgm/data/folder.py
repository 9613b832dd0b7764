"""A folder of images: one subfolder a class, or `train/` and `test/` above those, or images alone."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from rgm.data.images import Split
from rgm.data.split import stratified
from rgm.errors import RGMError

SUFFIXES = (".png", ".jpg", ".jpeg")
SHARES = (0.7, 0.1, 0.2)
"""Training, validation and test, where the folder itself has no test images."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of one split in the order of their names, with labels where the folder has classes."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]


def list_split(root: Path, split: Split, *, seed: int) -> Listing:
    """Return the files of a split.

    Without `test/` the images are divided by a seeded, stratified draw; without `validation/`, that split is
    drawn from the training images. Raises RGMError for a folder without images, or a class without any.
    """
    if (root / "train").is_dir():
        if (root / split).is_dir():
            found = _list(root / split)
        elif split == "validation":
            return _part(_list(root / "train"), (0.9, 0.1), 1, seed)
        else:
            raise RGMError(
                f"{root} has train/ but no {split}/: add it, or put the classes directly into {root}"
            )
        train = found if split == "train" else _list(root / "train")
        if found.classes != train.classes:
            odd = sorted(set(found.classes) ^ set(train.classes))
            raise RGMError(
                f"{root / split} and {root / 'train'} differ in their classes: {', '.join(odd) or 'order'}"
            )
        if split == "train" and not (root / "validation").is_dir():
            return _part(found, (0.9, 0.1), 0, seed)
        return found
    return _part(_list(root), SHARES, ("train", "validation", "test").index(split), seed)


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
        inside = sorted(
            p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
        )
        if not inside:
            raise RGMError(f"the class folder {place} holds no PNG or JPEG images: remove it, or fill it")
        paths += inside
        labels += [label] * len(inside)
    return Listing(paths=tuple(paths), labels=tuple(labels), classes=tuple(path.name for path in classes))


def _part(listing: Listing, shares: tuple[float, ...], part: int, seed: int) -> Listing:
    strata = torch.tensor(listing.labels if listing.labels else [0] * len(listing.paths))
    chosen = stratified(strata, shares, seed)[part].tolist()
    if not chosen:
        raise RGMError(
            f"{len(listing.paths)} images are too few to divide into training, validation and test: add images, or "
            "give train/, validation/ and test/ folders"
        )
    return Listing(
        paths=tuple(listing.paths[index] for index in chosen),
        labels=None if listing.labels is None else tuple(listing.labels[index] for index in chosen),
        classes=listing.classes,
    )


def read_images(
    paths: tuple[Path, ...], *, size: tuple[int, int] | None, channels: int | None
) -> UInt8[Tensor, "n channels height width"]:
    """Return images as one tensor, decoded by a pool of threads.

    `size` is (height, width), by default the first image's, which all must then have; `channels` 1 or 3, by
    default 1 where every image is grey. Raises RGMError that names the image which cannot be read or differs.
    """
    if channels is None:
        channels = 1 if all(_is_grey(path) for path in paths) else 3
    first = _decode(paths[0], size, channels)
    stack = np.empty((len(paths), *first.shape), dtype=np.uint8)

    def place(index: int) -> None:
        image = _decode(paths[index], size, channels)
        if image.shape != first.shape:
            raise RGMError(
                f"{paths[index]} is {image.shape[0]} × {image.shape[1]} pixels, but {paths[0].name} is "
                f"{first.shape[0]} × {first.shape[1]}: resize all with --size"
            )
        stack[index] = image

    with ThreadPoolExecutor() as pool:
        list(pool.map(place, range(len(paths))))
    return torch.from_numpy(stack).permute(0, 3, 1, 2).contiguous()


def _open(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RGMError(f"{path} claims to be larger than an image should be: {error}") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise RGMError(f"{path} cannot be read as an image: replace or remove it") from error


def _is_grey(path: Path) -> bool:
    with _open(path) as image:
        return image.mode in ("1", "L", "LA", "I;16", "I")


def _decode(path: Path, size: tuple[int, int] | None, channels: int) -> np.ndarray:
    with _open(path) as opened:
        try:
            image: Image.Image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16-bit grey: keep the upper byte
                image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
            if "A" in image.getbands() or "transparency" in image.info:
                layer = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
            image = image.convert("L" if channels == 1 else "RGB")
            if size is not None and (image.height, image.width) != size:
                image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise RGMError(f"{path} cannot be read as an image: replace or remove it") from error
    pixels = np.asarray(image)
    return pixels[:, :, None] if channels == 1 else pixels
