"""The examples run as they stand, shortened where they train."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
RUNS = {
    "1_show_me": (["--data", "digits", "--epochs", "1", "--out", "out"], "open out/report.html", "out/report.html"),
    "3_touch_it": (["--out", "touched.png"], "one cell of 49: pixels", "touched.png"),
    "4_use_my_images": (["--epochs", "1", "--out", "out"], "images of cross, disc, square", "out/sheet.png"),
    "5_build_on_it": (["--epochs", "2"], "its own concept is right on", ""),
    "6_pymdp": (["--images", "32", "--out", "tree.npz"], "differ from the model's by at most", "tree.npz"),
    "7_films": (["--out", "out"], "28 of 28 bass notes added", "out/filled.gif"),
    "8_chorales": ([], "events held out: 0.277 nats an event", ""),
    "9_pymdp_game": (["--out", "catch.npz"], "our action is one of the best there in 40 of 40 steps", "catch.npz"),
}


def _run(name: str, options: list[str], where: Path) -> str:
    command = [sys.executable, str(FOLDER / f"{name}.py"), *options]
    environment = os.environ | {"PYTHONWARNINGS": "error::UserWarning:rgm"}
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    options, said, written = RUNS[name]
    assert said in _run(name, options, tmp_path)
    assert not written or (tmp_path / written).stat().st_size > 500


@pytest.mark.slow
@pytest.mark.mnist
def test_the_example_on_mnist_runs(tmp_path: Path) -> None:
    said = _run("2_prove_it", ["--images", "500", "--out", "out"], tmp_path)
    assert said.count("supported") >= 3
    assert (tmp_path / "out" / "evidence.json").is_file()


def test_every_example_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {*RUNS, "2_prove_it"}
