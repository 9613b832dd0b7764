"""States that span two frames and the transitions between them, counted: a sparse graph."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import sparse

from rgm.planning.experience import Record

END = 0
"""The state in which episodes end."""
States = Int[ndarray, " states"]
Edges = Int[ndarray, " edges"]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """States and transitions.

    A state is a pair of successive frames, the one before (−1 where an episode begins) and the present one: a frame
    alone hides velocity. State 0 is the end of an episode. Edge e leads from `source[e]` by `action[e]` to `target[e]`;
    it was taken `count[e]` times, with mean reward `reward[e]`. Only edges that were seen are held.
    """

    frames: Int[ndarray, "frames cells"]
    previous: States
    present: States
    source: Edges
    action: Edges
    target: Edges
    count: Float[ndarray, " edges"]
    reward: Float[ndarray, " edges"]
    actions: int

    def __len__(self) -> int:
        """Return the number of states."""
        return len(self.present)

    @cached_property
    def number(self) -> dict[tuple[int, int], int]:
        """The state of a pair of frames."""
        pairs = zip(self.previous.tolist(), self.present.tolist(), strict=True)
        return {pair: state for state, pair in enumerate(pairs) if state != END}

    @cached_property
    def share(self) -> Float[ndarray, " edges"]:
        """p(target | source, action) of every edge."""
        pair = self.source * self.actions + self.action
        return self.count / np.bincount(pair, self.count, minlength=len(self) * self.actions)[pair]

    def transitions(self, action: int) -> sparse.csr_matrix:
        """Return p(target | source, action) as a sparse matrix (target, source).

        A state in which the action was never taken has the transitions of all its actions together.
        """
        n = len(self)
        tried = self.action == action
        known = np.bincount(self.source[tried], minlength=n) > 0
        used = tried | ~known[self.source]
        total = np.bincount(self.source[used], self.count[used], minlength=n)
        values = self.count[used] / total[self.source[used]]
        return sparse.csr_matrix((values, (self.target[used], self.source[used])), shape=(n, n))


def graph_of(record: Record, actions: int, *, least: int = 1) -> Graph:
    """Return the states and counted transitions of a record of steps, between states seen `least` times at least."""
    previous = np.where(record.follows, np.roll(record.before, 1), -1)
    source_pair = _pairs(previous, record.before, len(record.frames))
    target_pair = _pairs(record.before, record.after, len(record.frames))
    target_pair[record.ended] = -1
    states, visits = np.unique(target_pair, return_counts=True)
    rare = states[visits < least]
    steps = ~(np.isin(source_pair, rare) | np.isin(target_pair, rare))
    source_pair, target_pair = source_pair[steps], target_pair[steps]
    known, numbers = np.unique(np.concatenate([source_pair, target_pair, [-1]]), return_inverse=True)
    source, target = numbers[: len(source_pair)], numbers[len(source_pair) : -1]
    edges, edge = np.unique(np.stack([source, record.action[steps], target], axis=1), axis=0, return_inverse=True)
    edge = edge.reshape(-1)
    count = np.bincount(edge, minlength=len(edges)).astype(float)
    before, present = np.divmod(known, len(record.frames))
    return Graph(
        frames=record.frames,
        previous=np.where(known < 0, -1, before - 1),
        present=np.where(known < 0, -1, present),
        source=edges[:, 0],
        action=edges[:, 1],
        target=edges[:, 2],
        count=count,
        reward=np.bincount(edge, record.reward[steps], minlength=len(edges)) / count,
        actions=actions,
    )


def _pairs(previous: States, present: States, frames: int) -> Int[ndarray, " pairs"]:
    return (previous.astype(np.int64) + 1) * frames + present
