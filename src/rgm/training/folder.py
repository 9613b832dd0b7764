"""The files of a run in progress: configuration, checkpoints, metrics, timings."""

import itertools
import json
import logging
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rgm.data.images import ImageSet
from rgm.data.load import apart
from rgm.errors import RGMError
from rgm.loading import load_newest, save_model
from rgm.runtime.progress import EpochRecord
from rgm.storage.checkpoint import CHECKPOINTS, FILE, Origin, Unfinished, step_file, step_files
from rgm.storage.files import own_folder, write_bytes, write_json, write_text
from rgm.training.config import RunConfig
from rgm.training.trainer import Trainer

log = logging.getLogger("rgm")
VERSION = 1
WHAT = "a run"
JUDGE = "judge.safetensors"
"""The judge of a run's data, which the next run in the folder uses again."""
CHECKPOINTS_SAVED = 3
"""Number of checkpoints to keep, in case the newest is damaged."""
RENAMED = {"looks": "second_view_strength", "posed": "augment_share"}
"""Former names of a stage's options, up to version 0.1."""
EXPERIMENTS = ("abstraction", "instantiation", "locality", "exactness")
RESULTS = (
    FILE,
    "report.html",
    *(f"{name}.json" for name in ("metrics", "evidence", "evaluation", *EXPERIMENTS)),
    "figures/*.png",
    "figures/*.gif",
)
"""An earlier run's results, which are gone from the folder when a new run has started."""
WRITTEN = (*RESULTS, "config.json", "metrics.jsonl", "timing.jsonl")
"""What a run writes, or takes away of an earlier one."""


def own_run_folder(out: Path, data: str) -> None:
    """Raise RGMError for the data's folder, or one with files which a run would replace and no run has written."""
    apart(data, out)
    own_folder(out, WRITTEN, holds_run, WHAT)


def holds_run(folder: Path) -> bool:
    """Return whether a folder holds a model or checkpoints."""
    return (folder / FILE).is_file() or bool(step_files(folder / CHECKPOINTS))


def made_from(
    config: RunConfig, sets: Sequence[Mapping[str, object]], model: Any, recipe: Any, *, device: str
) -> dict[str, Any]:
    """Return what config.json holds of every run: its options, its data, its model and recipe, and where it ran."""
    return {
        "version": VERSION,
        "run": {name: value for name, value in asdict(config).items() if name != "data_dir"},
        "data": sets,
        "model": asdict(model),
        "recipe": asdict(recipe),
        "device": device,
        "versions": {"rgm": version("rgm"), "torch": torch.__version__, "python": platform.python_version()},
        "machine": {"system": platform.platform(), "threads": torch.get_num_threads()},
    }


def keep_earlier(folder: Path) -> None:
    """Move an earlier run aside, if there is one, and say where to."""
    if holds_run(folder):
        log.warning("the earlier run in %s is kept in %s; --overwrite replaces it", folder, keep_aside(folder))


def clear_results(folder: Path) -> None:
    """Remove an earlier run's results."""
    for stale in [path for name in RESULTS for path in folder.glob(name)]:
        stale.unlink(missing_ok=True)


def keep_aside(folder: Path) -> Path:
    """Move a run to a new folder beside its own, and return that; files that are no run's stay, the judge is copied."""
    place = folder.resolve()
    numbered = (place.with_name(f"{place.name}-{number}") for number in itertools.count(1))
    aside = next(path for path in numbered if not path.exists())
    own_folder(aside, (), holds_run, WHAT)
    for path in [*step_files(folder / CHECKPOINTS), *(path for name in WRITTEN for path in folder.glob(name))]:
        target = aside / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
    if (folder / JUDGE).is_file():
        write_bytes(aside / JUDGE, (folder / JUDGE).read_bytes())
    return aside


