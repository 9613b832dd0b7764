"""Training of models of films with a run folder: configuration, metrics, model."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from rgm.data.films import FilmSet, load_films
from rgm.errors import RGMError
from rgm.loading import save_model
from rgm.presets import preset_of
from rgm.runtime.device import check_processor
from rgm.runtime.progress import StepRecord, Watch
from rgm.storage.checkpoint import FILE, Origin
from rgm.storage.files import as_path, folder_lock, write_json, write_text
from rgm.temporal.config import film_preset
from rgm.temporal.fitting import of_passes
from rgm.temporal.model import TemporalRGM, tones_in
from rgm.training.config import OF_IMAGES, RunConfig
from rgm.training.fit import fit_films
from rgm.training.folder import clear_results, keep_earlier, made_from, own_run_folder


@dataclass(frozen=True, kw_only=True)
class FilmRun:
    """A finished training: its folder, its model, its films (training, validation, test), and its origin."""

    folder: Path
    model: TemporalRGM
    origin: Origin
    films: tuple[FilmSet, FilmSet, FilmSet]
    elapsed_s: float


def film_data(data: str) -> str:
    """Return the films' name, an absolute path where it is one, so that they are found again from anywhere."""
    if data == "auto":
        return "moving-mnist"
    path = as_path(data, "a set of films")
    return str(path.resolve()) if path.exists() else data


def train_films(config: RunConfig, out: Path, *, overwrite: bool = False, watch: Watch = lambda _: None) -> FilmRun:
    """Train the preset of a configuration on films, and write a run folder.

    The films that are held out for validation choose what the learner chooses. Raises RGMError for options that are of
    models of images, or films that cannot be read or hold nothing to learn.
    """
    given = config.given(OF_IMAGES)
    if given:
        raise RGMError(f"{given} is for models of images: leave it out for the preset {config.preset}")
    check_processor(config.device)
    recipe = preset_of(config.preset, "film").make_recipe()
    if config.epochs is not None:
        recipe = of_passes(recipe, config.epochs)
    data = film_data(config.data)
    train, validation, test = (
        load_films(data, split, data_dir=config.data_dir) for split in ("train", "validation", "test")
    )
    for other in (validation, test):
        if other.image != train.image:
            raise RGMError(f"the films of {data} have frames of {train.image} and, to test, of {other.image}")
    grey = film_preset(config.preset, train.image).tones  # 2, unless the preset is for grey films
    tones = tones_in(train.frames) if grey == 2 else grey
    model = TemporalRGM.from_preset(config.preset, image=train.image, tones=tones)
    origin = Origin(preset=config.preset, data=data, classes=(), seed=config.seed)
    own_run_folder(out, data)
    with folder_lock(out):
        start, history = time.perf_counter(), list[StepRecord]()

        def watched(record: StepRecord) -> None:
            history.append(record)
            watch(record)

        held_out = validation.frames if validation.held_out else None
        fit_films(model, train.frames, recipe, validation=held_out, seed=config.seed, watch=watched)
        elapsed = time.perf_counter() - start
        model.origin = origin
        if not overwrite:
            keep_earlier(out)
        clear_results(out)
        save_model(out / FILE, model, origin)
        sets = (train, validation, test)
        data_sets = [{"name": s.name, "split": s.split, "films": len(s), "sha256": s.sha256} for s in sets]
        write_json(out / "config.json", made_from(config, data_sets, model.config, recipe, device="cpu"))
        lines = (json.dumps({"stage": one.stage, "step": one.step, "loss": one.loss}) for one in history)
        write_text(out / "metrics.jsonl", "".join(f"{line}\n" for line in lines))
        write_text(out / "timing.jsonl", json.dumps({"stage": "all", "elapsed_s": round(elapsed, 3)}) + "\n")
    return FilmRun(folder=out, model=model, origin=origin, films=sets, elapsed_s=elapsed)
