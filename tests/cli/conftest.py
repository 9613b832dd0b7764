"""Runs on the embedded digits that several tests of the command line share."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import done, outside


@pytest.fixture(scope="session")
def run(once: Callable[..., Path]) -> Path:
    """A whole run on the embedded digits, short of everything but its shape."""

    def make(folder: Path) -> None:
        out = folder / "first"
        result = outside("run", "--data", "digits", "--epochs", 2, "--no-controls", "--out", out)
        assert f"Report: {out / 'report.html'}" in result.stdout

    return once("run", make) / "first"


@pytest.fixture(scope="session")
def counted(once: Callable[..., Path]) -> Path:
    """A tree counted on the digits."""

    def make(folder: Path) -> None:
        out = folder / "run"
        said = done("train", "--data", "digits", "--preset", "counting", "--epochs", 9, "--out", out)
        assert f"Model: {out}" in said

    return once("counted", make) / "run"
