"""What an agent expects on its way, and what it believes."""

import numpy as np
import pytest
from tiny_games import Corridor, recorded

from rgm.errors import RGMError
from rgm.planning import Agent
from rgm.planning.course import Course
from rgm.planning.graph import END


@pytest.fixture(scope="module")
def walker() -> Agent:
    agent = Agent(actions=2)
    agent.experience = recorded(Corridor(length=5), 400)
    agent.plan()
    return agent


def test_the_way_of_a_corridor_goes_right_to_the_reward(walker: Agent) -> None:
    game, course = Corridor(length=5), Course.of(walker)
    frame, _ = game.reset()
    walker.begin(frame)
    assert walker.act(frame) == 1
    way = course.way(walker.state)
    graph = walker.planned
    places = [int(graph.frames[graph.present[state]].argmax()) for state in way]
    assert places == [0, 1, 2, 3]
    assert course.action[way].tolist() == [1, 1, 1, 1]
    assert course.reward[way].tolist() == [0, 0, 0, 1]
    assert course.follows[way[-1]] == END
    assert course.way(way[2], most=1) == [way[2]]
    assert graph.goals == 1


def test_a_belief_is_sure_of_what_was_seen_before_and_follows_the_action_taken(walker: Agent) -> None:
    game = Corridor(length=5)
    frame, _ = game.reset()
    walker.begin(frame)
    walker.act(frame)
    assert walker.belief[walker.state] == 1 == walker.belief.sum()
    assert not walker.filtered
    first = walker.foreseen()
    walker.took(0)
    other = walker.foreseen()
    assert first is not None
    assert other is not None
    assert (first.argmax(), other.argmax()) == (1, 0)
    walker.act(np.full((1, 5), -1))
    assert walker.filtered
    assert walker.belief.sum() == pytest.approx(1)
    assert int(walker.planned.frames[walker.planned.present[walker.state]].argmax()) == 0
    with pytest.raises(RGMError, match=r"an action must lie in 0 … 1, but is 2"):
        walker.took(2)
