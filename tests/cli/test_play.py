"""`rgm play`: what it writes, and what it refuses."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from command_line import done, refused
from PIL import Image

from rgm.cli import play as command
from rgm.planning import learning
from rgm.planning.environments import BUILT_IN, Catch, Pong


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """Score rounds by a few steps."""
    with patch.object(learning, "CURVE_STEPS", 50), patch.object(learning, "LIMIT", 50):
        yield


SMALL = {"catch": lambda: Catch(rows=4, columns=3)}


class Nothing(Pong):
    """Pong without rewards."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        frame, _, ended, cut, info = super().step(action)
        return frame, 0.0, ended, cut, info


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("play") / "run"
    with patch.object(command, "FRAMES_PER_S", 1e9), patch.dict(BUILT_IN, SMALL):
        said = done("play", "catch", "--frames", 500, "--steps", 200, "--hide", 0.1, "--watch", "--out", out)
    assert "step 400, reward" in said
    assert f"Report: {out / 'report.html'}" in said
    return out


def test_info_says_what_a_run_holds(played: Path, tmp_path: Path) -> None:
    record = json.loads((played / "play.json").read_text())
    said = done("info", played)
    score = record["evaluation"]
    for line in (
        "catch",
        "500",
        f"{record['states']:,}, {record['edges']:,} transitions",
        f"{record['goals']:,} events with a reward",
        f"{score['hits_per_1000']:.1f} hits, {score['misses_per_1000']:.1f} misses",
    ):
        assert line in said
    assert 0 < record["goals"] < record["states"]
    assert done("info", played, "--quiet") == ""
    shutil.copy(played / "agent.safetensors", tmp_path)
    said = " ".join(done("info", tmp_path).replace("│", " ").split())
    assert "not finished, 10 rounds done: rgm play catch --frames 500 --hide 0.1 --steps 200 --resume" in said
    (tmp_path / "play.json").write_text("{")
    assert "rgm play --resume writes it again" in refused("info", tmp_path)
    assert "leave out --export" in refused("explore", tmp_path, "--export", tmp_path / "page")


def test_a_game_is_learned_and_reported(played: Path) -> None:
    record = json.loads((played / "play.json").read_text())
    assert (record["env"], record["frames"], record["hide"]) == ("catch", 500, 0.1)
    assert record["evaluation"]["hits_per_1000"] > 2 * record["random"]["hits_per_1000"]
    page = (played / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "data:image/gif;base64," in page
    assert "http" not in page.replace("http://www.w3.org", "")
    with Image.open(played / "play.gif") as shown:
        assert shown.n_frames > 50


def test_a_run_is_not_replaced_unasked(played: Path) -> None:
    before = (played / "play.json").read_bytes()
    assert "--resume continues it, --overwrite replaces it" in refused(
        "play", "catch", "--frames", 500, "--out", played
    )
    assert "is an agent of catch, not of pong" in refused("play", "pong", "--resume", "--out", played)
    assert "give one of them" in refused("play", "catch", "--resume", "--overwrite", "--out", played)
    assert (played / "play.json").read_bytes() == before


def test_what_there_is_not(tmp_path: Path) -> None:
    assert "did you mean 'breakout'" in refused("play", "breakot", "--out", tmp_path / "x")
    with patch.dict("sys.modules", {"gymnasium": None}):
        assert "pip install 'rgm[play]'" in refused("play", "CartPole-v1", "--out", tmp_path / "x")
    assert "--flip is the share of cells" in refused("play", "pong", "--flip", 2, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.slow  # two whole runs with their reports
def test_no_reward_is_said(tmp_path: Path) -> None:
    with patch.dict(BUILT_IN, {"nothing": lambda: Nothing(rows=3, columns=3)}):
        said = done("play", "nothing", "--frames", 200, "--steps", 10, "--out", tmp_path / "run")
        assert "No reward was seen in 200 frames" in said
        assert "No reward was seen" in (tmp_path / "run" / "report.html").read_text()
        own = done("play", "nothing", "--frames", 200, "--steps", 10, "--online", "--out", tmp_path / "own")
        assert "try more --frames" in own


@pytest.mark.slow  # a game of 37 states, to its best
def test_an_environment_of_gymnasium_is_played(tmp_path: Path) -> None:
    pytest.importorskip("gymnasium")
    done("play", "CliffWalking-v1", "--frames", 4000, "--steps", 100, "--online", "--out", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "play.json").read_text())
    assert record["evaluation"]["reward_per_episode"] == -13.0  # the shortest way
    assert "has actions of Box" in refused("play", "Pendulum-v1", "--out", tmp_path / "x")
