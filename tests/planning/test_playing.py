"""Episodes, scores and rounds of learning."""

import numpy as np
import pytest
from tiny_games import Corridor

from rgm.planning import Agent, learning
from rgm.planning.environments import Catch
from rgm.planning.film import film
from rgm.planning.learning import Round, learn, round_sizes
from rgm.planning.playing import RandomPlayer, Score, play


class Right:
    """Always goes right."""

    def begin(self, frame: np.ndarray) -> None:
        self.first = frame

    def act(self, frame: np.ndarray) -> int:
        assert frame.shape == self.first.shape
        return 1


def test_a_score_counts_whole_episodes() -> None:
    score = play(Corridor(), Right(), 10, (0,))
    assert (score.steps, score.episodes, score.hits, score.misses) == (12, 4, 4, 0)
    measures = score.measures()
    assert measures["reward_per_episode"] == 1.0
    assert measures["hits_per_1000"] == pytest.approx(1000 / 3)
    cut = play(Corridor(), Right(), 10, (0,), whole=False)
    assert (cut.steps, cut.episodes, cut.hits) == (10, 4, 3)
    assert play(Corridor(length=9), Right(), 10, (0,), limit=5).hits == 0


def test_an_end_without_a_reward_is_a_miss() -> None:
    class Trap(Corridor):
        def step(self, action: int):
            frame, _, ended, cut, info = super().step(action)
            return frame, 0.0, ended, cut, info

    score = play(Trap(), Right(), 9, (0,))
    assert (score.hits, score.misses) == (0, 3)


def test_seeds_fix_play() -> None:
    def once(seed: int) -> Score:
        return play(Catch(), RandomPlayer(3, (seed,)), 100, (seed,))

    assert once(1) == once(1)
    assert once(1) != once(2)


@pytest.mark.parametrize("frames", [100, 999, 10_000])
@pytest.mark.parametrize("online", [True, False])
def test_rounds_add_up(frames: int, online: bool) -> None:
    assert sum(round_sizes(frames, online)) == frames


@pytest.mark.parametrize("online", [False, pytest.param(True, marks=pytest.mark.slow)])  # a plan every 20 frames
def test_rounds_go_on_where_they_stopped(online: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    game = Catch(rows=4, columns=3)

    monkeypatch.setattr(learning, "LIMIT", 100)
    monkeypatch.setattr(learning, "CURVE_STEPS", 100)

    def learned(agent: Agent, rounds: list[Round], first: int, stop: int) -> None:
        def after(one: Round) -> None:
            rounds.append(one)
            if len(rounds) == stop:
                raise KeyboardInterrupt

        learn(agent, game, Catch(rows=4, columns=3), 600, online=online, seed=4, first=first, after=after)

    whole, parts = list[Round](), list[Round]()
    learned(Agent(3), whole, 0, -1)
    agent = Agent(3)
    with pytest.raises(KeyboardInterrupt):
        learned(agent, parts, 0, 4)
    learned(agent, parts, 4, -1)
    assert parts == whole
    assert whole[-1].frames == 600
    assert whole[-1].score.measures()["hits_per_1000"] == 250  # every fruit
    assert Round.of(whole[0].numbers()) == whole[0]


def test_a_film_shows_what_was_expected() -> None:
    game, agent = Corridor(), Agent(2)
    learn(agent, game, game, 400, online=False, seed=0)
    made, events = film(agent, game, 0, steps=9)
    assert made.action.tolist() == [1] * 9
    assert made.reward.tolist() == [0, 0, 1] * 3
    assert np.array_equal(made.seen, made.expected)
    assert sorted(events.steps.tolist()) == [0, 1, 2]
    goal = int(events.steps.argmin())
    assert events.next[events.steps == 1].tolist() == [goal]
    assert events.visits.tolist() == [3, 3, 3]
