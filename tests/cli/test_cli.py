"""The command line as a user meets it: what it writes, its exit codes, its one line of error."""

import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from rgm import cli
from rgm.counting.model import CountingRGM
from rgm.loading import save_model
from rgm.storage.checkpoint import FILE, Origin


def outside(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, as a user does."""
    result = subprocess.run(
        [sys.executable, "-m", "rgm", *map(str, arguments)], capture_output=True, text=True, timeout=240
    )
    if check:
        assert result.returncode == 0, result.stderr
    return result


@dataclass
class Said:
    """What a command answered: its exit code, what it printed, and what it said or logged beside."""

    code: int
    out: str
    errors: str


def inside(*arguments: object, **environment: str) -> Said:
    """Run a command in this process: starting Python anew takes longer than most of them."""
    terminated, out, errors = signal.getsignal(signal.SIGTERM), io.StringIO(), io.StringIO()
    logged = logging.StreamHandler(errors)
    logging.getLogger("rgm").addHandler(logged)
    try:
        with (
            patch.dict(os.environ, environment),
            patch.object(sys, "argv", ["rgm", *map(str, arguments)]),
            redirect_stdout(out),
            redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            cli.main()
    finally:
        logging.getLogger("rgm").removeHandler(logged)
        signal.signal(signal.SIGTERM, terminated)
    code = ended.value.code or 0
    assert isinstance(code, int)
    return Said(code, out.getvalue(), errors.getvalue())


def done(*arguments: object, **environment: str) -> str:
    """Run a command in this process that ends well, and return what it printed."""
    said = inside(*arguments, **environment)
    assert said.code == 0, said.errors
    return said.out


@pytest.fixture(scope="session")
def run(once: Callable[..., Path], judge_file: Path) -> Path:
    """A whole run on the embedded digits, short of everything but its shape, that finds its judge there."""

    def make(folder: Path) -> None:
        out = folder / "first"
        out.mkdir()
        shutil.copy(judge_file, out)
        result = outside("run", "--data", "digits", "--epochs", 3, "--no-controls", "--out", out)
        assert f"Report: {out / 'report.html'}" in result.stdout

    return once("run", make) / "first"


def refused(*arguments: object, **environment: str) -> str:
    """Run a command that the user can mend: exit code 2, one line, no traceback."""
    said = inside(*arguments, **environment)
    return one_line(said.code, said.errors)


def refused_outside(*arguments: object) -> str:
    """Do the same in a process of its own, where shapes are not checked before our own code sees them."""
    result = outside(*arguments, check=False)
    return one_line(result.returncode, result.stderr)


def one_line(code: int, said: str) -> str:
    assert code == 2, said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("rgm: ")
    return lines[0]


def assert_evidence(found: dict[str, Any]) -> None:
    assert (found["version"], found["data"]) == (1, "digits")
    assert [(c["claim"], c["subject"]) for c in found["claims"]] == [
        ("abstraction", "model"),
        ("instantiation", "model"),
        ("locality", "model"),
    ]
    for claim in found["claims"]:
        assert claim["verdict"] in ("supported", "not supported", "undecided")
        for measure in claim["measures"]:
            assert measure["low"] <= measure["estimate"] <= measure["high"]
            assert measure["side"] in ("above", "below", "between", "equals")
        assert {"calibration_error", "frechet_ratio", "encoder_area"} & {
            one["name"] for one in claim["context"]
        }


def test_a_run_leaves_everything(run: Path) -> None:
    names = {"config.json", FILE, "metrics.json", "metrics.jsonl", "timing.jsonl", "report.html"}
    assert names | {"evidence.json", "figures", "checkpoints", "judge.safetensors"} == {
        path.name for path in run.iterdir() if not path.name.startswith(".")
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["data"], metrics["preset"], metrics["seed"], metrics["epochs"]) == (
        "digits",
        "standard",
        1,
        3,
    )
    expected = {"concept_accuracy", "squared_error", "codes_in_use", "needed_codes", "samples_recognised"}
    assert expected | {"own_patch_share", "patch_plus_2_share"} <= metrics["test"].keys()
    assert metrics["test"]["receptive_field_share"] == 1
    history = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [("codes", 1), ("codes", 2), ("codes", 3), ("prior", 1), ("outliers", 1)]
    assert [(record["stage"], record["epoch"]) for record in history] == epochs
    config = json.loads((run / "config.json").read_text())
    assert config["run"]["preset"] == "standard"
    assert [part["split"] for part in config["data"]] == ["train", "validation", "test"]
    assert_evidence(json.loads((run / "evidence.json").read_text()))


@pytest.mark.slow
def test_equal_runs_give_equal_files(run: Path, tmp_path: Path) -> None:
    outside("train", "--data", "digits", "--epochs", 3, "--out", tmp_path)
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


def test_encode_then_decode(run: Path, tmp_path: Path) -> None:
    done("encode", run, "--split", "test", "--out", tmp_path / "codes.npz")
    done("decode", run, tmp_path / "codes.npz", "--out", tmp_path / "images.npz")
    codes, images = np.load(tmp_path / "codes.npz"), np.load(tmp_path / "images.npz")["images"]
    n = len(codes["labels"])
    assert codes["z1"].shape == (n, 7, 7)
    assert codes["z1"].dtype == np.int64
    assert codes["concept"].shape == (n, 10)
    assert codes["concept"].dtype == np.float32
    np.testing.assert_allclose(codes["concept"].sum(1), 1, atol=1e-5)
    assert codes["labels"].dtype == np.int64
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, codes["reconstruction"], atol=1e-6)
    accuracy = (codes["concept"].argmax(1) == codes["labels"]).mean()
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert accuracy == pytest.approx(metrics["concept_accuracy"])


def test_sample_one_concept_and_all(run: Path, tmp_path: Path) -> None:
    done("sample", run, "--concept", 3, "--count", 4, "--seed", 1, "--out", tmp_path / "a.npz")
    done("sample", run, "--concept", 3, "--count", 4, "--seed", 1, "--out", tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = np.load(tmp_path / "a.npz")
    assert found["images"].shape == (4, 1, 28, 28)
    assert found["concept"].tolist() == [3] * 4
    done("sample", run, "--concept", "all", "--count", 2, "--out", tmp_path / "all.npz")
    assert np.load(tmp_path / "all.npz")["concept"].tolist() == [c for c in range(10) for _ in range(2)]


def test_complete_keeps_what_it_is_told(run: Path, tmp_path: Path) -> None:
    done("encode", run, "--out", tmp_path / "codes.npz")
    codes = np.load(tmp_path / "codes.npz")
    keep = np.zeros((7, 7), dtype=bool)
    keep[:4] = True
    np.savez(tmp_path / "half.npz", z1=codes["z1"][:5], concept=codes["concept"][:5], keep=keep)
    done("complete", run, tmp_path / "half.npz", "--out", tmp_path / "a.npz")
    found = np.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["z1"][:, :4], codes["z1"][:5, :4])
    np.testing.assert_array_equal(found["concept"], codes["concept"][:5].argmax(1))
    done("complete", run, tmp_path / "half.npz", "--concept", 7, "--out", tmp_path / "b.npz")
    assert np.load(tmp_path / "b.npz")["concept"].tolist() == [7] * 5
    np.savez(tmp_path / "bad.npz", z1=codes["z1"][:5], concept=codes["concept"][:5], keep=keep[:3])
    assert "must be a mask of shape (5, 7, 7)" in refused_outside(
        "complete", run, tmp_path / "bad.npz", "--out", tmp_path / "c.npz"
    )


@pytest.mark.slow
def test_evaluate(run: Path, tmp_path: Path) -> None:
    done("evaluate", run, "--split", "validation", "--samples", 2, "--out", tmp_path)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert (found["data"], found["split"]) == ("digits", "validation")
    bound = found["measures"]["free_energy_nats"]
    assert bound["low"] <= bound["estimate"] <= bound["high"]
    assert "at least one sample" in refused("evaluate", run, "--samples", 0)


@pytest.mark.slow
def test_claims_are_put_to_a_model_and_written(run: Path, tmp_path: Path) -> None:
    text = done("evaluate", run, "--claims", "--samples", 1, "--out", tmp_path)
    found = json.loads((tmp_path / "evidence.json").read_text())
    for claim in found["claims"]:
        assert f"{claim['claim']} · model: {claim['verdict']}" in text
    assert_evidence(found)
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"renormalization.png", "locality-atlas.png"} <= drawn


@pytest.mark.slow
def test_models_are_compared_side_by_side(run: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.safetensors"
    done("pack", run, "--out", packed)
    text = done("compare", run, packed, "--out", tmp_path, COLUMNS="200")
    assert "concept right" in text
    kept = json.loads((tmp_path / "comparison.json").read_text())
    assert kept["models"] == [str(run), str(packed)]
    accuracy = kept["measures"][0]
    assert accuracy["name"] == "concept_accuracy"
    assert accuracy["differences"][1]["paired"]
    assert abs(accuracy["differences"][1]["estimate"]) < 0.01  # half precision hardly matters
    page = (tmp_path / "comparison.html").read_text()
    assert str(packed) in page
    assert "http" not in page
    assert "two different models" in refused("compare", run, run)
    assert "two different models" in refused("compare", run)


def test_claims_about_other_classes_are_undecided_and_say_why(run: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for index in range(4):
                Image.new("L", (28, 28), 30 * index).save(folder / f"{index}.png")
    out = tmp_path / "out"
    done("evaluate", run, "--data", tmp_path / "pets", "--claims", "--samples", 1, "--out", out)
    found = json.loads((out / "evidence.json").read_text())["claims"]
    assert [claim["verdict"] for claim in found] == ["undecided"] * 3
    assert all("none that are the model's" in claim["reason"] for claim in found)
    assert all(claim["measures"] == [] for claim in found)


LONG = [pytest.param(name, marks=pytest.mark.slow) for name in ("instantiation", "locality")]


@pytest.mark.parametrize("name", ["abstraction", *LONG])
def test_experiment(run: Path, tmp_path: Path, name: str) -> None:
    done("experiment", name, run, "--out", tmp_path)
    numbers = json.loads((tmp_path / f"{name}.json").read_text())["measures"]
    whole = json.loads((run / "metrics.json").read_text())["test"]
    assert numbers == {key: pytest.approx(whole[key], abs=1e-5) for key in numbers}
    assert list(tmp_path.glob(f"{name}*.png"))


def test_a_packed_run_is_half_as_large_and_the_same_model(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    done("pack", run, "--out", out)
    assert out.stat().st_size < 0.6 * (run / FILE).stat().st_size
    told = [[line for line in done("info", path).splitlines() if line.startswith("│")] for path in (out, run)]
    assert told[0] == told[1] != []
    assert "no model at nowhere" in refused("pack", "nowhere", "--out", out)


def test_a_tree_is_written_for_pymdp_and_networks_are_not(tmp_path: Path) -> None:
    model = CountingRGM.from_preset("counting", image=(1, 8, 8), classes=2)
    origin = Origin(classes=("a", "b"), preset="counting", data="digits", seed=0)
    save_model(tmp_path / FILE, model, origin)
    out = tmp_path / "new" / "tree.npz"
    assert f"Wrote {out}" in done("export", tmp_path, "--pymdp", out)
    with np.load(out, allow_pickle=False) as arrays:
        assert arrays["A_2"].shape == (4, 128, 600)
    assert "made of networks" in refused("export", "mnist", "--pymdp", tmp_path / "x.npz")
    assert "it is a folder" in refused("export", tmp_path, "--pymdp", tmp_path)
    assert "nothing to write" in refused("export", tmp_path)
    assert not (tmp_path / "x.npz").exists()


def test_packaged_weights_sample_by_their_name(tmp_path: Path) -> None:
    outside("sample", "mnist", "--concept", "3", "--count", 2, "--out", tmp_path / "threes.npz")
    assert np.load(tmp_path / "threes.npz")["images"].shape == (2, 1, 28, 28)
    assert "pretrained" in done("info", "mnist")


def test_info_and_version(run: Path) -> None:
    text = done("info", run)
    assert "standard" in text
    assert "7 × 7 grid of 32 states" in text
    assert done("--version").strip() == "0.1.0"


COMMANDS = (
    "run",
    "train",
    "experiment",
    "evaluate",
    "encode",
    "decode",
    "sample",
    "complete",
    "info",
    "pack",
    "judge",
)
HELP = """
import contextlib, io, json, sys
from rgm.cli import app
told = {}
for command in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        app([command, "--help"])
    told[command] = said.getvalue()
    assert "torch" not in sys.modules and "matplotlib" not in sys.modules, command
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    result = subprocess.run(
        [sys.executable, "-c", HELP, *COMMANDS], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, str] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_imports_no_torch(helps: dict[str, str], command: str) -> None:
    assert f"Example: rgm {command}" in " ".join(helps[command].split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--data", "mnits"), "did you mean 'mnist'"),
        (("train", "--data", "digits", "--preset", "standart"), "did you mean 'standard'"),
        (("train", "--data", "digits", "--estimator", "reimax"), "did you mean 'reinmax'"),
        (("train", "--data", "digits", "--device", "cdua"), "did you mean 'cuda'"),
        (("train", "--data", "digits", "--epochs", "-1"), "epochs must be positive"),
        (("train", "--data", "digits", "--epochs", "inf"), "epochs must be finite"),
        (("train", "--data", "digits", "--batch-size", "0"), "batch size"),
        (
            ("train", "--data", "digits", "--seed", "-1"),
            "a seed must lie in 0 … 9223372036854775807, but is -1",
        ),
        (("train", "--data", "digits", "--size", "100000000"), "4 to 4,096 pixels a side"),
        (("sample", "nowhere", "--out", "x.npz", "--seed", 2**64), "Must be < 9223372036854775808"),
        (("judge", "--data", "digits", "--out", "/"), "cannot write /: it is a folder"),
        (("train", "--data", "/no/such/folder"), "no folder of images"),
        (("train", "--prset", "seed"), "--prset"),
        (("train", "--epochs", "many"), "many"),
        (("trian",), "trian"),
        (("info", "nowhere"), "no model at nowhere"),
        (("decode", "nowhere", "codes.npz", "--out", "x.npz"), "no model at nowhere"),
    ],
)
def test_what_the_user_can_mend(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = refused(*arguments, *(("--out", out) if arguments[0] == "train" else ()))
    assert message in line
    assert not (out / FILE).exists()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_wrong_requests_of_a_model(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    assert "known are 0, 1" in refused("sample", run, "--concept", "eleven", "--out", out)
    assert "at least one sample" in refused("sample", run, "--count", 0, "--out", out)
    assert "not enough memory" in refused("sample", run, "--count", 10**15, "--out", out)
    assert "it is a folder" in refused("decode", run, tmp_path / "bad.npz", "--out", tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"PK not a zip")
    assert "not a whole .npz" in refused("decode", run, tmp_path / "bad.npz", "--out", out)
    np.savez(tmp_path / "range.npz", z1=np.full((1, 7, 7), 99))
    assert "0 … 31" in refused("decode", run, tmp_path / "range.npz", "--out", out)
    np.savez(tmp_path / "float.npz", z1=np.zeros((1, 7, 7)))
    assert "whole numbers" in refused("decode", run, tmp_path / "float.npz", "--out", out)
    np.savez(tmp_path / "other.npz", z2=np.zeros((1, 7, 7), dtype=int))
    assert "no array `z1`, only z2" in refused("decode", run, tmp_path / "other.npz", "--out", out)
    np.save(tmp_path / "single.npy", np.zeros((1, 7, 7), dtype=int))
    assert "a single array" in refused("decode", run, tmp_path / "single.npy", "--out", out)
    keep = np.ones((7, 7), dtype=bool)
    for wrong in (np.array(["a"]), np.array([1.5]), np.ones((1, 3)), np.array(1), np.array([1j])):
        np.savez(tmp_path / "concept.npz", z1=np.zeros((1, 7, 7), dtype=int), keep=keep, concept=wrong)
        line = refused("complete", run, tmp_path / "concept.npz", "--out", out)
        assert "`concept` in" in line
        assert "probabilities of shape (n, 10)" in line
    np.savez(tmp_path / "keep.npz", z1=np.zeros((1, 7, 7), dtype=int), keep=np.array(["a"]), concept=[1])
    assert "true or false for each cell" in refused("complete", run, tmp_path / "keep.npz", "--out", out)
    assert not out.exists()


def test_images_of_other_classes_are_taken_as_unlabelled(run: Path, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        for index in range(10):
            path = tmp_path / "images" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((28, 28), 20 * index, dtype=np.uint8)).save(path)
    told = inside("evaluate", run, "--data", tmp_path / "images", "--samples", 1, "--out", tmp_path).errors
    assert told.count("are not the model's concepts: it is taken as unlabelled") == 1
    assert json.loads((tmp_path / "evaluation.json").read_text())["measures"]["concept_accuracy"] is None
    done("experiment", "locality", run, "--data", tmp_path / "images", "--out", tmp_path)
    assert (
        "changed_concept_recognised" not in json.loads((tmp_path / "locality.json").read_text())["measures"]
    )


def test_a_part_of_an_epoch_is_a_number_of_epochs() -> None:
    _, bound, _ = cli.app.parse_args(["train", "--epochs", "0.25"])
    assert bound.arguments["config"].epochs == 0.25


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PermissionError(13, "Permission denied", "secret.npz"), 2, "rgm: secret.npz: permission denied"),
        (MemoryError(), 2, "rgm: not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 2, "rgm: not enough memory"),
        (RuntimeError("a bug"), 1, "please report it"),
    ],
)
def test_an_error_from_below(
    error: Exception,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == code
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    line = refused("train", "--data", "digits", "--out", tmp_path / "file" / "run")
    assert "cannot write" in line


@pytest.mark.slow
def test_a_folder_of_images_end_to_end(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        for index in range(20):
            path = tmp_path / "images" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(100 * label, 100 * label + 60, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    done("run", "--data", tmp_path / "images", "--epochs", 2, "--out", tmp_path / "run")
    done("sample", tmp_path / "run", "--concept", "light", "--count", 2, "--out", tmp_path / "x.npz")
    assert np.load(tmp_path / "x.npz")["images"].shape == (2, 3, 12, 12)
    line = refused("sample", tmp_path / "run", "--concept", "lihgt", "--out", tmp_path / "y.npz")
    assert "did you mean 'light'" in line


TRAINED = ("train", "--data", "digits", "--preset", "seed", "--epochs", 8)


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
    for other in (("--seed", 3), ("--estimator", "reinmax")):
        assert "belongs to another run" in refused(*arguments, *other, "--resume")
    (tmp_path / "a" / "timing.jsonl").write_text("{cut short")
    assert "timing.jsonl is damaged: remove it" in refused(*arguments, "--resume")


def test_explore_serves_a_page_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "rgm", "explore", "mnist", "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        for _ in range(50):
            try:
                with urllib.request.urlopen(f"{address}api/about", timeout=10) as answer:
                    about = json.load(answer)
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        assert about["name"] == "mnist"
        port = address.rstrip("/").rsplit(":", 1)[1]
        assert f"port {port} is in use" in refused("explore", "mnist", "--port", port, "--no-browser")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130


def test_a_page_that_cannot_be_written_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    said = refused("explore", "mnist", "--export", str(tmp_path / "page"), "--runtime", str(tmp_path))
    assert "ort.wasm.bundle.min.mjs" in said
    assert "npm install onnxruntime-web" in said
    assert not (tmp_path / "page").exists()
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (tmp_path / name).touch()
    (tmp_path / "page").touch()
    assert "page" in refused(
        "explore", "mnist", "--export", str(tmp_path / "page"), "--runtime", str(tmp_path)
    )


def test_a_store_is_made_and_trained_on(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for number in range(40):
        place = pictures / ("a" if number % 2 else "b") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20), 6 * number).save(place)
    out = tmp_path / "stored"
    assert f"Store: {out}" in done("store", pictures, "--out", out, "--size", 8)
    assert "holds images of 1 × 8 × 8" in refused(
        "train", "--data", out, "--size", 16, "--out", tmp_path / "run"
    )
    done(
        "train",
        "--data",
        out,
        "--epochs",
        0.5,
        "--precision",
        "bfloat16",
        "--out",
        tmp_path / "run",
        "--quiet",
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["engine"] == {
        "precision": "bfloat16",
        "compile": False,
        "deterministic": False,
        "processes": 1,
    }
    assert "no folder of images" in refused("store", tmp_path / "nothing", "--out", tmp_path / "other")
    assert "4 to 4,096 pixels" in refused("store", pictures, "--out", tmp_path / "other", "--size", 2)


@pytest.fixture(scope="session")
def counted(once: Callable[..., Path], judge_file: Path) -> Path:
    """A tree counted on the digits, beside their judge."""

    def make(folder: Path) -> None:
        out = folder / "run"
        said = done("train", "--data", "digits", "--preset", "counting", "--epochs", 9, "--out", out)
        assert f"Model: {out}" in said
        shutil.copy(judge_file, out)

    return once("counted", make) / "run"


def test_every_command_takes_a_counted_model(counted: Path, tmp_path: Path) -> None:
    assert "7 × 7 grid of 128 states, counted" in done("info", counted)
    codes, images = tmp_path / "codes.npz", tmp_path / "images.npz"
    done("encode", counted, "--out", codes)
    with np.load(codes) as read:
        count, z1, labels = len(read["labels"]), read["z1"], read["labels"]
        assert (read["concept"].argmax(axis=1) == labels).mean() > 0.95
        assert read["z2"].shape == (count, 1, 1)
        again = read["reconstruction"]
    assert z1.shape == (count, 7, 7)
    done("decode", counted, codes, "--out", images)
    with np.load(images) as read:
        np.testing.assert_allclose(read["images"], again, atol=1e-6)
    done("sample", counted, "--concept", "3", "--count", 5, "--seed", 2, "--out", images)
    with np.load(images) as read:
        assert read["images"].shape == (5, 1, 28, 28)
    keep = np.zeros((7, 7), dtype=bool)
    keep[:4] = True
    np.savez(codes, z1=z1[:6], keep=keep, concept=labels[:6])
    done("complete", counted, codes, "--out", images)
    with np.load(images) as read:
        assert (read["z1"][:, :4] == z1[:6, :4]).all()
        assert (read["z1"][:, 4:] != z1[:6, 4:]).any()


@pytest.mark.slow
def test_a_counted_model_is_evaluated_and_its_exactness_shown(counted: Path, tmp_path: Path) -> None:
    done("evaluate", counted, "--samples", 1, "--out", tmp_path)
    measures = json.loads((tmp_path / "evaluation.json").read_text())["measures"]
    exact, bound = (measures[name]["estimate"] for name in ("importance_bound_nats", "free_energy_nats"))
    assert abs(exact / bound - 1) < 0.2  # of a part of the images, and of all
    done("experiment", "exactness", counted, "--out", tmp_path)
    record = json.loads((tmp_path / "exactness.json").read_text())
    assert record["intervals"].keys() == record["measures"].keys()
    assert record["measures"]["completed_quadrants_recognised"] > 0.8
    assert (tmp_path / "exactness-completion.png").is_file()
    done("experiment", "locality", counted, "--out", tmp_path)
    assert json.loads((tmp_path / "locality.json").read_text())["measures"][
        "own_patch_share"
    ] == pytest.approx(1)


def test_a_counted_model_is_packed_and_shared(counted: Path, tmp_path: Path) -> None:
    done("pack", counted, "--out", tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").stat().st_size < 0.6 * (counted / FILE).stat().st_size
    for model in (counted, tmp_path / "small.safetensors"):
        done("encode", model, "--out", tmp_path / f"{model.name}.npz")
    with np.load(tmp_path / "run.npz") as full, np.load(tmp_path / "small.safetensors.npz") as small:
        assert (full["concept"].argmax(axis=1) == small["concept"].argmax(axis=1)).mean() > 0.98
    done("export", counted, "--hub", tmp_path / "hub")
    assert "from rgm import CountingRGM" in (tmp_path / "hub" / "README.md").read_text()
    assert isinstance(CountingRGM.from_pretrained(tmp_path / "hub"), CountingRGM)


def test_what_a_counted_model_has_not_is_refused(counted: Path, run: Path, tmp_path: Path) -> None:
    assert "no networks" in refused("export", counted, "--onnx", tmp_path)
    assert "no networks" in refused("explore", counted, "--export", tmp_path)
    assert "trees of counts" in refused("experiment", "exactness", run, "--out", tmp_path)
