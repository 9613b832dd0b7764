"""States and transitions of games that can be enumerated."""

import inspect

import numpy as np
import pytest
from tiny_games import Corridor, played

from rgm.errors import RGMError
from rgm.planning.environments import Pong
from rgm.planning.experience import Experience
from rgm.planning.graph import END, graph_of


def test_a_corridor_is_learned_edge_by_edge() -> None:
    """Pairs of places: (none, 0), (0, 0), (0, 1), (1, 0), (1, 2), (2, 1); from (·, 2) to the right the end."""
    graph = graph_of(played(Corridor(), 500), 2)
    place = graph.frames.argmax(axis=1)
    pairs = {
        (-1 if before < 0 else int(place[before]), int(place[present])): state
        for (before, present), state in graph.number.items()
    }
    assert set(pairs) == {(-1, 0), (0, 0), (0, 1), (1, 0), (1, 2), (2, 1)}
    expected = set()
    for (_, now), state in pairs.items():
        for action in (0, 1):
            then = max(0, now + (1 if action else -1))
            expected.add((state, action, END if then == 3 else pairs[now, then]))
    found = set(zip(graph.source.tolist(), graph.action.tolist(), graph.target.tolist(), strict=True))
    assert found == expected
    assert graph.count.sum() == 500
    assert np.array_equal(graph.reward, (graph.target == END).astype(float))
    assert np.array_equal(graph.share, np.ones(len(graph.source)))


def test_shares_are_of_each_state_and_action() -> None:
    graph = graph_of(played(Pong(rows=5, columns=4), 2000), 3)
    pair = graph.source * 3 + graph.action
    totals = np.bincount(pair, graph.share)
    assert np.allclose(totals[totals > 0], 1)
    for action in range(3):
        columns = np.asarray(graph.transitions(action).sum(axis=0))[0]
        assert np.allclose(columns[np.unique(graph.source)], 1)


def test_rare_states_are_left_out() -> None:
    record = played(Corridor(), 500)
    assert len(graph_of(record, 2, least=10**6)) == 1


def test_frames_that_do_not_fit() -> None:
    experience = Experience()
    frame = np.zeros((2, 2), dtype=np.int64)
    with pytest.raises(RGMError, match=r"an array of integers \(rows, columns\)"):
        inspect.unwrap(Experience.key)(experience, frame.astype(float))
    experience.key(frame)
    with pytest.raises(RGMError, match=r"frames of this game are \(2, 2\), but one is \(2, 3\)"):
        experience.key(np.zeros((2, 3), dtype=np.int64))
    with pytest.raises(RGMError, match="hidden cells"):
        experience.add(frame - 1, 0, frame, 0.0, False)
