"""Streams found by what they tell about rewards."""

import numpy as np
import pytest
from tiny_games import played

from rgm.planning.environments import Catch, Pong
from rgm.planning.experience import Record
from rgm.planning.graph import graph_of
from rgm.planning.streams import View, parents, whole


def lights(steps: int) -> Record:
    """Return a record of two lights that go on and off by chance, and the first is the reward."""
    random = np.random.default_rng(0)
    on = random.integers(2, size=(steps + 1, 2))
    frames = np.array([[first, 2 * second, 0, 0, 0] for first in (0, 1) for second in (0, 1)])
    number = 2 * on[:, 0] + on[:, 1]
    first = on[:-1, 0]
    return Record(
        frames=frames,
        before=number[:-1],
        action=random.integers(2, size=steps),
        after=number[1:],
        reward=first.astype(float),
        ended=np.zeros(steps, dtype=bool),
        follows=np.arange(steps) > 0,
    )


def test_a_light_that_tells_nothing_is_left_out() -> None:
    assert parents(lights(2000)).view == View(present=(1,), before=(), background=0)


def test_a_state_of_the_second_light_cannot_tell_the_reward() -> None:
    record = lights(2000)
    for symbols, states in (((1,), 2), ((2,), 2), ((1, 2), 4)):
        graph = graph_of(record, 2, view=View(present=symbols, before=(), background=0))
        assert len(graph) == states + 1  # and the end
        known = np.isin(graph.reward, (0.0, 1.0)).all()
        assert known == (1 in symbols)


@pytest.mark.parametrize(("game", "before"), [(Pong(rows=6, columns=5), (2,)), (Catch(rows=6, columns=5), ())])
def test_ball_and_paddle_are_found(game: Pong | Catch, before: tuple[int, ...]) -> None:
    """The ball's velocity matters in Pong and not in Catch, the paddle's in neither."""
    assert parents(played(game, 3000)).view == View(present=(1, 2), before=before, background=0)


def test_what_a_view_shows() -> None:
    view = whole(lights(10))
    assert view == View(present=(0, 1, 2), before=(0, 1, 2), background=0)
    frame = np.array([1, 2, 0, -1, 3])
    assert view.shown(frame, (1,)).tolist() == [1, 0, 0, -1, 0]
