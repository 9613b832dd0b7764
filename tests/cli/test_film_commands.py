"""The commands for models of films, from training to a GIF, and what they refuse."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import arrays, inside

from rgm.data.films import read_films
from rgm.data.made_films import bouncing_balls


@pytest.fixture(scope="session")
def films(once: Callable[..., Path]) -> Path:
    """A folder with a film, a cue, a mask, and a memory of the film."""

    def make(folder: Path) -> None:
        film = bouncing_balls(32, ((1, 2),), height=10, width=8, radius=1.5).numpy()
        np.savez(folder / "film.npz", frames=film)
        np.savez(folder / "cue.npz", frames=film[4:12])
        np.savez(folder / "mask.npz", mask=np.random.default_rng(0).random((8, 10, 8)) < 0.7)
        done = inside("train", "--preset", "film-memory", "--data", folder / "film.npz", "--out", folder / "run")
        assert done.code == 0, done.errors

    return once("films", make)


def test_training_leaves_a_run_folder_with_measures(films: Path) -> None:
    metrics = json.loads((films / "run" / "metrics.json").read_text())
    assert metrics["preset"] == "film-memory"
    assert metrics["held_out"] is False
    test = metrics["test"]
    assert test["next_frame_nats_per_pixel"] < test["repeat_nats_per_pixel"]
    assert len(test["rollout_error"]) == len(test["repeat_error"]) == 8
    assert max(test["rollout_error"]) < 1e-3
    assert (films / "run" / "config.json").is_file()


def test_a_film_is_continued_completed_and_sampled(films: Path, tmp_path: Path) -> None:
    run, cue, mask = films / "run", films / "cue.npz", films / "mask.npz"
    assert inside("predict", run, cue, "--steps", 12, "--out", tmp_path / "after.npz").code == 0
    with np.load(tmp_path / "after.npz") as found:
        frames = found["frames"]
    film = arrays(films / "film.npz")["frames"]
    assert frames.shape == (1, 20, 10, 8)
    assert frames.dtype == np.float32
    assert np.array_equal(frames[0] > 0.5, film[4:24] > 0)
    done = inside("complete", run, cue, "--mask", mask, "--out", tmp_path / "filled.npz")
    assert done.code == 0, done.errors
    assert done.out == f"{tmp_path / 'filled.npz'}: frames 1 × 8 × 10 × 8\n"
    assert np.array_equal(arrays(tmp_path / "filled.npz")["frames"][0] > 0.5, film[4:12] > 0)
    done = inside("sample", run, "--count", 2, "--steps", 9, "--out", tmp_path / "some.npz")
    assert (done.code, done.out) == (0, f"{tmp_path / 'some.npz'}: frames 2 × 9 × 10 × 8\n")
    again = inside("sample", run, "--steps", 9, "--out", tmp_path / "more.npz", "--quiet")
    assert (again.code, again.out) == (0, "")
    assert arrays(tmp_path / "some.npz")["frames"].shape == (2, 9, 10, 8)
    drawn = ("--steps", 4, "--mask", mask, "--seed", 1, "--out", tmp_path / "after.gif")
    assert inside("predict", run, cue, *drawn).code == 0
    assert read_films(tmp_path / "after.gif")[0].shape == (1, 12, 10, 8)  # enlarged, and read at its own size
    done = inside("predict", run, tmp_path / "after.gif", "--steps", 12, "--out", tmp_path / "later.npz")
    assert done.code == 0, done.errors
    assert np.array_equal(arrays(tmp_path / "later.npz")["frames"][0] > 0.5, film[4:28] > 0)


def test_a_flow_is_learned_in_as_many_passes_as_are_asked_for(films: Path, tmp_path: Path) -> None:
    done = inside(
        "train", "--preset", "film-flow", "--data", films / "film.npz", "--epochs", 2, "--out", tmp_path / "run"
    )
    assert done.code == 0, done.errors
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["epochs"] == 2
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 2


def test_a_grey_clip_keeps_its_tones(tmp_path: Path) -> None:
    still = np.random.default_rng(0).integers(0, 256, (12, 10), dtype=np.uint8)
    np.savez(tmp_path / "clip.npz", frames=np.stack([np.roll(still, step, axis=1) for step in range(6)]))
    clip = ("--preset", "film-clip", "--data", tmp_path / "clip.npz", "--epochs", 1)
    done = inside("train", *clip, "--out", tmp_path / "run")
    assert done.code == 0, done.errors
    assert json.loads((tmp_path / "run" / "config.json").read_text())["model"]["tones"] == 256


def test_a_model_of_films_is_described_and_evaluated(films: Path, tmp_path: Path) -> None:
    told = inside("info", films / "run").out
    assert "film-memory" in told
    assert "4 frames" in told
    done = inside("evaluate", films / "run", "--out", tmp_path)
    assert done.code == 0, done.errors
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(record["test"]) >= {"next_frame_nats_per_pixel", "repeat_nats_per_pixel", "log_evidence_nats"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "mnist", "FILMS/cue.npz", "--steps", 1, "--out", "OUT/a.npz"), "is a model of images"),
        (("predict", "FILMS/run", "FILMS/none.npz", "--steps", 1, "--out", "OUT/a.npz"), "no file at"),
        (
            ("predict", "FILMS/run", "FILMS/cue.npz", "--steps", 0, "--out", "OUT/a.npz"),
            "the number of frames must lie in 1",
        ),
        (("predict", "FILMS/run", "FILMS/cue.npz", "--steps", 1, "--out", "OUT/a.mp3"), "name it .npz, .gif or .wav"),
        (("predict", "FILMS/run", "FILMS/cue.npz", "--steps", 1, "--out", "OUT/a.wav"), "film of sound"),
        (("predict", "FILMS/run", "FILMS/cue.npz", "--steps", 1, "--seed", 2**63, "--out", "OUT/a.npz"), "for --seed"),
        (("predict", "FILMS/run", "FILMS/cue.npz", "--steps", 1, "--out", "FILMS/cue.npz"), "is read by this command"),
        (("sample", "FILMS/run", "--count", 10**8, "--steps", 10**4, "--out", "OUT/a.npz"), "frames take .* GiB, but"),
        (("sample", "FILMS/run", "--count", 0, "--out", "OUT/a.npz"), "the number of films must lie in 1"),
        (("train", "--preset", "film-memory", "--data", "", "--out", "OUT/run"), "films must be a name or a path"),
        (("complete", "FILMS/run", "FILMS/cue.npz", "--out", "OUT/a.npz"), "say which pixels are visible"),
        (("evaluate", "FILMS/run", "--claims"), "rgm experiment time"),
        (("evaluate", "FILMS/run", "--data", "lorenz"), "the model's frames are 1 × 10 × 8"),
        (("experiment", "locality", "FILMS/run"), "takes? `rgm experiment time`"),
        (("experiment", "time", "mnist"), "is a model of images"),
        (("encode", "FILMS/run", "--out", "OUT/a.npz"), "is a model of films"),
        (("explore", "FILMS/run", "--export", "OUT/page"), "is a model of films"),
        (("pack", "FILMS/run", "--out", "OUT/a.safetensors"), "is a model of films"),
        (("run", "--preset", "film-flow", "--out", "OUT/run"), "rgm train --preset film-flow"),
        (("train", "--preset", "film-flow", "--batch-size", 3, "--out", "OUT/run"), "--batch-size is for models of im"),
        (("train", "--preset", "film-memory", "--epochs", 3, "--out", "OUT/run"), "a memory sees every film once"),
        (("train", "--preset", "film-flow", "--epochs", 1.5, "--out", "OUT/run"), "the number of epochs"),
        (("train", "--preset", "film-flow", "--epochs", 0, "--out", "OUT/run"), "the number of epochs"),
        (("train", "--preset", "film-flow", "--data", "mnist", "--out", "OUT/run"), "unknown films 'mnist'"),
    ],
)
def test_what_is_refused_is_told_in_a_line(
    arguments: tuple[object, ...], message: str, films: Path, tmp_path: Path
) -> None:
    places = {"FILMS": str(films), "OUT": str(tmp_path)}
    told = inside(*(str(one).replace("FILMS", places["FILMS"]).replace("OUT", places["OUT"]) for one in arguments))
    assert told.code == 2, told.errors
    assert len(told.errors.strip().splitlines()) == 1
    assert re.search(message, told.errors), told.errors
