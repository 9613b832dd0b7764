"""What is forgotten, and that expected rewards stay as they are."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from tiny_games import Corridor, recorded

from rgm.planning import Agent
from rgm.planning.environments import Frame
from rgm.planning.experience import Experience
from rgm.planning.forgetting import barren
from rgm.planning.graph import graph_of
from rgm.planning.streams import View

VIEW = View(present=(1,), before=(), background=0)
DISCOUNT = 0.98


@dataclass
class Pit:
    """At cell 0, action 1 leads to cell 1 and from there to a reward that ends it; action 0 into a pit.

    In the pit, cells 2 to 4 follow each other whatever is done, at a cost of 1/2 a round. Episodes have at most 20
    steps.
    """

    actions: ClassVar[int] = 2

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        self.place, self.steps = 0, 0
        return self._frame(), {"seed": seed}

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        before = self.place
        self.place = [1 if action else 2, 0 if not action else 1, 3, 4, 2][before]
        ended = before == 1 and action == 1
        reward = 1.0 if ended else -0.5 if before == 4 else 0.0
        return self._frame(), reward, ended, self.steps == 20, {}

    def _frame(self) -> Frame:
        frame = np.zeros((1, 5), dtype=np.int64)
        frame[0, self.place] = 1
        return frame


def experienced(steps: int = 2000) -> tuple[Experience, list[int]]:
    """Return the experience of random play, and the cell in which each step began."""
    game, experience, random = Pit(), Experience(), np.random.default_rng(0)
    frame, cells = game.reset()[0], []
    for _ in range(steps):
        action = int(random.integers(2))
        cells.append(int(frame.argmax()))
        after, reward, ended, cut, _ = game.step(action)
        experience.add(frame, action, after, reward, ended)
        frame = after
        if ended or cut:
            frame, _ = game.reset()
            experience.begin()
    return experience, cells


def values(agent: Agent) -> dict[int, list[float]]:
    graph = agent.planned
    places = {int(graph.frames[graph.present[state]].argmax()): state for state in range(1, len(graph))}
    return {place: agent.values[state].tolist() for place, state in places.items()}


def test_a_pit_is_forgotten_and_the_plan_stays() -> None:
    agent = Agent(2, view=VIEW)
    agent.experience, cells = experienced()
    agent.plan()
    before = values(agent)
    assert set(before) == {0, 1, 2, 3, 4}
    in_pit = DISCOUNT**2 * -0.5 / (1 - DISCOUNT**3)
    assert before[2] == pytest.approx([in_pit] * 2, abs=1e-4)
    agent.memory = 1000
    outside = sum(cell < 2 for cell in cells)
    assert outside < 1000 < len(agent.experience)
    agent.plan()
    assert len(agent.experience) == outside
    after = values(agent)
    assert set(after) == {0, 1}
    for place, found in after.items():
        assert found == pytest.approx(before[place], abs=1e-4)
    assert after[0][0] == pytest.approx(DISCOUNT * in_pit, abs=1e-4)
    record = agent.experience.record()
    assert len(record.frames) == 3  # cells 0 and 1, and the pit's first one, into which steps lead
    assert not record.follows[0]
    kept = agent.experience.record().reward.tolist()
    agent.plan()
    assert agent.experience.record().reward.tolist() == kept


def test_what_was_never_tried_may_lead_to_a_goal() -> None:
    experience = Experience()
    cells = np.eye(4, dtype=np.int64)[:, None]
    for place, action, after in ((0, 0, 1), (1, 0, 2), (1, 1, 2), (2, 0, 2)):
        experience.add(cells[place], action, cells[after], 0.0, False)
        experience.begin()
    assert not barren(graph_of(experience.record(), 2, view=VIEW)).any()
    experience.add(cells[2], 1, cells[2], -1.0, False)
    graph = graph_of(experience.record(), 2, view=VIEW)
    found = {int(graph.frames[graph.present[state]].argmax()) for state in np.flatnonzero(barren(graph))}
    assert found == {1, 2}  # in cell 0, action 1 was never tried


def test_the_oldest_episodes_are_forgotten_where_all_lead_to_the_goal() -> None:
    agent = Agent(2, memory=50)
    agent.experience = recorded(Corridor(), 400)
    steps = agent.experience.record()
    agent.plan()
    record = agent.experience.record()
    assert 30 < len(record) <= 50
    assert not record.follows[0]
    assert record.reward.tolist() == steps.reward[-len(record) :].tolist()
    frames = record.frames[record.after]
    assert np.array_equal(frames, steps.frames[steps.after][-len(record) :])
    game = Corridor()
    frame, _ = game.reset()
    agent.begin(frame)
    assert agent.act(frame) == 1
