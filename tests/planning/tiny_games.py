"""Games so small that all about them can be enumerated."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rgm.planning.environments import Environment, Frame
from rgm.planning.experience import Experience, Record


@dataclass
class Corridor:
    """A walk along a row of cells from the left: action 1 goes right, 0 left; a reward of 1 at the right ends it."""

    length: int = 4
    actions: ClassVar[int] = 2

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        self.place = 0
        return self._frame(), {"seed": seed}

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        self.place = max(0, self.place + (1 if action else -1))
        there = self.place == self.length - 1
        return self._frame(), float(there), there, False, {}

    def _frame(self) -> Frame:
        frame = np.zeros((1, self.length), dtype=np.int64)
        frame[0, self.place] = 1
        return frame


def played(game: Environment, steps: int, seed: int = 0) -> Record:
    """Return a record of random play."""
    return recorded(game, steps, seed).record()


def recorded(game: Environment, steps: int, seed: int = 0) -> Experience:
    """Return the experience of random play."""
    experience, random = Experience(), np.random.default_rng(seed)
    frame, _ = game.reset(seed=seed)
    experience.begin()
    for _ in range(steps):
        action = int(random.integers(game.actions))
        after, reward, ended, _, _ = game.step(action)
        experience.add(frame, action, after, reward, ended)
        frame = after
        if ended:
            frame, _ = game.reset()
            experience.begin()
    return experience
