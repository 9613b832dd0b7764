"""A small agent that plays Catch, for the page."""

import numpy as np

from rgm.explorer.play import PlayExplorer
from rgm.planning import Agent
from rgm.planning.environments import Catch
from rgm.planning.streams import View


def play_service() -> PlayExplorer:
    """Return the service of an agent that learned Catch of 6 × 5 cells from 4,000 frames of random play."""
    view = View(present=(1, 2), before=(), background=0)
    game, agent, random = Catch(rows=6, columns=5), Agent(actions=3, view=view), np.random.default_rng(0)
    frame, _ = game.reset(seed=0)
    agent.begin(frame)
    for _ in range(4000):
        action = int(random.integers(3))
        after, reward, ended, _, _ = game.step(action)
        agent.observe(frame, action, after, reward, ended)
        frame = after
    agent.plan()
    return PlayExplorer(
        agent, Catch(rows=6, columns=5), "catch", "an agent", 4000, {"hits_per_1000": 166.7, "misses_per_1000": 0.0}
    )
