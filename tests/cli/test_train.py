"""`rgm run` and `rgm train`: what a run leaves, and interruptions."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command_line import arrays, assert_evidence, done, outside, refused
from PIL import Image

from rgm.cli.app import app
from rgm.storage.checkpoint import FILE


def test_a_run_leaves_everything(run: Path) -> None:
    names = {"config.json", FILE, "metrics.json", "metrics.jsonl", "timing.jsonl", "report.html"}
    assert names | {"evidence.json", "figures", "checkpoints"} == {
        path.name for path in run.iterdir() if not path.name.startswith(".")
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["data"], metrics["preset"], metrics["seed"], metrics["epochs"]) == ("digits", "standard", 1, 2)
    expected = {"concept_accuracy", "squared_error", "codes_in_use", "needed_codes", "samples_recognised"}
    assert expected | {"own_patch_share", "patch_plus_2_share"} <= metrics["test"].keys()
    assert metrics["test"]["receptive_field_share"] == 1
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [("codes", 1), ("codes", 2), ("prior", 1), ("outliers", 1)]
    assert [(record["stage"], record["epoch"]) for record in history] == epochs
    config = json.loads((run / "config.json").read_text())
    assert config["run"]["preset"] == "standard"
    assert [part["split"] for part in config["data"]] == ["train", "validation", "test"]
    assert_evidence(json.loads((run / "evidence.json").read_text()))


@pytest.mark.slow
def test_equal_runs_give_equal_files(run: Path, tmp_path: Path) -> None:
    outside("train", "--data", "digits", "--epochs", 2, "--out", tmp_path)
    for name in (FILE, "metrics.jsonl"):
        same = (tmp_path / name).read_bytes() == (run / name).read_bytes()
        assert same, f"{name} differs"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "img":
            self.images.append(found)
        self.links += [value for name, value in attrs if name in ("src", "href") and value and tag != "img"]


def test_the_report_stands_alone(run: Path) -> None:
    text = (run / "report.html").read_text()
    page = _Page()
    page.feed(text)
    assert len(page.images) == 11
    assert all((image["src"] or "").startswith("data:image/png;base64,") for image in page.images)
    assert all(image["alt"] for image in page.images)
    assert page.links == []
    assert len(text) < 6_000_000
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert f"{100 * metrics['concept_accuracy']:.1f} %" in text
    assert f"{metrics['squared_error']:.4f}" in text


def test_a_part_of_an_epoch_is_a_number_of_epochs() -> None:
    _, bound, _ = app.parse_args(["train", "--epochs", "0.25"])
    assert bound.arguments["config"].epochs == 0.25


@pytest.mark.slow
@pytest.mark.usefixtures("measured_briefly")
def test_a_folder_of_images_end_to_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        for index in range(20):
            path = tmp_path / "images" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(100 * label, 100 * label + 60, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    done("run", "--data", tmp_path / "images", "--epochs", 2, "--out", tmp_path / "run")
    done("sample", tmp_path / "run", "--concept", "light", "--count", 2, "--out", tmp_path / "x.npz")
    assert arrays(tmp_path / "x.npz")["images"].shape == (2, 3, 28, 28)  # the size of the preset
    line = refused("sample", tmp_path / "run", "--concept", "lihgt", "--out", tmp_path / "y.npz")
    assert "did you mean 'light'" in line


TRAINED = ("train", "--data", "digits", "--preset", "seed", "--epochs", 3)


@pytest.fixture(scope="session")
def undisturbed(once: Callable[..., Path]) -> Path:
    return once("undisturbed", lambda folder: outside(*TRAINED, "--out", folder))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_leaves_a_checkpoint_and_goes_on(
    undisturbed: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    arguments = [*map(str, TRAINED), "--out", str(tmp_path / "a")]
    process = subprocess.Popen([sys.executable, "-m", "rgm", *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "a" / "metrics.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    done("info", tmp_path / "a")
    outside(*arguments, "--resume")
    for name in (FILE, "metrics.jsonl"):
        same = (tmp_path / "a" / name).read_bytes() == (undisturbed / name).read_bytes()
        assert same, f"{name} differs"  # a comparison that pytest does not spell out byte by byte
    for other, difference in ((("--seed", 3), "seed 1 then, 3 now"), (("--estimator", "reinmax"), "estimator ")):
        line = refused(*arguments, *other, "--resume")
        assert "belongs to a run with other options" in line
        assert difference in line
    (tmp_path / "a" / "timing.jsonl").write_text("{cut short")
    assert "timing.jsonl is damaged: remove it" in refused(*arguments, "--resume")
