"""What commands share: options with their help texts, and reading the model and the data that they name.

PyTorch and whatever imports it are imported inside the functions that need them, here and in every module of commands,
so that `rgm --help` answers at once.
"""

import logging
import shlex
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from rgm.data.names import DATA_NAMES
from rgm.errors import RGMError
from rgm.runtime.seeds import SEEDS
from rgm.training.config import RunConfig

if TYPE_CHECKING:
    from rgm.counting.model import CountingRGM
    from rgm.data.images import ImageSet, Split
    from rgm.loading import Checkpoint
    from rgm.model.spatial import SpatialRGM
    from rgm.storage.files import FileKind

log = logging.getLogger("rgm")
SUFFIXES: "dict[FileKind, str]" = {"arrays": ".npz", "a model": ".safetensors"}
"""How files that commands write are named, by their kind."""

_DATA = f"{', '.join(DATA_NAMES)}, or a folder of images"
SEED = Parameter(validator=Number(gte=0, lt=SEEDS))
_FLAG = Parameter(negative="")

Config = Annotated[RunConfig, Parameter(name="*")]
DEFAULTS = RunConfig()
LATEST = Path("runs/latest")
RunFolder = Annotated[Path, Parameter(help="The run folder.")]
Resume = Annotated[bool, _FLAG, Parameter(help="Continue the run in --out, or start one if there is none.")]
JudgeFile = Annotated[
    Path | None, Parameter(help="Your own classifier as the judge: a file of `rgm judge`, or an ONNX graph.")
]
Overwrite = Annotated[bool, _FLAG, Parameter(help="Replace the run in --out, which else is kept beside it.")]
Controls = Annotated[bool, Parameter(help="Also evaluate the claims on controls that must fail.")]
Board = Annotated[Path | None, Parameter(help="Folder for TensorBoard files. Needs the extra tensorboard.")]
Quiet = Annotated[bool, _FLAG, Parameter(help="Print errors only.")]
Model = Annotated[
    str,
    Parameter(
        help="A run or checkpoint folder, a model file, packaged weights (mnist, fashion-mnist or cifar10), or "
        "owner/name on the Hub."
    ),
]
Data = Annotated[str | None, Parameter(help=f"{_DATA}; by default the model's own data set.")]
TrainingData = Annotated[str, Parameter(help=f"{_DATA}.")]
DataDir = Annotated[Path | None, Parameter(help="Folder with mnist/ … as IDX files; else $RGM_DATA_DIR.")]
SplitName = Annotated[Literal["train", "validation", "test"], Parameter(help="Split of the data set.")]
Device = Annotated[str, Parameter(help="auto, cpu, cuda or mps.")]
Seed = Annotated[int, SEED, Parameter(help="Random seed.")]
ModelSeed = Annotated[int | None, SEED, Parameter(help="Random seed; by default that of the model's run.")]
ArraysFile = Annotated[Path, Parameter(help="The .npz file to write.")]
WeightsFile = Annotated[Path, Parameter(help="The .safetensors file to write.")]


def load(
    model: str,
    device: str,
    *,
    file: Path | None = None,
    kind: "FileKind" = "arrays",
    read: Iterable[Path | None] = (),
    folder: Path | None = None,
) -> "Checkpoint":
    """Return a model on a device, once it is known that the file or folder to write afterwards can be written.

    The file is of a `kind`, and none of the files to `read`.
    """
    from rgm.loading import load_checkpoint
    from rgm.runtime.device import resolve_device
    from rgm.storage.files import writable_folder

    target = resolve_device(device)
    checkpoint = load_checkpoint(model)
    if checkpoint.unfinished is not None:
        log.warning("the training of %s is not finished: its newest checkpoint is used; --resume continues it", model)
    if file is not None:
        output(model, file, kind, read)
    if folder is not None:
        writable_folder(folder)
    checkpoint.model.to(target)
    return checkpoint


def output(model: str, file: Path, kind: "FileKind", read: Iterable[Path | None]) -> None:
    """Raise RGMError for a file that cannot be written, has another kind's name or content, or is read."""
    from rgm.storage.checkpoint import find_model
    from rgm.storage.files import writable_file

    suffix = SUFFIXES.get(kind)
    if suffix and file.suffix.lower() != suffix and not file.exists():
        raise RGMError(f"{file} would hold {kind}: name it {file.with_suffix(suffix)}")
    writable_file(file, kind)
    if file.exists():
        for given in (find_model(model), *read):
            if given is not None and given.exists() and file.samefile(given):
                raise RGMError(f"{file} is read by this command, and would be lost: give another place with --out")


def networks(model: str, checkpoint: "Checkpoint", instead: str) -> "SpatialRGM":
    """Return a model of neural networks; raise RGMError for a counting model, with what to do instead."""
    from rgm.model.spatial import SpatialRGM

    if not isinstance(checkpoint.model, SpatialRGM):
        raise RGMError(
            f"{model} is a counting model (a tree of categorical variables fitted in closed form), which has no "
            f"networks to export: {instead}"
        )
    return checkpoint.model


def counted(model: str, checkpoint: "Checkpoint", instead: str) -> "CountingRGM":
    """Return a counting model; raise RGMError for a model of neural networks, with what to do instead."""
    from rgm.counting.model import CountingRGM

    if not isinstance(checkpoint.model, CountingRGM):
        raise RGMError(f"{model} is a model of neural networks, whose probability of an image is a bound: {instead}")
    return checkpoint.model


def read(checkpoint: "Checkpoint", data: str | None, split: "Split", data_dir: Path | None) -> "ImageSet":
    """Return a split in the shape of a model's images, with a warning where images of a folder are resized."""
    from rgm.data.load import load_data, warn_if_resized

    channels, height, width = checkpoint.model.config.image
    name = data or checkpoint.origin.data
    if data is not None:
        warn_if_resized(data, split, (height, width), "the size of the model's images")
    found = load_data(name, split, data_dir=data_dir, size=(height, width), channels=channels)
    if data is None and checkpoint.checksums.get(split, found.sha256) != found.sha256:
        log.warning(
            "the %s images of %s are not those of the model's training run: their checksum differs", split, name
        )
    return found


def read_comparable(
    checkpoint: "Checkpoint", data: str | None, splits: "tuple[Split, ...]", data_dir: Path | None
) -> "list[ImageSet]":
    """Return splits as `read` does, without their labels where these name other classes than the model's concepts."""
    found: "list[ImageSet]" = []
    for split in splits:
        images = read(checkpoint, data, split, data_dir)
        if images.labels is not None and images.classes != checkpoint.origin.classes:
            if not found:
                log.warning(
                    "the classes of %s are not the model's concepts: its labels are ignored, and nothing is judged",
                    images.source,
                )
            images = replace(images, labels=None, classes=())
        found.append(images)
    return found


def command_line() -> str:
    """Return the command as it was typed."""
    return shlex.join(["rgm", *sys.argv[1:]])


def either(resume: bool, overwrite: bool) -> None:
    """Raise RGMError for options that contradict each other."""
    if resume and overwrite:
        raise RGMError("--resume continues the run in --out and --overwrite replaces it: give one of them")
