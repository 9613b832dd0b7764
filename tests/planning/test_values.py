"""Plans against the best of all policies, each solved exactly."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from tiny_games import Corridor, played

from rgm.errors import RGMError
from rgm.planning.graph import END, Graph, graph_of
from rgm.planning.streams import View
from rgm.planning.values import BackwardInduction, ExpectedFreeEnergy, ExpectedRewards, information_gain, planner_named


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
        view=View(present=(1,), before=(1,), background=0),
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
    values = ExpectedRewards(discount=0.9)(graph)
    assert np.allclose(values[1:].max(axis=1), best_policy(graph, 0.9)[1:], atol=1e-4)
    assert np.isneginf(values[END]).all()


def test_what_was_never_tried_is_not_chosen() -> None:
    graph = graph_of(played(Corridor(), 500), 2)
    kept = graph.action == 1
    parts = {name: getattr(graph, name)[kept] for name in ("source", "action", "target", "count", "reward")}
    short = replace(graph, **parts)
    assert np.isneginf(ExpectedRewards()(short)[:, 0]).all()


@pytest.mark.parametrize("seed", range(3))
def test_free_energy_without_information_and_ambiguity_is_reward(seed: int) -> None:
    graph = drawn_graph(seed)
    plain = ExpectedFreeEnergy(precision=2.0, ambiguity=0.0, discount=0.9)(graph)
    assert np.allclose(plain[1:], 2 * ExpectedRewards(discount=0.9)(graph)[1:], atol=1e-4)
    fearful = ExpectedFreeEnergy(precision=2.0, ambiguity=1.0, discount=0.9)(graph)
    assert (fearful[1:] <= plain[1:] + 1e-9).all()


def test_information_gain_is_the_mutual_information_of_drawn_transitions() -> None:
    graph = drawn_graph(0)
    random = np.random.default_rng(0)
    found = information_gain(graph)
    for pair in np.unique(graph.pair):
        count = np.append(graph.count[graph.pair == pair], (0.5, 0.5))
        drawn = random.dirichlet(count, 20_000)
        entropies = -(drawn * np.log(np.maximum(drawn, 1e-300))).sum(axis=1)
        mean = count / count.sum()
        assert found[pair] == pytest.approx(-(mean * np.log(mean)).sum() - entropies.mean(), abs=0.02)


def test_novelty_is_sought() -> None:
    """What was never tried is worth the most where no reward is known."""
    graph = graph_of(played(Corridor(), 500), 2)
    kept = ~((graph.action == 1) & (graph.target == END))
    parts = {name: getattr(graph, name)[kept] for name in ("source", "action", "target", "count", "reward")}
    values = ExpectedFreeEnergy(information=1.0)(replace(graph, **parts))
    last = np.setdiff1d(graph.source[~kept], [])
    assert (values[last].argmax(axis=1) == 1).all()


def test_the_shortest_way_to_a_goal() -> None:
    graph = graph_of(played(Corridor(), 500), 2)
    values = BackwardInduction()(graph)
    place = graph.frames.argmax(axis=1)[graph.present]
    for state in range(1, len(graph)):
        assert values[state, 1] == -len(graph) - (3 - place[state])
        assert values[state, 0] == -len(graph) - (1 + 3 - max(0, place[state] - 1))


def test_a_goal_without_a_way_on_is_given_up() -> None:
    """State 1 may go to 2, whose goal leads to the end, in 1 step, or to 3, whose goal comes again, in 2."""
    source, action, target = np.array([(1, 0, 2), (1, 1, 3), (2, 0, 0), (2, 1, 0), (3, 0, 4), (4, 0, 4), (4, 1, 0)]).T
    graph = replace(
        drawn_graph(0),
        source=source,
        action=action,
        target=target,
        count=np.ones(7),
        reward=np.array([0.0, 0.0, 1.0, -1.0, 0.0, 1.0, -1.0]),
    )
    values = BackwardInduction()(graph)
    assert values[1].tolist() == [-(5 + 2.0), -3.0]  # after all ways to goals that come again
    assert values[2].tolist() == [-(5 + 1.0), -np.inf]
    assert values[4].tolist() == [-1.0, -np.inf]


def test_planners_by_name() -> None:
    assert planner_named("induction") == BackwardInduction()
    with pytest.raises(RGMError, match="did you mean 'rewards'"):
        planner_named("reward")
