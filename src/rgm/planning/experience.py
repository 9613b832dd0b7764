"""What an agent has seen: distinct frames by number, and the steps between them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from rgm.errors import RGMError
from rgm.planning.environments import LARGEST_FRAME, LARGEST_SYMBOL, Frame

MOST_SYMBOLS = 8
"""With more symbols than these, a frame is one stream, else each symbol is one."""

Steps = Int[ndarray, " steps"]
Cells = Int[ndarray, "distinct cells"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Steps in order: the frame before, the action, the frame after, the reward, and whether the episode ended.

    `frames` are the distinct frames, one a row; `before` and `after` are rows of it. `follows` is true where a step
    begins with the frame that the step before it ended with.
    """

    frames: Cells
    before: Steps
    action: Steps
    after: Steps
    reward: Float[ndarray, " steps"]
    ended: Bool[ndarray, " steps"]
    follows: Bool[ndarray, " steps"]

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.before)

    @cached_property
    def symbols(self) -> tuple[int, ...]:
        """The symbols that occur."""
        return tuple(int(symbol) for symbol in np.unique(self.frames))

    @cached_property
    def background(self) -> int:
        """The symbol of most cells."""
        values, counts = np.unique(self.frames, return_counts=True)
        return int(values[counts.argmax()])


class Experience:
    """A growing record of steps, each distinct frame held once."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] | None = None
        self.numbers: dict[bytes, int] = {}
        self._steps: list[tuple[int, int, int, float, bool, bool]] = []
        self._last = -1

    @classmethod
    def of(cls, record: Record, shape: tuple[int, ...]) -> "Experience":
        """Return the experience that a record was made of."""
        found = cls()
        found.shape = shape
        found.numbers = {row.astype(np.int16).tobytes(): number for number, row in enumerate(record.frames)}
        columns = (record.before, record.action, record.after, record.reward, record.ended, record.follows)
        found._steps = list(zip(*(column.tolist() for column in columns), strict=True))
        return found

    def hold(self, record: Record) -> None:
        """Hold a part of the steps; an episode that is under way goes on where its last frame is held."""
        last = next((key for key, number in self.numbers.items() if number == self._last), None)
        held = Experience.of(record, self.shape or ())
        self.numbers, self._steps = held.numbers, held._steps
        goes_on = bool(self._steps) and last is not None and self.numbers.get(last) == self._steps[-1][2]
        self._last = self._steps[-1][2] if goes_on and not self._steps[-1][4] else -1

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self._steps)

    def key(self, frame: Frame) -> bytes:
        """Return a frame as bytes; raise RGMError for one of another shape, or symbols out of range."""
        if self.shape is None:
            self.shape = self._checked(frame)
        if frame.shape != self.shape:
            raise RGMError(f"the frames of this game are {self.shape}, but one is {frame.shape}")
        return frame.astype(np.int16).tobytes()

    def cells(self, key: bytes) -> Int[ndarray, " cells"]:
        """Return a frame's cells from its bytes."""
        return np.frombuffer(key, dtype=np.int16).astype(np.int64)

    def begin(self) -> None:
        """Note that the next step begins an episode."""
        self._last = -1

    def add(self, frame: Frame, action: int, after: Frame, reward: float, ended: bool) -> None:
        """Add a step; raise RGMError for hidden cells, which nothing can be learned from."""
        before, then = self._number(frame), self._number(after)
        self._steps.append((before, action, then, reward, ended, before == self._last))
        self._last = -1 if ended else then

    def record(self) -> Record:
        """Return all steps as arrays."""
        frames = np.frombuffer(b"".join(self.numbers), dtype=np.int16).astype(np.int64)
        columns = [np.array(column) for column in zip(*self._steps, strict=True)]
        before, action, after, reward, ended, follows = columns
        return Record(
            frames=frames.reshape(len(self.numbers), -1),
            before=before,
            action=action,
            after=after,
            reward=reward.astype(float),
            ended=ended.astype(bool),
            follows=follows.astype(bool),
        )

    def _number(self, frame: Frame) -> int:
        key = self.key(frame)
        if key not in self.numbers and int(frame.min()) < 0:
            raise RGMError("a frame to learn from has hidden cells (symbols below 0): show whole frames while learning")
        return self.numbers.setdefault(key, len(self.numbers))

    @staticmethod
    def _checked(frame: ndarray) -> tuple[int, ...]:
        if frame.ndim != 2 or not 0 < frame.size <= LARGEST_FRAME or not np.issubdtype(frame.dtype, np.integer):
            raise RGMError(
                f"a frame is an array of integers (rows, columns), at most {LARGEST_FRAME:,} of them, but got "
                f"{frame.dtype} of shape {frame.shape}"
            )
        if int(frame.max()) > LARGEST_SYMBOL:
            raise RGMError(f"symbols go up to {LARGEST_SYMBOL}, but a frame has {int(frame.max())}")
        return frame.shape


def distinct(cells: Int[ndarray, "some cells"]) -> tuple[Int[ndarray, "fewer cells"], Int[ndarray, " some"]]:
    """Return the distinct rows of symbols, and the number of the one that each row is."""
    rows = np.ascontiguousarray(cells, dtype=np.int16)
    whole = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).reshape(-1)
    _, first, numbers = np.unique(whole, return_index=True, return_inverse=True)
    return cells[first], numbers.reshape(-1)
