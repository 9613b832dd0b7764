"""Training with a run folder: configuration, metrics, checkpoints, model."""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rgm.counting.config import counting_preset
from rgm.counting.fitting import adjusted
from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet, Split, to_unit
from rgm.data.labels import few_labels
from rgm.data.load import joined, load_data, natural_size
from rgm.data.names import DATA_NAMES
from rgm.distributions.noise import seeded
from rgm.errors import RGMError
from rgm.loading import save_model
from rgm.measures import NeededCodes, matching
from rgm.model.config import preset as model_config
from rgm.model.generative import RGM
from rgm.model.spatial import SpatialRGM
from rgm.presets import preset_of
from rgm.runtime.brief import Brief
from rgm.runtime.device import resolve_device
from rgm.runtime.progress import Callback, EpochRecord, Watch
from rgm.storage.checkpoint import FILE, Origin
from rgm.storage.files import folder_lock, write_json
from rgm.training.config import OF_NETWORKS, RunConfig
from rgm.training.counting import CountingTrainer
from rgm.training.engine import Engine
from rgm.training.folder import VERSION, RunFolder, own_run_folder
from rgm.training.loop import NeuralTrainer
from rgm.training.recipe import recipe
from rgm.training.summary import codes_needed, summarised
from rgm.training.trainer import Trainer

log = logging.getLogger("rgm")
CLUSTERS = 10
"""Number of concepts of a model of images without labels."""


@dataclass(frozen=True, kw_only=True, repr=False)
class RunResult(Brief):
    """A finished training: its folder, its model (in evaluation mode), its history and its test measures.

    `needed` are the codes that the test images need; None in a process that does not write.
    """

    folder: Path
    model: RGM
    origin: Origin
    history: tuple[EpochRecord, ...]
    test: dict[str, float]
    needed: NeededCodes | None
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training before its first step, with all options validated.

    `sets` are the training, validation and test splits; `labels` is the number of labels for training, None for all.
    """

    config: RunConfig
    origin: Origin
    training: Trainer
    sets: tuple[ImageSet, ImageSet, ImageSet]
    labels: int | None

    def carry_out(
        self,
        out: Path,
        *,
        resume: bool = False,
        overwrite: bool = False,
        watch: Watch = lambda _: None,
        checkpoint_every_s: float = 30.0,
        callbacks: Sequence[Callback] = (),
    ) -> RunResult:
        """Train, once, and write a run folder.

        A checkpoint is saved at every epoch, every `checkpoint_every_s` seconds within one and where `watch`
        interrupts; `resume` continues from the newest intact one, or starts from scratch without one: the results are
        bit-identical to those of an uninterrupted training. Before this one's first checkpoint, an earlier run in the
        folder is moved to a new folder beside it, or with `overwrite` removed. Started by `torchrun`, processes share
        every batch, and the first one writes; a run can be resumed by another number of them. Raises RGMError for a
        folder that cannot be written, that another process writes, or that belongs to another run with `resume`.
        """
        training, model, (_, validation, test) = self.training, self.training.model, self.sets
        first = training.processes.first
        if first:
            own_run_folder(out, self.config.data)
        with folder_lock(out) if first else nullcontext():
            folder = RunFolder(out, self.origin, self.config, training, self.sets, overwrite=overwrite)
            if resume:
                folder.restore(training)
            start = time.perf_counter()
            if training.saves_start and not training.steps_done:
                folder.save(training, None)
            training.run(
                watch, folder.save, checkpoint_every_s=checkpoint_every_s, callbacks=callbacks if first else ()
            )
            if self.labels == 0 and validation.labels is not None:
                clusters = model.read(to_unit(validation.images).to(model.device))[-1].flatten()
                assert isinstance(model, SpatialRGM)  # counting models need labels
                model.rename_concepts(matching(clusters, validation.labels, model.num_classes))
            tested, needed = summarised(model, test), None
            measures = tested.measures
            if first:
                needed = codes_needed(model, test, tested.z1)
                measures |= needed.measures()
                folder.finish(training)
                save_model(out / FILE, model, self.origin)
                metrics = {
                    "version": VERSION,
                    "data": self.origin.data,
                    "preset": self.origin.preset,
                    "seed": self.origin.seed,
                    "epochs": training.recipe.epochs,
                    "labels": self.labels,
                    "validation": training.history[-1].validation,
                    "test": measures,
                }
                write_json(out / "metrics.json", metrics)
            return RunResult(
                folder=out,
                model=model,
                origin=self.origin,
                history=tuple(training.history),
                test=measures,
                needed=needed,
                elapsed_s=time.perf_counter() - start,
            )


def plan_run(config: RunConfig) -> Plan:
    """Return the training of a preset on a data set; raise RGMError for invalid options. Nothing is written."""
    preset = preset_of(config.preset)
    device = resolve_device(config.device)
    size = config.size if config.size is not None else natural_size(config.data, config.preset, preset.size)
    images, validation, test = (
        load_data(config.data, split, data_dir=config.data_dir, size=size, channels=config.channels)
        for split in get_args(Split)
    )
    data = images.name if config.data == "auto" else config.data
    if data not in DATA_NAMES and Path(data).is_dir():
        data = str(Path(data).resolve())  # found again from anywhere
    if len(images.classes) == 1:
        raise RGMError(
            f"{images.source} has a single class, {images.classes[0]!r}, but a concept is one of two or more: add a "
            "class, or put the images in a folder without classes, whose concepts are clusters"
        )
    classes = images.classes or tuple(f"cluster {number}" for number in range(CLUSTERS))
    known = config.labels if config.labels is not None or images.labels is not None else 0
    engine = Engine(precision=config.precision, compile=config.compile, deterministic=config.deterministic)
    training: Trainer
    if preset.kind == "counting":
        _check_countable(config, images)
        with seeded(config.seed):
            tree = CountingRGM(counting_preset(config.preset, images.shape, len(classes), len(images))).to(device)
        counts = adjusted(preset.make_recipe(), epochs=config.epochs, batch_size=config.batch_size)
        training = CountingTrainer(tree, images, validation, counts, seed=config.seed, engine=engine)
    else:
        chosen = recipe(config.preset)
        if images.labels is None:
            log.warning("%s has no classes: the concepts are %d clusters", images.source, len(classes))
        train = joined(images, validation) if chosen.with_validation and not images.on_disk else images
        if known is not None:
            chosen = chosen.with_hidden_labels()
            train = few_labels(train, known, seed=config.seed) if images.labels is not None or known else train
        chosen = chosen.adjusted(epochs=config.epochs, batch_size=config.batch_size)
        shape, count = images.shape, len(classes)
        built = model_config(config.preset, shape, count, binarise=config.binarise, estimator=config.estimator)
        with seeded(config.seed):
            model = SpatialRGM(config=built).to(device)
        training = NeuralTrainer(model, train, validation, chosen, seed=config.seed, engine=engine)
    return Plan(
        config=config,
        origin=Origin(preset=config.preset, data=data, classes=classes, seed=config.seed),
        training=training,
        sets=(images, validation, test),
        labels=known,
    )


def _check_countable(config: RunConfig, images: ImageSet) -> None:
    """Raise RGMError for options of neural models, or images without labels, with a counting model."""
    given = config.given(OF_NETWORKS)
    if given:
        raise RGMError(
            f"{given} is for presets that train networks: leave it out for the preset {config.preset}, "
            "which counts labelled images"
        )
    if images.labels is None:
        raise RGMError(
            f"the preset {config.preset} learns every class from its own images, but there are no labels in "
            f"{images.source}"
        )
