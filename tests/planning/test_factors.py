"""What is inferred of steps that were never taken, against the games themselves."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tiny_games import Corridor, played

from rgm.planning import factors
from rgm.planning.agent import Agent
from rgm.planning.environments import Frame, Pong
from rgm.planning.experience import Record
from rgm.planning.factors import inferred
from rgm.planning.graph import END, Graph, graph_of
from rgm.planning.learning import learn
from rgm.planning.stored import read_agent, save_agent
from rgm.planning.streams import ACTION, NEXT, NOW, Parents, View, parents


@dataclass
class Clock:
    """A walker (1) on the upper row and a hand (2) on the lower, which goes round; a reward for both at the right."""

    length: int = 4
    actions: ClassVar[int] = 2

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        self.place, self.hand = 0, 0
        return self._frame(), {"seed": seed}

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        self.place = min(max(0, self.place + (1 if action else -1)), self.length - 1)
        self.hand = (self.hand + 1) % self.length
        return self._frame(), float(self.place == self.hand == self.length - 1), False, False, {}

    def _frame(self) -> Frame:
        frame = np.zeros((2, self.length), dtype=np.int64)
        frame[0, self.place], frame[1, self.hand] = 1, 2
        return frame


def without(record: Record, lacking: np.ndarray) -> Record:
    """Return a record without some steps."""
    kept = ~lacking
    columns = {name: getattr(record, name)[kept] for name in ("before", "action", "after", "reward", "ended")}
    return replace(record, follows=(record.follows & np.roll(kept, 1))[kept], **columns)


def edges(graph: Graph) -> dict[tuple[bytes, int], list[tuple[bytes, float, float]]]:
    """Return what follows each frame and action: the frame, its share, the reward."""
    found: dict[tuple[bytes, int], list[tuple[bytes, float, float]]] = {}
    for source, action, target, share, reward in zip(
        graph.source, graph.action, graph.target, graph.share, graph.reward, strict=True
    ):
        before, after = (graph.frames[graph.present[state]].tobytes() for state in (source, target))
        found.setdefault((before, int(action)), []).append((after, float(share), float(reward)))
    return found


def test_streams_depend_on_what_moves_them() -> None:
    found = parents(played(Clock(), 2000))
    assert found.view == View(present=(1, 2), before=(), background=0)
    assert set(found.motion[0]) == {(NOW, 0), ACTION}
    assert found.motion[1] == ((NOW, 1),)
    assert {stream for _, stream in found.outcome} == {0, 1}


def test_what_never_came_together_follows_from_its_parts() -> None:
    record = played(Clock(), 2000)
    known = parents(record)
    walker, hand = (record.frames[:, :4] == 1).argmax(axis=1), (record.frames[:, 4:] == 2).argmax(axis=1)
    lacking = (walker[record.before] == 2) & (hand[record.before] == 2) & (record.action == 1)
    whole, part = graph_of(record, 2, view=known.view), graph_of(without(record, lacking), 2, view=known.view)
    found = inferred(part, without(record, lacking), known)
    assert len(found.source) == len(part.source) + 1 == len(whole.source)
    expected = {pair: [(after, 1.0) for after, _, _ in some] for pair, some in edges(whole).items()}
    assert {pair: [(after, share) for after, share, _ in some] for pair, some in edges(found).items()} == expected
    rewarded = [pair for pair, some in edges(found).items() if some[0][2] > 0]
    assert len(rewarded) >= 1  # walker 3, hand 2, action 1 was seen with its reward
    assert all(edges(whole)[pair][0][2] == 1 for pair in rewarded)
    counted = np.isin(found.pair, part.pair)  # the states are the same
    assert np.array_equal(found.count[counted], part.count)
    assert found.count[~counted].item() > 0


def test_nothing_is_inferred_where_a_stream_was_never_so() -> None:
    record = played(Corridor(), 500)
    place = record.frames.argmax(axis=1)[record.before]
    part = without(record, (place == 1) & (record.action == 0))
    view = View(present=(1,), before=(), background=0)
    known = Parents(view=view, streams=((1,),), motion={0: ((NOW, 0), ACTION)}, main={0: 2}, outcome=((NEXT, 0),))
    graph = graph_of(part, 2, view=view)
    found = inferred(graph, part, known)
    assert sorted(zip(found.source, found.action, strict=True)) == sorted(zip(graph.source, graph.action, strict=True))


def test_steps_taken_too_rarely_are_inferred() -> None:
    record = played(Clock(), 2000)
    known = parents(record)
    graph = graph_of(record, 2, view=known.view)
    found = inferred(graph, record, known, least=10**9)
    assert [pair for pair, _ in sorted(edges(found).items())] == [pair for pair, _ in sorted(edges(graph).items())]
    assert {pair: some[0][0] for pair, some in edges(found).items()} == {
        pair: some[0][0] for pair, some in edges(graph).items()
    }
    assert (found.count > graph.count.max()).all()  # contexts are known better than states


@pytest.mark.parametrize("restart", [True, False])
def test_pong_is_foreseen_where_it_was_never_played(restart: bool) -> None:
    """Of the steps never taken, most are as in the game: the frame, or the end, and the reward."""
    game = Pong(rows=6, columns=5, restart=restart)
    record = played(game, 800)
    known = parents(record)
    graph = graph_of(record, 3, view=known.view)
    found = inferred(graph, record, known)
    taken = {
        (graph.previous[source], graph.present[source], action)
        for source, action in zip(graph.source, graph.action, strict=True)
    }
    right = wrong = 0
    for source, action, target, share, reward in zip(
        found.source, found.action, found.target, found.share, found.reward, strict=True
    ):
        before, now = found.previous[source], found.present[source]
        if (before, now, action) in taken or before < 0 or share < 0.5:
            continue
        last, present = (found.frames[row].reshape(6, 5) for row in (before, now))
        (row, column), (old_row, old_column) = (np.argwhere(frame == 2)[0] for frame in (present, last))
        paddle = np.flatnonzero(present[-1] == 1)
        game._row, game._column = int(row), int(column)
        game._down, game._right = int(row - old_row), int(column - old_column)
        game._paddle = int(paddle[0]) if len(paddle) else int(column)
        frame, gained, ended, _, _ = game.step(int(action))
        same = target == END if ended else np.array_equal(found.frames[found.present[target]], frame.reshape(-1))
        right, wrong = right + (same and (reward > 0) == (gained > 0)), wrong + (not same)
    assert right > 30
    assert wrong <= 0.05 * right


def test_an_outcome_never_met_is_told_by_its_parents_one_by_one() -> None:
    """p(o | x) / p(o) is (n(x, o) / p(o) + 1) / (n(x) + 1)."""
    cause, outcome = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    found = np.exp(factors._evidence(cause, outcome, np.array([0.5, 0.5])).toarray())
    assert np.allclose(found, [[1, 1], [5, 3], [1, 3], [1, 1]])


@pytest.mark.slow
def test_an_agent_that_does_not_infer_plans_on_what_it_counted(tmp_path: Path) -> None:
    agents = {}
    for infers in (True, False):
        agent = Agent(Pong.actions, infers=infers)
        learn(agent, Pong(), Pong(), 300, online=False, seed=0)
        path = tmp_path / f"{infers}.safetensors"
        save_agent(path, agent, "pong", "rewards", {})
        agents[infers] = read_agent(path).agent
        assert agents[infers].infers is infers
    counted = agents[False].plan()
    tried = np.bincount(counted.pair, counted.count, minlength=len(counted) * 3)
    assert tried[3:].min() == 0  # some state was left by some action never
    assert len(agents[True].plan()) > len(counted)
