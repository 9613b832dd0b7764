"""Commands for models of films: `predict`, and what other commands do where MODEL is one."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from rgm.cli import options
from rgm.cli.terminal import progress, show
from rgm.errors import RGMError

if TYPE_CHECKING:
    from torch import Tensor

    from rgm.loading import FilmCheckpoint
    from rgm.storage.files import FileKind
    from rgm.training.config import RunConfig

FILM_FILES: "dict[str, FileKind]" = {".npz": "arrays", ".gif": "GIF", ".wav": "WAV"}
"""Kinds of the files of films, by suffix."""
FilmFile = Annotated[Path, Parameter(help="The .npz file to write, or a .gif or .wav.")]
Mask = Annotated[Path | None, Parameter(help="A .npz file with `mask`, or a .npy file: true where a pixel is visible.")]


def predict(
    model: options.Model,
    cue: Annotated[Path, Parameter(help="A film: .npz, .npy, GIF, APNG, WebP, MP4, WAV, or a folder of pictures.")],
    *,
    steps: Annotated[int, Parameter(help="Frames to predict.")],
    out: FilmFile,
    mask: Mask = None,
    seed: Annotated[
        int | None, options.SEED, Parameter(help="Draw one continuation; without it, expected frames.")
    ] = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Continue a film: write the cue, its hidden pixels filled in, and the frames that follow.

    Example: `rgm predict runs/balls cue.npz --steps 100 --out after.gif`

    Array: `frames` float32 (N, T + steps, H, W) in [0, 1], with a last axis of 3 for colour.
    """
    from rgm.data.films import read_films, read_mask

    checkpoint = load_film(model, device, out, read=(cue, mask))
    frames, _ = read_films(cue)
    found = checkpoint.model.predict(
        frames, steps, None if mask is None else read_mask(mask), generator=generator_of(seed)
    )
    write_film(out, found.frames, quiet)


def load_film(
    model: str, device: str, file: Path | None = None, folder: Path | None = None, read: Iterable[Path | None] = ()
) -> "FilmCheckpoint":
    """Return a model of films, once it is known that what comes of it can be written; `read` are inputs."""
    from rgm.loading import load_film_checkpoint
    from rgm.runtime.device import check_processor
    from rgm.storage.files import writable_folder

    check_processor(device)
    checkpoint = load_film_checkpoint(model)
    if file is not None:
        if file.suffix.lower() not in FILM_FILES:
            raise RGMError(f"cannot tell what {file} is to hold: name it .npz, .gif or .wav")
        options.output(model, file, FILM_FILES[file.suffix.lower()], read)
    if folder is not None:
        writable_folder(folder)
    return checkpoint


def is_film(model: str) -> bool:
    """Return whether MODEL is a model of films."""
    from rgm.storage.checkpoint import find_model, read_model

    return read_model(find_model(model)).kind == "temporal"


def generator_of(seed: int | None) -> Any:
    """Return a seeded generator, or None without a seed."""
    import torch

    return None if seed is None else torch.Generator().manual_seed(seed)


