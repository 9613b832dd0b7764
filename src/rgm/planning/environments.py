"""Games of small frames with the interface of gymnasium: Pong, Breakout and Catch; and any environment of gymnasium."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer
from numpy import ndarray

from rgm.errors import RGMError, unknown

Frame = Integer[ndarray, "rows columns"]
LARGEST_FRAME = 4096
"""Cells of a frame, at most."""
LARGEST_SYMBOL = 2**15 - 1


@runtime_checkable
class Environment(Protocol):
    """A game: `reset` begins an episode and `step` takes an action, as in gymnasium.

    Frames are integer arrays (rows, columns) of symbols. `step` returns the next frame, the reward, whether the episode
    has ended, whether it was cut short, and further information.
    """

    @property
    def actions(self) -> int:
        """The number of actions, which are 0 … actions − 1."""
        ...

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Begin an episode; a seed makes it and those after it reproducible."""
        ...

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Take an action."""
        ...


PADDLE, BALL, BRICK = 1, 2, 3


@dataclass
class Pong:
    """A ball between walls and a paddle at the bottom: 12 × 9 cells, a reward for each hit, a cost for each miss.

    The ball moves a row and a column a step. At the bottom row it is hit if the paddle is below it, and missed
    otherwise; with `restart` a miss ends the episode, else the ball bounces off the floor. `reset` puts ball and paddle
    at random. Actions: left, stay, right.
    """

    rows: int = 12
    columns: int = 9
    width: int = 1
    restart: bool = True
    actions: ClassVar[int] = 3
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0), repr=False)

    def __post_init__(self) -> None:
        """Raise RGMError for a board that is too small."""
        if self.rows < 3 or self.columns < 3 or not 1 <= self.width < self.columns:
            raise RGMError(
                f"a board has at least 3 × 3 cells and a paddle shorter than a row, not {self.rows} × {self.columns} "
                f"with a paddle of {self.width}"
            )

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Begin an episode with the ball at the top, moving down, at random columns."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._row, self._column = 0, int(self._random.integers(self.columns))
        self._down, self._right = 1, int(self._random.choice((-1, 1)))
        self._paddle = int(self._random.integers(self.columns - self.width + 1))
        return self._frame(), {}

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Move the paddle, then the ball; the reward is 1 for a hit and −1 for a miss."""
        self._paddle = min(max(self._paddle + action - 1, 0), self.columns - self.width)
        if not 0 <= self._column + self._right < self.columns:
            self._right = -self._right
        if not 0 <= self._row + self._down < self.rows:
            self._down = -self._down
        self._row, self._column = self._row + self._down, self._column + self._right
        if self._row < self.rows - 1:
            return self._frame(), 0.0, False, False, {}
        hit = self._paddle <= self._column < self._paddle + self.width
        return self._frame(), 1.0 if hit else -1.0, self.restart and not hit, False, {}

    def _frame(self) -> Frame:
        frame = np.zeros((self.rows, self.columns), dtype=np.int64)
        frame[-1, self._paddle : self._paddle + self.width] = PADDLE
        frame[self._row, self._column] = BALL
        return frame


@dataclass
class Catch:
    """Fruit that falls a row a step and a basket below it: a reward for each that is caught, a cost for each missed.

    Each fruit begins at a random column as soon as the last one is down. Actions: left, stay, right.
    """

    rows: int = 10
    columns: int = 7
    actions: ClassVar[int] = 3
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0), repr=False)

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Begin an episode with a fruit at the top."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._basket = int(self._random.integers(self.columns))
        self._row, self._column = 0, int(self._random.integers(self.columns))
        return self._frame(), {}

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Move the basket, then the fruit; the reward is 1 for a catch and −1 for a miss."""
        self._basket = min(max(self._basket + action - 1, 0), self.columns - 1)
        if self._row == self.rows - 1:
            self._row, self._column = 0, int(self._random.integers(self.columns))
        else:
            self._row += 1
        reward = 0.0
        if self._row == self.rows - 1:
            reward = 1.0 if self._basket == self._column else -1.0
        return self._frame(), reward, False, False, {}

    def _frame(self) -> Frame:
        frame = np.zeros((self.rows, self.columns), dtype=np.int64)
        frame[-1, self._basket] = PADDLE
        frame[self._row, self._column] = BALL
        return frame


@dataclass
class Breakout:
    """A ball, a paddle and three rows of bricks on 10 × 10 cells: a reward for each brick, and a miss ends the episode.

    The ball moves a row and a column a step and turns where it breaks a brick. With probability `sticky` the last
    action is repeated in place of the one given. When all bricks are gone, new ones appear. Actions: left, stay, right.
    """

    side: int = 10
    sticky: float = 0.1
    actions: ClassVar[int] = 3
    _random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0), repr=False)

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Begin an episode with all bricks, and the ball below them at the left or right wall."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._row, self._down = 4, 1
        self._column, self._right = ((0, 1), (self.side - 1, -1))[int(self._random.integers(2))]
        self._paddle, self._last = self.side // 2, 1
        self._bricks = np.zeros((self.side, self.side), dtype=bool)
        self._bricks[1:4] = True
        return self._frame(), {}

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Move the paddle, then the ball."""
        if self._random.random() < self.sticky:
            action = self._last
        self._last = action
        self._paddle = min(max(self._paddle + action - 1, 0), self.side - 1)
        if not 0 <= self._column + self._right < self.side:
            self._right = -self._right
        column, row = self._column + self._right, self._row + self._down
        reward, ended = 0.0, False
        if row < 0:
            row, self._down = 0, 1
        elif self._bricks[row, column]:
            self._bricks[row, column] = False
            reward, row, self._down = 1.0, self._row, -self._down
        elif row == self.side - 1:
            if not self._bricks.any():
                self._bricks[1:4] = True
            if column == self._paddle:
                row, self._down = self._row, -1
            elif self._column == self._paddle:  # the edge of the paddle: straight back
                row, column, self._down, self._right = self._row, self._column, -1, -self._right
            else:
                ended = True
        self._row, self._column = row, column
        return self._frame(), reward, ended, False, {}

    def _frame(self) -> Frame:
        frame = np.where(self._bricks, BRICK, 0)
        frame[-1, self._paddle] = PADDLE
        frame[self._row, self._column] = BALL
        return frame


