"""Named data sets and their downloads."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
from jaxtyping import Int64, UInt8
from torch import Tensor

from rgm.data.idx import read_idx
from rgm.errors import RGMError

CONNECT_S = 2.0
"""Timeout of a connection to each of a mirror's addresses; a mirror has up to 16 of them."""
ANSWER_S = 10.0
"""Timeout of a mirror's answer."""
ROUNDS = 2
"""Passes over the list of mirrors for a file."""


@dataclass(frozen=True, kw_only=True)
class NamedSet:
    """A set in IDX format: its title, its classes, its mirrors, and its four files with their checksums.

    `files` are in the order training images, training labels, test images, test labels.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


_STEMS = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _files(*hashes: str) -> tuple[tuple[str, str], ...]:
    return tuple(zip(_STEMS, hashes, strict=True))


NAMED: dict[str, NamedSet] = {
    found.name: found
    for found in (
        NamedSet(
            name="mnist",
            title="MNIST",
            classes=tuple("0123456789"),
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            files=_files(
                "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
        # The publishers of the next two give only MD5 sums; these are the SHA-256 of TensorFlow Datasets
        # (its url_checksums/fashion_mnist.txt and kmnist.txt).
        NamedSet(
            name="fashion-mnist",
            title="Fashion-MNIST",
            classes=("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"),
            mirrors=(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            ),
            files=_files(
                "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
        NamedSet(
            name="kmnist",
            title="KMNIST",
            classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
            mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
            files=_files(
                "sha256:51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                "sha256:e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                "sha256:edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                "sha256:20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            ),
        ),
    )
}


def cache_dir(name: str) -> Path:
    """Return the folder of a set's downloads: under `$RGM_CACHE_DIR`, else the user's cache."""
    root = os.environ.get("RGM_CACHE_DIR") or pooch.os_cache("rgm")
    return Path(root) / name


def locate(known: NamedSet, data_dir: Path | None) -> Path:
    """Return the folder that holds a set's four files, downloading them into the cache as the last resort.

    In order: `data_dir/NAME`, `data_dir` itself, `$RGM_DATA_DIR/NAME`, the cache. Raises RGMError where no folder and
    no mirror has them.
    """
    if data_dir is not None:
        if folder := held_in(known, data_dir):
            return folder
        raise RGMError(
            f"{data_dir} holds no {known.title}: the files {', '.join(_STEMS)} (or without .gz) are expected there "
            f"or in its folder {known.name}"
        )
    if folder := at_hand(known):
        return folder
    try:
        return download(known, cache_dir(known.name))
    except RGMError as error:
        searched = ", ".join(map(str, _places(known)))
        raise RGMError(
            f"{known.title} is not in {searched} and could not be downloaded ({error}): "
            f"name a folder that holds {known.name} with --data-dir or RGM_DATA_DIR"
        ) from error


def at_hand(known: NamedSet) -> Path | None:
    """Return the folder that holds a set's four files, of `$RGM_DATA_DIR/NAME` and the cache, where one does."""
    return next((folder for folder in _places(known) if _complete(folder)), None)


def _places(known: NamedSet) -> list[Path]:
    named = os.environ.get("RGM_DATA_DIR")
    return [*([Path(named) / known.name] if named else []), cache_dir(known.name)]


def held_in(known: NamedSet, data_dir: Path) -> Path | None:
    """Return `data_dir/NAME` or `data_dir` itself, whichever has a set's four files."""
    return next((folder for folder in (data_dir / known.name, data_dir) if _complete(folder)), None)


def _file(folder: Path, stem: str) -> Path | None:
    """Return a set's file in a folder: compressed or not, in either of two spellings."""
    bare = stem.removesuffix(".gz")
    spellings = (stem, bare, bare.replace("-idx", ".idx"), bare.replace("-idx", ".idx") + ".gz")
    return next((folder / name for name in spellings if (folder / name).is_file()), None)


def _complete(folder: Path) -> bool:
    return all(_file(folder, stem) for stem in _STEMS)


def download(known: NamedSet, folder: Path) -> Path:
    """Download a set's files into a folder, each verified and moved there atomically; mirrors are tried in turn.

    A mirror that fails is tried once more, unless it timed out: a network that drops packets must not delay a run that
    does not need it. Raises RGMError with the last reason where no mirror has a file.
    """
    pooch.get_logger().setLevel("ERROR")
    fetch = pooch.HTTPDownloader(timeout=(CONNECT_S, ANSWER_S), progressbar=sys.stderr.isatty())
    timed_out: set[str] = set()
    for name, checksum in known.files:
        reason = "no mirror is known"
        for mirror in known.mirrors * ROUNDS:
            if mirror in timed_out:
                continue
            try:
                pooch.retrieve(mirror + name, checksum, fname=name, path=folder, downloader=fetch)
                break
            except (requests.RequestException, OSError, ValueError) as error:
                reason = _short(error)
                if isinstance(error, requests.Timeout):
                    timed_out.add(mirror)
        else:
            raise RGMError(reason)
    return folder


def _short(error: Exception) -> str:
    """Return the reason of a failed download in a few words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error).splitlines()[0]


def read_files(
    known: NamedSet, folder: Path, *, test: bool
) -> tuple[UInt8[Tensor, "n 1 height width"], Int64[Tensor, " n"]]:
    """Return the images and labels of the training or test files; raise RGMError for damaged or mismatched files."""
    stems = _STEMS[2:] if test else _STEMS[:2]
    paths = [found for stem in stems if (found := _file(folder, stem))]
    images, labels = read_idx(paths[0]), read_idx(paths[1])
    if images.ndim != 3 or labels.ndim != 1:
        raise RGMError(
            f"{paths[0].name} and {paths[1].name} in {folder} should have 3 axes and 1, "
            f"but have {images.ndim} and {labels.ndim}"
        )
    if len(images) != len(labels):
        raise RGMError(
            f"{folder} has {len(images):,} images in {paths[0].name} but {len(labels):,} labels in "
            f"{paths[1].name}: they belong to different sets; fetch both again"
        )
    if len(labels) and int(labels.max()) >= len(known.classes):
        raise RGMError(
            f"{paths[1]} has a label {int(labels.max())}, but {known.title} has classes 0 … {len(known.classes) - 1}"
        )
    return images[:, None], labels.long()