class RunFolder:
    """The files of a run in progress; its configuration is written with its first checkpoint."""

    def __init__(
        self,
        out: Path,
        origin: Origin,
        config: RunConfig,
        training: Trainer,
        sets: tuple[ImageSet, ...],
        *,
        overwrite: bool = False,
    ) -> None:
        self.out, self.origin = out, origin
        self._keeps = not overwrite
        self.checkpoints = out / CHECKPOINTS
        self._timings: list[dict[str, float | str | int]] = []
        self._last, self._steps = time.perf_counter(), 0
        self._own: list[Path] = []
        self._fresh = True
        self._made_from = {
            "images": [images.sha256 for images in sets],
            "labels": config.labels,
            "engine": asdict(training.engine),
        }
        self._options = json.loads(json.dumps(asdict(config), default=str))
        data = [{"name": s.name, "split": s.split, "images": len(s), "sha256": s.sha256} for s in sets]
        self._config = made_from(config, data, training.model.config, training.recipe, device=str(training.device)) | {
            "engine": asdict(training.engine) | {"processes": training.processes.count}
        }

    def save(self, training: Trainer, record: EpochRecord | None) -> None:
        """Save a checkpoint and the metrics so far; before the first one an earlier run is kept aside, or replaced.

        The last `CHECKPOINTS_SAVED` checkpoints are kept. Of several processes only the first writes.
        """
        if not training.processes.first:
            return
        if self._fresh and self._keeps:
            keep_earlier(self.out)
        numbers, tensors = training.state()
        numbers |= {"made_from": self._made_from, "options": self._options}
        file = step_file(self.checkpoints, training.steps_done)
        save_model(file, training.model, self.origin, Unfinished(numbers=numbers, tensors=tensors))
        if self._fresh:
            clear_results(self.out)
            write_json(self.out / "config.json", self._config)
            self._fresh = False
        self._own = [file, *(other for other in self._own if other != file)][:CHECKPOINTS_SAVED]
        for old in step_files(self.checkpoints):
            if old not in self._own:
                old.unlink(missing_ok=True)
        if record is None:
            return
        self._write_history(training)
        now = time.perf_counter()
        self._timings.append(
            {
                "stage": record.stage,
                "epoch": record.epoch,
                "elapsed_s": round(now - self._last, 3),
                "steps_per_s": round((record.step - self._steps) / (now - self._last), 2),
            }
        )
        self._last, self._steps = now, record.step
        write_text(self.out / "timing.jsonl", _lines(self._timings))

    def finish(self, training: Trainer) -> None:
        """Write the files that a process killed right after the last checkpoint may have missed."""
        write_json(self.out / "config.json", self._config)
        self._write_history(training)

    def restore(self, training: Trainer) -> None:
        """Restore a training from its newest intact checkpoint, if there is any; raise RGMError for another run's."""
        files = step_files(self.checkpoints)
        if not files:
            return
        found = load_newest(self.checkpoints)
        same = (
            replace(found.origin, data=self.origin.data) == self.origin and found.model.config == training.model.config
        )
        if (
            found.unfinished is None
            or not same
            or _renamed(found.unfinished.numbers.get("recipe")) != json.loads(json.dumps(asdict(training.recipe)))
            or found.unfinished.numbers.get("made_from") != self._made_from
        ):
            differing = _differences(found.unfinished, self._options)
            if differing:
                raise RGMError(
                    f"{self.checkpoints} belongs to a run with other options ({differing}): give the same options to "
                    "resume it, or another --out"
                )
            raise RGMError(
                f"{self.checkpoints} belongs to another run than the requested one (its preset is "
                f"{found.origin.preset}, its data {found.origin.data}, its seed {found.origin.seed}): give "
                "the same options and the same images to resume it, or another --out"
            )
        training.model.load_state_dict(found.model.state_dict())
        training.restore(found.unfinished.numbers, found.unfinished.tensors)
        self._own, self._steps, self._keeps = files[:CHECKPOINTS_SAVED], training.steps_done, False
        timing = self.out / "timing.jsonl"
        if timing.is_file():
            try:
                self._timings = [json.loads(line) for line in timing.read_text().splitlines()]
            except ValueError as error:
                raise RGMError(f"{timing} is damaged: remove it, and resume without its times") from error

    def _write_history(self, training: Trainer) -> None:
        write_text(self.out / "metrics.jsonl", _lines([asdict(record) for record in training.history]))


def _lines(records: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def _differences(unfinished: Unfinished | None, options: dict[str, Any]) -> str:
    """Return which options of a run differ from those of a checkpoint, where it knows them."""
    known = {} if unfinished is None else unfinished.numbers.get("options", {})
    return ", ".join(
        f"{name.replace('_', '-')} {known[name]} then, {value} now"
        for name, value in options.items()
        if name in known and known[name] != value and name not in ("data_dir", "device")
    )


def _renamed(recipe: Any) -> Any:
    """Return a stored recipe with this version's names."""
    stages = recipe.get("stages") if isinstance(recipe, dict) else None
    if not isinstance(stages, list):
        return recipe
    return recipe | {
        "stages": [
            {RENAMED.get(name, name): value for name, value in stage.items()} if isinstance(stage, dict) else stage
            for stage in stages
        ]
    }
