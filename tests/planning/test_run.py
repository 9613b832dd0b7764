"""Runs of play: what a folder holds, how it is continued, what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from rgm.errors import RGMError
from rgm.planning import learning, run
from rgm.planning.environments import BUILT_IN, Catch
from rgm.planning.run import PlayConfig, run_play
from rgm.planning.stored import load_agent

QUICK: dict[str, Any] = {"env": "catch", "frames": 500, "steps": 100}


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with (
        patch.dict(BUILT_IN, {"catch": lambda: Catch(rows=4, columns=3)}),
        patch.object(learning, "CURVE_STEPS", 50),
        patch.object(learning, "LIMIT", 50),
    ):
        yield


@pytest.mark.parametrize("noise", [{}, {"learn_flip": 0.02}])
def test_a_run_is_continued_as_if_never_stopped(tmp_path: Path, noise: dict[str, float]) -> None:
    config = PlayConfig(**QUICK, **noise, seed=3)
    whole = run_play(config, tmp_path / "whole")

    def stopped(*arguments: Any, **options: Any) -> None:
        after = options.pop("after")

        def stop(one: learning.Round) -> None:
            after(one)
            if one.frames == 200:
                raise KeyboardInterrupt

        learning.learn(*arguments, **options, after=stop)

    with patch.object(run, "learn", stopped), pytest.raises(KeyboardInterrupt):
        run_play(config, tmp_path / "parts")
    assert not (tmp_path / "parts" / "play.json").exists()
    with pytest.raises(RGMError, match="holds a run of play: --resume continues it, --overwrite replaces it"):
        run_play(config, tmp_path / "parts")
    with pytest.raises(RGMError, match=r"other options \(seed 3 then, 4 now\)"):
        run_play(PlayConfig(**QUICK, **noise, seed=4), tmp_path / "parts", resume=True)
    parts = run_play(config, tmp_path / "parts", resume=True)
    assert parts.rounds == whole.rounds
    assert (parts.evaluation, parts.random) == (whole.evaluation, whole.random)
    for name in ("metrics.jsonl", "config.json"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    again = run_play(config, tmp_path / "parts", resume=True)  # nothing is left to learn
    assert again.evaluation == whole.evaluation
    record = json.loads((tmp_path / "parts" / "play.json").read_text())
    assert {"env", "frames", "seed", "learn_s", "plan_s", "play_frames_per_s", "states", "edges"} <= set(record)
    keys = {"steps", "episodes", "reward_per_1000", "hits_per_1000", "misses_per_1000", "reward_per_episode"}
    assert set(record["evaluation"]) == set(record["random"]) == keys


def test_an_agent_of_another_game(tmp_path: Path) -> None:
    run_play(PlayConfig(**QUICK), tmp_path)
    with pytest.raises(RGMError, match="is an agent of catch, not of pong"):
        load_agent(tmp_path / "agent.safetensors", "pong")
    content = bytearray((tmp_path / "agent.safetensors").read_bytes())
    content[-3] ^= 255
    (tmp_path / "agent.safetensors").write_bytes(content)
    with pytest.raises(RGMError, match="checksum differs"):
        load_agent(tmp_path / "agent.safetensors", "catch")


def test_files_of_the_users_own_are_kept(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(RGMError, match=r"files that are not a game's, such as report\.html"):
        run_play(PlayConfig(**QUICK), tmp_path, overwrite=True)
    assert (tmp_path / "report.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "--frames must lie in 100"),
        ({"steps": 0}, "--steps must lie in 1"),
        ({"seed": -1}, "a seed must lie in"),
        ({"flip": 1.5}, "--flip is the share of cells"),
        ({"hide": -0.1}, "--hide is the share of cells"),
        ({"learn_flip": float("nan")}, "--learn-flip is the share of cells"),
        ({"planner": "value"}, "unknown planner 'value'"),
    ],
)
def test_options_without_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RGMError, match=message):
        PlayConfig(**({"env": "pong"} | options))
