"""Runs on the embedded digits that several tests of the command line share."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import done, outside


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


@pytest.fixture(scope="session")
def counted(once: Callable[..., Path], judge_file: Path) -> Path:
    """A tree counted on the digits, beside their judge."""

    def make(folder: Path) -> None:
        out = folder / "run"
        said = done("train", "--data", "digits", "--preset", "counting", "--epochs", 9, "--out", out)
        assert f"Model: {out}" in said
        shutil.copy(judge_file, out)

    return once("counted", make) / "run"
