"""An agent learns to play from what it is shown."""

import numpy as np
import pytest
from tiny_games import Corridor

from rgm.errors import RGMError
from rgm.planning import Agent
from rgm.planning.environments import Disturbed, Environment, Pong


def watch(agent: Agent, game: Environment, steps: int, seed: int = 0) -> None:
    """Show an agent random play, in episodes of at most 500 steps."""
    random, left = np.random.default_rng(seed), 0
    for step in range(steps):
        if not left:
            frame, _ = game.reset(seed=seed if not step else None)
            agent.begin(frame)
            left = 500
        action = int(random.integers(game.actions))
        after, reward, ended, _, _ = game.step(action)
        agent.observe(frame, action, after, reward, ended)
        frame, left = after, 0 if ended else left - 1


def score(agent: Agent, game: Environment, steps: int, seed: int = 100) -> tuple[int, int]:
    """Return hits and misses in play."""
    hits = misses = 0
    frame, _ = game.reset(seed=seed)
    agent.begin(frame)
    for _ in range(steps):
        frame, reward, ended, _, _ = game.step(agent.act(frame))
        hits, misses = hits + (reward > 0), misses + (reward < 0)
        if ended:
            frame, _ = game.reset()
            agent.begin(frame)
    return hits, misses


def test_a_corridor_is_walked_straight() -> None:
    agent = Agent(2)
    watch(agent, Corridor(), 300)
    agent.plan()
    assert score(agent, Corridor(), 30) == (10, 0)


def test_small_pong_is_played_without_a_miss() -> None:
    game, agent = Pong(rows=6, columns=5, restart=False), Agent(3)
    watch(agent, game, 3000)
    agent.plan()
    assert score(agent, game, 300) == (30, 0)
    hits, misses = score(agent, Disturbed(game, hide=0.5), 300)
    assert hits + misses == 30
    assert misses <= 1


def test_what_is_refused() -> None:
    frame = np.zeros((1, 3), dtype=np.int64)
    with pytest.raises(RGMError, match="the number of actions must lie in 2 … "):
        Agent(1)
    agent = Agent(2)
    with pytest.raises(RGMError, match="nothing was observed yet"):
        agent.plan()
    with pytest.raises(RGMError, match="there is no plan yet"):
        agent.act(frame)
    with pytest.raises(RGMError, match="actions are 0 … 1, but 2 was observed"):
        agent.observe(frame, 2, frame, 0.0, False)
    with pytest.raises(RGMError, match="a reward must be finite"):
        agent.observe(frame, 0, frame, float("nan"), False)
