"""Playing: episodes of a game by a player, scored, and shown to whoever learns from them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from rgm.planning.environments import Environment, Frame

LEARNING_LIMIT, LIMIT = 200, 1000
"""Steps after which an episode is cut, while learning (so that many beginnings are seen) and in evaluation."""
LEARN, EVALUATE, RANDOM, SHOW = range(4)
"""What episodes are for: seeds of one are never those of another."""
Seen = Callable[[Frame, int, Frame, float, bool], None]


@runtime_checkable
class Player(Protocol):
    """Chooses actions: `begin` with the first frame of an episode, then `act` at every frame."""

    def begin(self, frame: Frame) -> None:
        """Begin an episode."""
        ...

    def act(self, frame: Frame) -> int:
        """Return an action."""
        ...


class RandomPlayer:
    """Plays any action with equal probability."""

    def __init__(self, actions: int, seed: tuple[int, ...]) -> None:
        self.actions, self._random = actions, np.random.default_rng(seed)

    def begin(self, frame: Frame) -> None:
        """Do nothing."""

    def act(self, frame: Frame) -> int:  # noqa: ARG002 - whatever it is
        """Return an action."""
        return int(self._random.integers(self.actions))


@dataclass(frozen=True, kw_only=True)
class Score:
    """What episodes brought. A hit is a step with a reward above zero; a miss has one below, or ends without one."""

    steps: int
    episodes: int
    reward: float
    hits: int
    misses: int
    elapsed_s: float = field(compare=False)

    def measures(self) -> dict[str, float | int]:
        """Return the measures by name."""
        thousand = 1000 / max(1, self.steps)
        return {
            "steps": self.steps,
            "episodes": self.episodes,
            "reward_per_1000": self.reward * thousand,
            "hits_per_1000": self.hits * thousand,
            "misses_per_1000": self.misses * thousand,
            "reward_per_episode": self.reward / max(1, self.episodes),
        }


def play(
    game: Environment,
    player: Player,
    steps: int,
    seed: tuple[int, ...],
    *,
    limit: int = LIMIT,
    whole: bool = True,
    seen: Seen | None = None,
) -> Score:
    """Play episodes, each of at most `limit` steps, until `steps` are done; with `whole`, the last to its end.

    Episode e begins with `game.reset(seed=…)` of (seed, e). `seen` is called with every step.
    """
    done = episodes = hits = misses = 0
    total, start = 0.0, time.perf_counter()
    while done < steps:
        frame, _ = game.reset(seed=int(np.random.SeedSequence((*seed, episodes)).generate_state(1)[0]))
        player.begin(frame)
        episodes += 1
        for _ in range(limit if whole else min(limit, steps - done)):
            action = player.act(frame)
            after, reward, ended, cut, _ = game.step(action)
            if seen is not None:
                seen(frame, action, after, reward, ended)
            done, total, hits = done + 1, total + reward, hits + (reward > 0)
            misses += reward < 0 or (ended and reward == 0)
            frame = after
            if ended or cut:
                break
    elapsed = time.perf_counter() - start
    return Score(steps=done, episodes=episodes, reward=total, hits=hits, misses=misses, elapsed_s=elapsed)
