"""Plans against the best of all policies, each solved exactly."""

import itertools

import numpy as np
import pytest
from tiny_games import Corridor, played

from rgm.planning.graph import END, Graph, graph_of
from rgm.planning.values import expected_rewards


def drawn_graph(seed: int, states: int = 5, actions: int = 2) -> Graph:
    """Return a graph of random transitions, in which every action of every state was tried."""
    random = np.random.default_rng(seed)
    edges = [
        (state, action, int(target))
        for state in range(1, states)
        for action in range(actions)
        for target in random.choice(states, size=int(random.integers(1, 4)), replace=False)
    ]
    source, action, target = np.array(edges).T
    return Graph(
        frames=np.arange(states)[:, None],
        previous=np.arange(states) - 1,
        present=np.arange(states),
        source=source,
        action=action,
        target=target,
        count=random.integers(1, 9, len(edges)).astype(float),
        reward=random.normal(size=len(edges)),
        actions=actions,
    )


def best_policy(graph: Graph, discount: float) -> np.ndarray:
    """Return the values of the states under the best of all policies, by enumeration."""
    found = []
    for policy in itertools.product(range(graph.actions), repeat=len(graph) - 1):
        taken = graph.action == np.array((-1, *policy))[graph.source]
        moves = np.zeros((len(graph), len(graph)))
        np.add.at(moves, (graph.source[taken], graph.target[taken]), graph.share[taken])
        gained = np.bincount(graph.source[taken], (graph.share * graph.reward)[taken], minlength=len(graph))
        found.append(np.linalg.solve(np.eye(len(graph)) - discount * moves, gained))
    return np.max(found, axis=0)


@pytest.mark.parametrize("seed", range(5))
def test_value_iteration_finds_the_best_policy(seed: int) -> None:
    graph = drawn_graph(seed)
    values = expected_rewards(graph, discount=0.9)
    assert np.allclose(values[1:].max(axis=1), best_policy(graph, 0.9)[1:], atol=1e-4)
    assert np.isneginf(values[END]).all()


def test_what_was_never_tried_is_not_chosen() -> None:
    graph = graph_of(played(Corridor(), 500), 2)
    kept = graph.action == 1
    parts = {name: getattr(graph, name)[kept] for name in ("source", "action", "target", "count", "reward")}
    short = Graph(frames=graph.frames, previous=graph.previous, present=graph.present, actions=2, **parts)
    assert np.isneginf(expected_rewards(short)[:, 0]).all()
