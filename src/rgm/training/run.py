"""A training that leaves a folder: what makes it, its metrics, its checkpoints, its model."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from rgm.checkpoint import FILE, Model, Origin, save_model
from rgm.counting.config import counting_preset
from rgm.counting.fitting import adjusted, usual
from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet, Split, to_unit
from rgm.data.labels import few_labels
from rgm.data.load import joined, load_data
from rgm.device import resolve_device
from rgm.errors import RGMError
from rgm.files import claimed, write_json
from rgm.measures import NeededCodes, matching
from rgm.model.catalogue import COUNTING
from rgm.model.config import preset
from rgm.model.spatial import SpatialRGM
from rgm.progress import Callback, EpochRecord, Watch
from rgm.training.config import RunConfig
from rgm.training.counting import CountingTraining
from rgm.training.engine import Engine
from rgm.training.folder import VERSION, RunFolder
from rgm.training.loop import Training
from rgm.training.recipe import recipe
from rgm.training.summary import codes_needed, summary

CLUSTERS = 10
"""Concepts of a model of images without labels."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished training: its folder, its model (in evaluation mode), its history and its test measures.

    `needed` says which codes the test images need; None in a process that does not write.
    """

    folder: Path
    model: Model
    origin: Origin
    history: tuple[EpochRecord, ...]
    test: dict[str, float]
    needed: NeededCodes | None
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training before its first step: all that can be refused without a folder has been.

    `sets` are the training, validation and test splits as they were read; `labels` how many of them training knows,
    None for all.
    """

    config: RunConfig
    origin: Origin
    training: Training | CountingTraining
    sets: tuple[ImageSet, ImageSet, ImageSet]
    labels: int | None

    def carry_out(
        self,
        out: Path,
        *,
        resume: bool = False,
        watch: Watch = lambda _: None,
        keep_every: float = 30.0,
        callbacks: Sequence[Callback] = (),
    ) -> RunResult:
        """Train, once, and leave a run folder.

        A checkpoint is left at every epoch, every `keep_every` seconds within one and where `watch` interrupts;
        `resume` goes on from the newest that is whole, or starts afresh where there is none: the results are equal,
        byte for byte, to those of a training that was never stopped. An earlier run in the folder is replaced when the
        first checkpoint of this one is whole. Started by `torchrun`, processes share every batch, and the first one
        writes; a run can be taken up again by another number of them. Raises RGMError for a folder that cannot be
        written, that another process writes, or that is to be resumed and belongs to another run.
        """
        training, model, (_, validation, test) = self.training, self.training.model, self.sets
        first = training.processes.first
        with claimed(out) if first else nullcontext():
            folder = RunFolder(out, self.origin, self.config, training, self.sets)
            if resume:
                folder.restore(training)
            start = time.perf_counter()
            if isinstance(training, CountingTraining) and not training.steps_done:
                folder.keep(
                    training, None
                )  # its first step may be long: what stops it leaves something to go on from
            training.run(watch, folder.keep, keep_every=keep_every, callbacks=callbacks if first else ())
            if self.labels == 0 and validation.labels is not None:
                read = model.read(to_unit(validation.images).to(model.device))[-1].flatten()
                assert isinstance(model, SpatialRGM)  # the other kind needs labels
                model.rename_concepts(matching(read, validation.labels, model.num_classes))
            measures, needed = summary(model, test), None
            if first:
                needed = codes_needed(model, test)
                measures |= needed.measures()
                folder.finish(training)
                save_model(out / FILE, model, self.origin)
                write_json(out / "metrics.json", self._metrics(measures))
            return RunResult(
                folder=out,
                model=model,
                origin=self.origin,
                history=tuple(training.history),
                test=measures,
                needed=needed,
                elapsed_s=time.perf_counter() - start,
            )

    def _metrics(self, measures: dict[str, float]) -> dict[str, object]:
        return {
            "version": VERSION,
            "data": self.origin.data,
            "preset": self.origin.preset,
            "seed": self.origin.seed,
            "epochs": self.training.recipe.epochs,
            "labels": self.labels,
            "validation": self.training.history[-1].validation,
            "test": measures,
        }


def plan_run(config: RunConfig) -> Plan:
    """Return the training of a preset on a data set; raise RGMError for what the user can mend. Nothing is written."""
    counted = config.preset in COUNTING
    chosen = None if counted else recipe(config.preset)
    device = resolve_device(config.device)
    images, validation, test = (
        load_data(config.data, split, data_dir=config.data_dir, size=config.size) for split in get_args(Split)
    )
    data = images.name if config.data == "auto" else config.data
    if chosen is None:
        return _plan_counting(config, data, device, (images, validation, test))
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
    training = Training(
        model.to(device),
        known,
        validation,
        chosen,
        seed=config.seed,
        engine=Engine(precision=config.precision, compile=config.compile, deterministic=config.deterministic),
    )
    return Plan(
        config=config, origin=origin, training=training, sets=(images, validation, test), labels=count
    )


def _plan_counting(
    config: RunConfig, data: str, device: torch.device, sets: tuple[ImageSet, ImageSet, ImageSet]
) -> Plan:
    """Return the learning of a counting model; raise RGMError for what is of networks alone."""
    networks = {
        "--estimator": config.estimator,
        "--binarise": config.binarise,
        "--precision": config.precision != "float32",
        "--compile": config.compile,
        "--labels": config.labels is not None,
    }
    given = [name for name, value in networks.items() if value]
    if given:
        raise RGMError(
            f"{', '.join(given)} is for presets that train networks: leave it out for the preset {config.preset}, "
            "which counts labelled images"
        )
    images, validation, _ = sets
    if images.labels is None:
        raise RGMError(
            f"the preset {config.preset} learns every class from its own images, but there are no labels in "
            f"{images.source}"
        )
    torch.manual_seed(config.seed)  # the counts before anything is learned
    model = CountingRGM(counting_preset(config.preset, images.shape, len(images.classes), len(images)))
    training = CountingTraining(
        model.to(device),
        images,
        validation,
        adjusted(usual(model.config), epochs=config.epochs, batch_size=config.batch_size),
        seed=config.seed,
        engine=Engine(deterministic=config.deterministic),
    )
    origin = Origin(preset=config.preset, data=data, classes=images.classes, seed=config.seed)
    return Plan(config=config, origin=origin, training=training, sets=sets, labels=None)