def write_film(out: Path, frames: "Tensor", quiet: bool, **others: "Tensor") -> None:
    """Write films as an .npz file of `frames`, or the first as a .gif, or, of sound, a .wav, by the suffix.

    Unless `quiet`, it then says what it wrote.
    """
    from rgm.data.animations import gif
    from rgm.data.sound import BANDS, to_sound
    from rgm.export import arrays
    from rgm.storage.files import write_bytes

    match out.suffix.lower():
        case ".gif":
            shown = frames[0].mul(255).round().byte().cpu()
            write_bytes(out, gif(shown, enlarge=max(1, 192 // max(shown.shape[1:3]))))
        case ".wav":
            if tuple(frames.shape[2:]) != (BANDS, 1):
                raise RGMError(
                    f"only a film of sound, frames of {BANDS} × 1 pixels, becomes a .wav: write {out.stem}.npz or .gif"
                )
            write_bytes(out, to_sound(frames[0].cpu()))
        case _:
            arrays.write(out, {"frames": frames.cpu().numpy()} | {name: one.numpy() for name, one in others.items()})
    if not quiet:
        print(f"{out}: frames {' × '.join(map(str, frames.shape))}")


def complete_film(model: str, frames: Path, mask: Path | None, out: Path, seed: int, device: str, quiet: bool) -> None:
    """Fill in the hidden pixels of films."""
    from rgm.data.films import read_films, read_mask

    checkpoint = load_film(model, device, out, read=(frames, mask))
    if mask is None:
        raise RGMError("to complete a film, say which pixels are visible: --mask MASK.npz with `mask`")
    films, _ = read_films(frames)
    found = checkpoint.model.complete(films, read_mask(mask), generator=generator_of(seed))
    write_film(out, found.frames, quiet)


def sample_films(model: str, out: Path, count: int, steps: int, seed: int, device: str, quiet: bool) -> None:
    """Sample films from nothing."""
    checkpoint = load_film(model, device, out)
    found = checkpoint.model.sample(steps, count, generator=generator_of(seed))
    write_film(out, found.frames, quiet, path=found.path)


def train_film(config: "RunConfig", out: Path, *, overwrite: bool, quiet: bool) -> None:
    """Train a model of films, and measure it on the test films."""
    import json

    from rgm.evaluation.films import evaluate_films
    from rgm.storage.files import write_json
    from rgm.training.films import train_films
    from rgm.training.folder import VERSION

    with progress(quiet) as watch:
        result = train_films(config, out, overwrite=overwrite, watch=watch)
        watch.say("measuring the test films")
        train, _, test = result.films
        measures = evaluate_films(result.model, train.frames, test.frames).measures()
    write_json(
        out / "metrics.json",
        {
            "version": VERSION,
            "data": result.origin.data,
            "preset": config.preset,
            "seed": config.seed,
            "epochs": json.loads((out / "config.json").read_text())["recipe"].get("passes", 1),
            "held_out": test.held_out,
            "test": measures,
        },
    )
    if not quiet:
        if not test.held_out:
            print("One film is training and test: the figures are of memory")
        show(film_table(f"{result.origin.data} · {config.preset}, learned in {result.elapsed_s:.1f} s", measures))
        print(f"Model: {out}")


def film_table(title: str, measures: dict[str, Any]) -> Any:
    """Return measures of films as a table, lists step by step."""
    from rgm.cli.tables import plain_table
    from rgm.evaluation.quantities import name_of, value_of

    rows = {
        name_of(name): "  ".join(value_of(name, one) for one in value)
        if isinstance(value, list)
        else value_of(name, value)
        for name, value in measures.items()
    }
    return plain_table(title, rows)


def evaluate_film(
    model: str, data: str | None, split: Any, data_dir: Path | None, out: Path | None, device: str
) -> Any:
    """Measure a model on films, and return its table."""
    from rgm.data.films import load_films
    from rgm.evaluation.films import evaluate_films
    from rgm.pipeline import own_results
    from rgm.storage.files import write_json
    from rgm.training.films import film_data

    checkpoint = load_film(model, device, folder=out)
    name = checkpoint.origin.data if data is None else film_data(data)
    own = checkpoint.origin.data
    train = load_films(own, "train", data_dir=data_dir, image=checkpoint.model.config.image)
    test = load_films(name, split, data_dir=data_dir, image=checkpoint.model.config.image)
    if out is not None:
        own_results(out, "evaluation", name)
    measures = evaluate_films(checkpoint.model, train.frames, test.frames).measures()
    if out is not None:
        record = {"version": 1, "data": test.name, "split": split, "held_out": test.held_out, "test": measures}
        write_json(out / "evaluation.json", record)
    return film_table(f"{model} on {len(test):,} {split} films", measures)


def experiment_films(
    name: str,
    model: str,
    data: str | None,
    data_dir: Path | None,
    out: Path,
    seed: int | None,
    device: str,
    *,
    quiet: bool,
) -> None:
    """Test the claims over time on a model of films and on controls; write a report, figures and `time.json`."""
    from rgm.claims.record import record
    from rgm.claims.time import control_decisions_over_time, decide_over_time
    from rgm.cli.tables import claim_table
    from rgm.data.films import load_films
    from rgm.evaluation.time import measure_time
    from rgm.pipeline import own_results
    from rgm.report.figures import png
    from rgm.report.film_page import write_film_report
    from rgm.report.films import film_strips, films_gif
    from rgm.storage.files import write_bytes, write_json
    from rgm.training.films import film_data

    if name != "time":
        raise RGMError(f"the experiment {name} is for models of images: models of films take `rgm experiment time`")
    checkpoint = load_film(model, device, folder=out)
    found = checkpoint.model
    source = checkpoint.origin.data if data is None else film_data(data)
    seed = checkpoint.origin.seed if seed is None else seed
    train = load_films(checkpoint.origin.data, "train", data_dir=data_dir, image=found.config.image).frames
    test = load_films(source, "test", data_dir=data_dir, image=found.config.image).frames
    own_results(out, name, source)
    with progress(quiet) as watch:
        result = measure_time(found, train, test, seed=seed)
        claims = decide_over_time(result)
        write_bytes(out / "time.png", png(film_strips(result)))
        write_bytes(out / "time.gif", films_gif(result))
        claims += control_decisions_over_time(found, train, test, seed=seed, say=watch.say)
    write_json(out / "time.json", record(claims, source))
    command = f"rgm experiment time {model}" + (f" --data {data}" if data else "") + f" --seed {seed} --out {out}"
    page = write_film_report(
        out / "report.html", found, result, claims, test, data=source, preset=checkpoint.origin.preset, command=command
    )
    if not quiet:
        for claim in claims:
            show(claim_table(claim))
        print("Wrote " + ", ".join(str(out / file) for file in ("time.png", "time.gif", "time.json")))
        print(f"Report: {page}")


def film_info(model: str) -> None:
    """Describe a model of films."""
    from rgm.cli.tables import plain_table

    checkpoint = load_film(model, "cpu")
    origin, config = checkpoint.origin, checkpoint.model.config
    rows = {
        "preset": origin.preset,
        "trained on": f"{origin.data}, seed {origin.seed}",
        "frame": " × ".join(map(str, config.image)),
        "tones": str(config.tones),
        "dynamics": config.dynamics.kind,
    }
    for number, level in enumerate(config.levels, start=1):
        grid, frames = " × ".join(map(str, level.grid)), "frame" if level.span == 1 else "frames"
        rows[f"z{number}"] = f"{grid} grid, {level.span} {frames}, {level.states:,} states, {level.edges:,} edges"
    rows["numbers"] = f"{checkpoint.model.size:,}"
    show(plain_table(model, rows))
