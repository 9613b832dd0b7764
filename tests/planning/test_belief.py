"""Filtering against the sum over all paths of states."""

import itertools

import numpy as np
from tiny_games import Corridor, played

from rgm.planning.belief import JUMP, Filter
from rgm.planning.graph import END, graph_of


def test_filtering_equals_the_sum_over_all_paths() -> None:
    graph = graph_of(played(Corridor(length=3), 300), 2)
    tracker = Filter(graph, 2)
    states = [state for state in range(len(graph)) if state != END]
    moves = [(1 - JUMP) * graph.transitions(action).toarray() + JUMP / len(states) for action in range(2)]
    seen = np.array([[1, 0, 0], [1, 1, 0], [-1, 0, -1], [0, -1, 1]])
    actions = [1, 0, 1]
    belief, noises = tracker.start, []
    for time, cells in enumerate(seen):
        if time:
            belief = tracker.predicted(belief, actions[time - 1])
        visible = cells[cells >= 0].size
        nearest = min(int(((cells >= 0) & (cells != graph.frames[graph.present[state]])).sum()) for state in states)
        noises.append((tracker.wrong + nearest) / (tracker.seen + visible))
        belief = tracker.updated(belief, cells)

    def likelihood(state: int, time: int) -> float:
        shown, noise = graph.frames[graph.present[state]], noises[time]
        pairs = [(a, b) for a, b in zip(seen[time].tolist(), shown.tolist(), strict=True) if a >= 0]
        return float(np.prod([1 - noise if a == b else noise for a, b in pairs]))

    expected = np.zeros(len(graph))
    for path in itertools.product(states, repeat=len(seen)):
        chance = tracker.start[path[0]] * likelihood(path[0], 0)
        for time in range(1, len(seen)):
            chance *= moves[actions[time - 1]][path[time], path[time - 1]] * likelihood(path[time], time)
        expected[path[-1]] += chance
    assert np.allclose(belief, expected / expected.sum(), atol=1e-6)


def test_noise_is_estimated_from_what_is_seen() -> None:
    graph = graph_of(played(Corridor(length=3), 300), 2)
    tracker = Filter(graph, 2)
    belief = tracker.start
    for _ in range(400):
        belief = tracker.updated(tracker.predicted(belief, 0), np.array([1, 0, 0]))
    assert tracker.noise < 0.01


def test_what_cannot_be_is_still_seen() -> None:
    graph = graph_of(played(Corridor(length=3), 300), 2)
    tracker = Filter(graph, 2)
    surprised = tracker.updated(np.eye(len(graph))[END], np.array([0, 1, 0]))
    assert np.isclose(surprised.sum(), 1)
    assert graph.frames[graph.present[int(surprised.argmax())]].tolist() == [0, 1, 0]