BUILT_IN: dict[str, Callable[[], Environment]] = {"pong": Pong, "breakout": Breakout, "catch": Catch}
"""The games that need no other package."""


def action_names(game: Environment) -> tuple[str, ...]:
    """Return the names of a game's actions, numbers where it has none."""
    if isinstance(game, Pong | Catch | Breakout):
        return ("left", "stay", "right")
    return tuple(str(action) for action in range(game.actions))


class Gymnasium:
    """An environment of gymnasium with discrete actions and frames of integers, (rows, columns) or (n,)."""

    def __init__(self, name: str) -> None:
        """Raise RGMError where gymnasium or the environment is missing, or actions or frames do not fit."""
        try:
            import gymnasium  # an extra, and only where it is asked for
        except ImportError:
            raise RGMError(
                f"{name} is none of {', '.join(BUILT_IN)}, and other environments need gymnasium: "
                "pip install 'rgm[play]'"
            ) from None
        try:
            self._inner = gymnasium.make(name)
        except gymnasium.error.Error as error:
            raise RGMError(f"gymnasium has no environment {name}: {' '.join(str(error).split())}") from None
        actions, frames = self._inner.action_space, self._inner.observation_space
        if not isinstance(actions, gymnasium.spaces.Discrete):
            raise RGMError(f"{name} has actions of {actions}: an agent chooses among discrete ones")
        discrete = isinstance(frames, gymnasium.spaces.Discrete)
        whole = isinstance(frames, gymnasium.spaces.Box) and np.issubdtype(frames.dtype, np.integer)
        shape = frames.shape or ()
        if not discrete and not (whole and len(shape) <= 2 and int(np.prod(shape)) <= LARGEST_FRAME):
            raise RGMError(
                f"{name} has observations of {frames}: an agent takes integers in up to two dimensions, at most "
                f"{LARGEST_FRAME:,} of them"
            )
        self.actions, self._start = int(actions.n), int(actions.start)

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Begin an episode."""
        frame, info = self._inner.reset(seed=seed)
        return self._frame(frame), info

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Take an action."""
        frame, reward, terminated, truncated, info = self._inner.step(self._start + action)
        return self._frame(frame), float(reward), bool(terminated), bool(truncated), info

    def _frame(self, frame: Any) -> Frame:
        return np.atleast_2d(np.asarray(frame, dtype=np.int64))


def make(name: str) -> Environment:
    """Return a built-in game, or an environment of gymnasium by its id; raise RGMError where there is none."""
    if name in BUILT_IN:
        return BUILT_IN[name]()
    if "-v" not in name and "/" not in name:
        raise unknown("environment", name, [*BUILT_IN, "the id of an environment of gymnasium, such as Taxi-v3"])
    return Gymnasium(name)


@dataclass
class Disturbed:
    """A game whose frames are seen badly.

    A cell shows another symbol with probability `flip`, and is hidden (−1) with probability `hide`. An episode that
    begins with a seed is disturbed by this seed and the game's own, whatever came before it.
    """

    inner: Environment
    flip: float = 0.0
    hide: float = 0.0
    symbols: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise RGMError for probabilities out of range."""
        for name, share in (("flip", self.flip), ("hide", self.hide)):
            if not 0 <= share < 1:
                raise RGMError(f"--{name} is the share of cells, from 0 to less than 1, but is {share}")
        self.actions = self.inner.actions
        self._random = np.random.default_rng(self.seed)

    def reset(self, *, seed: int | None = None) -> tuple[Frame, dict[str, Any]]:
        """Begin an episode."""
        if seed is not None:
            self._random = np.random.default_rng((self.seed, seed))
        frame, info = self.inner.reset(seed=seed)
        return self._seen(frame), info

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Take an action."""
        frame, reward, terminated, truncated, info = self.inner.step(action)
        return self._seen(frame), reward, terminated, truncated, info

    def _seen(self, frame: Frame) -> Frame:
        if self.flip:
            flipped = self._random.random(frame.shape) < self.flip
            others = self._random.integers(1, self.symbols, frame.shape)
            frame = np.where(flipped, (frame + others) % self.symbols, frame)
        if self.hide:
            frame = np.where(self._random.random(frame.shape) < self.hide, -1, frame)
        return frame
