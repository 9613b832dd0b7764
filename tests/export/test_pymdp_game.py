"""A learned game as arrays: probabilities, and paths that agree with our plan."""

from pathlib import Path

import numpy as np
import pytest

from rgm.errors import RGMError
from rgm.export import pymdp_game
from rgm.export.pymdp_game import GameArrays, game_arrays, save_game
from rgm.planning import Agent
from rgm.planning.environments import Catch, Pong
from rgm.planning.graph import END
from rgm.planning.playing import RandomPlayer, play


def learned(game: Catch | Pong, frames: int) -> Agent:
    agent = Agent(3)

    class Beginning(RandomPlayer):
        def begin(self, frame: np.ndarray) -> None:
            agent.begin(frame)

    play(game, Beginning(3, (0,)), frames, (0,), limit=50, seen=agent.observe)
    agent.plan()
    return agent


def preferences(arrays: GameArrays, state: int) -> np.ndarray:
    """Return the expected log preference of every policy from a state, as an agent sums it over the steps."""
    found = []
    for policy in arrays.policies[..., 0]:
        belief, total = np.eye(len(arrays.D))[state], 0.0
        for action in policy:
            belief = arrays.B[..., action] @ belief
            total += float(arrays.C_reward @ arrays.A_reward @ belief)
        found.append(total)
    return np.array(found)


def test_paths_agree_with_the_plan() -> None:
    """A fruit falls 2 rows: of all paths of 3 steps, the best ones begin with an action that our plan takes."""
    agent = learned(Catch(rows=3, columns=3), 1500)
    graph = agent.planned
    arrays = game_arrays(graph, steps=3, precision=1.0)
    for name in ("A_frame", "A_reward", "B"):
        assert np.allclose(getattr(arrays, name).sum(axis=0), 1)
    assert (arrays.D.sum(), arrays.E.sum()) == pytest.approx((1, 1))
    checked = 0
    for state in np.flatnonzero(arrays.event > END):
        shown = graph.frames[graph.present[arrays.event[state]]].reshape(3, 3)
        if not (shown[0] == 2).any():  # a fruit that is just above
            continue
        sums = preferences(arrays, int(state))
        first = set(arrays.policies[sums > sums.max() - 1e-5][:, 0, 0].tolist())
        assert int(agent.values[arrays.event[state]].argmax()) in first
        assert sums.max() == pytest.approx(1.0, abs=1e-5)
        checked += 1
    assert checked >= 9


def test_what_was_never_tried_and_the_end(tmp_path: Path) -> None:
    graph = learned(Pong(rows=4, columns=3), 60).planned
    arrays = game_arrays(graph, steps=2)
    unknown = len(arrays.D) - 1
    assert arrays.event[unknown] == -1
    assert (arrays.B[unknown, unknown] == 1).all()
    ends = np.flatnonzero(arrays.event == END)
    assert arrays.rewards[arrays.A_reward[:, ends].argmax(axis=0)].tolist() == [-1.0]
    tried = np.zeros((len(graph), 3), dtype=bool)
    tried[graph.source, graph.action] = True
    alive = arrays.event > END
    assert np.array_equal(arrays.B[unknown][alive] == 1, ~tried[arrays.event[alive]])
    save_game(tmp_path / "game.npz", arrays)
    with np.load(tmp_path / "game.npz", allow_pickle=False) as stored:
        assert np.array_equal(stored["B"], arrays.B)


def test_games_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = learned(Pong(rows=4, columns=3), 60).planned
    with pytest.raises(RGMError, match="too many policies"):
        game_arrays(graph, steps=20)
    monkeypatch.setattr(pymdp_game, "MOST_STATES", 5)
    with pytest.raises(RGMError, match=r"export one of at most 5"):
        game_arrays(graph)
