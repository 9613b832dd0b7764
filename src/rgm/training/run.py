"""A training that leaves a folder: what makes it, its metrics, its checkpoints, its model."""

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from rgm.checkpoint import FILE, Origin, Unfinished, load_checkpoint, save_model
from rgm.data.images import ImageSet, Split, to_unit
from rgm.data.labels import few_labels
from rgm.data.load import joined, load_data
from rgm.device import resolve_device
from rgm.errors import RGMError
from rgm.files import writable_folder, write_json, write_text
from rgm.measures import matching
from rgm.model.config import preset
from rgm.model.spatial import SpatialRGM
from rgm.progress import Watch
from rgm.training.config import RunConfig
from rgm.training.engine import Engine
from rgm.training.loop import EpochRecord, Training, summary
from rgm.training.recipe import recipe

VERSION = 1
CLUSTERS = 10
"""Concepts of a model of images without labels."""


def load_split(config: RunConfig, split: Split) -> ImageSet:
    """Return a split of the run's data; see `load_data`."""
    return load_data(config.data, split, data_dir=config.data_dir, size=config.size)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished training: its folder, its model (in evaluation mode), its history and its test measures."""

    folder: Path
    model: SpatialRGM
    origin: Origin
    history: tuple[EpochRecord, ...]
    test: dict[str, float]
    elapsed_s: float


def train_run(
    config: RunConfig, out: Path, *, resume: bool = False, watch: Watch = lambda _: None
) -> RunResult:
    """Train a preset on a data set and leave a run folder.

    A checkpoint is left at every epoch and where `watch` interrupts; `resume` goes on from it, or starts
    afresh where there is none. An earlier run in the folder is replaced when the first checkpoint of this one
    is whole. Started by `torchrun`, processes share every batch, and the first one writes; a run can be taken up
    again by another number of them.
    Raises RGMError for what the user can mend, before anything is written wherever that can be known.
    """
    chosen = recipe(config.preset)
    device = resolve_device(config.device)
    images = load_split(config, "train")
    validation = load_split(config, "validation")
    test = load_split(config, "test")
    data = images.name if config.data == "auto" else config.data
    count = config.labels if config.labels is not None or images.labels is not None else 0
    classes = images.classes or tuple(f"cluster {number}" for number in range(CLUSTERS))
    known = joined(images, validation) if chosen.with_validation and not images.on_disk else images
    if count is not None:
        chosen = chosen.with_hidden_labels()
        known = few_labels(known, count, seed=config.seed) if images.labels is not None or count else known
    chosen = chosen.adjusted(epochs=config.epochs, batch_size=config.batch_size)
    origin = Origin(preset=config.preset, data=data, classes=classes, seed=config.seed)
    torch.manual_seed(config.seed)  # the layers' initial weights have no other way to be seeded
    model = SpatialRGM(
        config=preset(
            config.preset,
            images.shape,
            len(classes),
            binarise=config.binarise,
            estimator=config.estimator,
        )
    )
    writable_folder(out)
    folder = _RunFolder(out, origin)
    training = Training(
        model.to(device),
        known,
        validation,
        chosen,
        seed=config.seed,
        engine=Engine(precision=config.precision, compile=config.compile),
    )
    if resume:
        folder.restore(training)
    start = time.perf_counter()
    folder.write_config(config, training, (images, validation, test))
    training.run(watch, folder.keep)
    if count == 0 and validation.labels is not None:
        read = model.read(to_unit(validation.images).to(model.device))[-1].flatten()
        model.rename_concepts(matching(read, validation.labels, model.num_classes))
    measures = summary(model, test)
    if training.processes.first:
        save_model(out / FILE, model, origin)
        write_json(
            out / "metrics.json",
            {
                "version": VERSION,
                "data": data,
                "preset": config.preset,
                "seed": config.seed,
                "epochs": chosen.epochs,
                "labels": count,
                "validation": training.history[-1].validation,
                "test": measures,
            },
        )
    return RunResult(
        folder=out,
        model=model,
        origin=origin,
        history=tuple(training.history),
        test=measures,
        elapsed_s=time.perf_counter() - start,
    )


class _RunFolder:
    """The files of a training under way."""

    def __init__(self, out: Path, origin: Origin) -> None:
        self.out, self.origin = out, origin
        self.checkpoint = out / "checkpoints" / FILE
        self._timings: list[dict[str, float | str | int]] = []
        self._last, self._images_seen = time.perf_counter(), 0
        self._fresh = True

    def write_config(self, config: RunConfig, training: Training, sets: tuple[ImageSet, ...]) -> None:
        content = {
            "version": VERSION,
            "run": {name: value for name, value in asdict(config).items() if name != "data_dir"},
            "data": [{"name": s.name, "split": s.split, "images": len(s), "sha256": s.sha256} for s in sets],
            "model": asdict(training.model.config),
            "recipe": asdict(training.recipe),
            "device": str(training.device),
            "engine": asdict(training.engine) | {"processes": training.processes.count},
            "versions": {
                "rgm": version("rgm"),
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            "machine": {"system": platform.platform(), "threads": torch.get_num_threads()},
        }
        self._config = content

    def keep(self, training: Training, record: EpochRecord | None) -> None:
        """Leave a checkpoint, and the metrics up to it; the first one replaces an earlier run's results.

        Of several processes the first alone writes.
        """
        if not training.processes.first:
            return
        numbers, tensors = training.state()
        save_model(self.checkpoint, training.model, self.origin, Unfinished(numbers=numbers, tensors=tensors))
        if self._fresh:
            for stale in (self.out / FILE, self.out / "metrics.json", self.out / "report.html"):
                stale.unlink(missing_ok=True)
            write_json(self.out / "config.json", self._config)
            self._fresh = False
        if record is None:
            return
        write_text(self.out / "metrics.jsonl", _lines([asdict(line) for line in training.history]))
        now = time.perf_counter()
        steps = record.step - self._images_seen
        self._timings.append(
            {
                "stage": record.stage,
                "epoch": record.epoch,
                "elapsed_s": round(now - self._last, 3),
                "steps_per_s": round(steps / (now - self._last), 2),
            }
        )
        self._last, self._images_seen = now, record.step
        write_text(self.out / "timing.jsonl", _lines(self._timings))

    def restore(self, training: Training) -> None:
        """Put a training where the folder's checkpoint left it; leave it at its start where there is none."""
        if not self.checkpoint.is_file():
            return
        found = load_checkpoint(self.checkpoint)
        same = found.origin == self.origin and found.model.config == training.model.config
        if (
            found.unfinished is None
            or not same
            or found.unfinished.numbers["recipe"] != _plain(training.recipe)
        ):
            raise RGMError(
                f"{self.checkpoint} belongs to another run than the one asked for (its preset is "
                f"{found.origin.preset}, its data {found.origin.data}, its seed {found.origin.seed}): give "
                "the same options to resume it, or another --out"
            )
        training.model.load_state_dict(found.model.state_dict())
        training.restore(found.unfinished.numbers, found.unfinished.tensors)
        self._images_seen = training.steps_done
        timing = self.out / "timing.jsonl"
        if timing.is_file():
            try:
                self._timings = [json.loads(line) for line in timing.read_text().splitlines()]
            except ValueError as error:
                raise RGMError(f"{timing} is damaged: remove it, and resume without its times") from error


def _lines(records: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def _plain(value: object) -> object:
    """Return a dataclass as JSON would give it back."""
    return json.loads(json.dumps(asdict(value)))  # type: ignore[call-overload]
