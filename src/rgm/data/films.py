"""Films by name, from a file or a folder, or from the user's own arrays."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgm.data.animations import ANIMATIONS, read_animation, read_pictures
from rgm.data.folder import SPLITS, visible
from rgm.data.frames import Frames, films_of
from rgm.data.images import Split
from rgm.data.load import as_tensor
from rgm.data.made_films import MADE
from rgm.data.names import FILM_NAMES
from rgm.data.sound import read_sound
from rgm.data.video import VIDEOS, read_video
from rgm.errors import RGMError, unknown
from rgm.runtime.brief import Brief
from rgm.storage.arrays import read_array
from rgm.storage.files import as_path

SHARES = {"validation": 0.1, "test": 0.2}
"""Shares of a file's films that are held out, where it holds `DIVIDED` or more."""
DIVIDED = 5
FILM_SUFFIXES = (".npz", ".npy", ".wav", *ANIMATIONS, *VIDEOS)


@dataclass(frozen=True, kw_only=True, repr=False)
class FilmSet(Brief):
    """Films of one split and one length as one uint8 tensor.

    `frames` has the shape (films, frames, rows, columns), with a last axis of 3 for colour; `source` describes their
    origin, `sha256` identifies the exact pixels. `held_out` is false where there are too few films to hold any out, so
    that every split is the same: figures on them are of memory, not of generalisation. `sample_rate` is that of a
    sound, in Hz.
    """

    name: str
    split: Split
    frames: Frames
    source: str
    sha256: str
    held_out: bool = True
    sample_rate: int | None = None

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self.frames)

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of a frame."""
        return image_of(self.frames)


def image_of(frames: Frames) -> tuple[int, int, int]:
    """Return channels, height and width of the frames of films."""
    height, width, *colour = frames.shape[2:]
    return (3 if colour else 1, height, width)


def load_films(
    name: str, split: Split = "train", *, data_dir: str | Path | None = None, image: tuple[int, int, int] | None = None
) -> FilmSet:
    """Return one split of films as uint8 tensors.

    `name`: `balls`, `lorenz`, `moving-mnist`, `two-moving-mnist`, `rotating-mnist`; a `.npz` (with `frames`) or `.npy`
    file, a GIF, APNG or WebP, an MP4 or other video (extra `video`), a WAV; a folder of numbered pictures, or one with
    `train`, `validation` and `test` as such files or folders. `data_dir` holds MNIST for the films of digits, without
    which those embedded in scikit-learn move. `image`: the (channels, height, width) that the frames must have. A file
    of fewer than five films is every split at once. Raises RGMError for anything else.
    """
    if split not in get_args(Split):
        raise unknown("split", split, get_args(Split))
    path, name = as_path(name, "a set of films"), str(name)
    place = None if data_dir is None else as_path(data_dir, "`data_dir`")
    if name in MADE:
        made = MADE[name](split, place)
        found = film_set(name, split, made.frames, made.source, held_out=made.held_out)
    elif name and path.exists():
        found = _stored(path, split)
    else:
        raise unknown(
            "films",
            name,
            [*FILM_NAMES, "a .npz or .npy file, a GIF, APNG, WebP, video or WAV, or a folder of pictures"],
        )
    if image is not None and found.image != image:
        expected, given = (" × ".join(map(str, shape)) for shape in (image, found.image))
        raise RGMError(
            f"the model's frames are {expected} (channels × rows × columns), but those of {name} are {given}"
        )
    return found


def film_set(
    name: str, split: Split, frames: Frames, source: str, *, held_out: bool = True, sample_rate: int | None = None
) -> FilmSet:
    """Return a set with the checksum of its pixels."""
    digest = hashlib.sha256(repr(tuple(frames.shape)).encode() + frames.contiguous().numpy().tobytes()).hexdigest()
    return FilmSet(
        name=name, split=split, frames=frames, source=source, sha256=digest, held_out=held_out, sample_rate=sample_rate
    )


def read_films(path: Path) -> tuple[Frames, int | None]:
    """Return the films of a file or a folder of numbered pictures, and a sound's rate in Hz.

    Raises RGMError for what is missing, damaged or of another format.
    """
    if path.is_dir():
        return films_of(read_pictures(path), what=f"the pictures in {path}"), None
    if not path.is_file():  # a named pipe would be waited for
        raise RGMError(f"no file at {path}")
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy"):
        return films_of(_array(path, "frames"), what=f"frames in {path}"), None
    if suffix == ".wav":
        return read_sound(path)
    if suffix in ANIMATIONS:
        return films_of(read_animation(path), what=f"the frames of {path}"), None
    if suffix in VIDEOS:
        return films_of(read_video(path), what=f"the frames of {path}"), None
    raise RGMError(
        f"{path} is no film: .npz or .npy files of `frames`, {', '.join((*ANIMATIONS, *VIDEOS))}, .wav, and folders of "
        "numbered pictures are read"
    )


def read_mask(path: Path) -> Tensor:
    """Return a mask of visible pixels, true or not 0 where one is visible: `mask` of a .npz file, or a .npy file."""
    mask = as_tensor(_array(path, "mask"), f"the mask in {path}")
    if bool(mask.isnan().any()):
        raise RGMError(f"the mask in {path} holds values that are no numbers: write true where a pixel is visible")
    return mask if mask.dtype == torch.bool else mask != 0


def _array(path: Path, key: str) -> NDArray[np.generic]:
    return read_array(path, None if path.suffix.lower() == ".npy" else key, f"no file at {path}")


def _stored(path: Path, split: Split) -> FilmSet:
    """Return a split of a file or a folder: its own, or a share of the films, or all of them where they are few."""
    own = _own_splits(path) if path.is_dir() else {}
    place = own.get(split) or own.get("train", path)
    frames, rate = read_films(place)
    name, source = path.resolve().stem, f"the {'folder' if path.is_dir() else 'file'} {place}"
    if own:
        return film_set(name, split, frames, source, held_out=split in own, sample_rate=rate)
    if len(frames) < DIVIDED:
        return film_set(name, split, frames, source, held_out=False, sample_rate=rate)
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))
    validation, test = (max(1, round(share * len(frames))) for share in SHARES.values())
    parts: dict[Split, Tensor] = {
        "validation": order[:validation],
        "test": order[validation : validation + test],
        "train": order[validation + test :],
    }
    return film_set(name, split, frames[parts[split].sort().values], source, sample_rate=rate)


def _own_splits(root: Path) -> dict[Split, Path]:
    """Return the splits' own files or folders, by any of their names, where the folder has films to train and to test.

    Raises RGMError for two of one split, or training films alone.
    """
    found: dict[Split, Path] = {}
    for path in visible(root):
        split = SPLITS.get(path.stem.lower())
        if split is None or not (path.is_dir() or path.suffix.lower() in FILM_SUFFIXES):
            continue
        if split in found:
            raise RGMError(f"{found[split]} and {path} are both the {split} split: keep one of them")
        found[split] = path
    if "train" in found and "test" not in found:
        raise RGMError(f"{root} holds films to train, {found['train'].name}, but none to test: add test.npz or test/")
    return found if "train" in found else {}
