"""States that span two frames and the transitions between them, counted: a sparse graph."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import sparse

from rgm.planning.experience import Record, distinct
from rgm.planning.streams import View, whole

END = 0
"""The state in which episodes end."""
States = Int[ndarray, " states"]
Edges = Int[ndarray, " edges"]
Steps = Int[ndarray, " steps"]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """States and transitions.

    A state is a pair of successive frames, as `view` shows them: the one before (−1 where an episode begins, or where
    the view shows nothing of it) and the present one, since a frame alone hides velocity. State 0 is the end of an
    episode. Edge e leads from `source[e]` by `action[e]` to `target[e]`; it was taken `count[e]` times, with mean
    reward `reward[e]`. Only edges that were seen are held.
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
    view: View

    def __len__(self) -> int:
        """Return the number of states."""
        return len(self.present)

    @property
    def goals(self) -> int:
        """Number of states in which an action was rewarded."""
        return len(np.unique(self.source[self.reward > 0]))

    @cached_property
    def number(self) -> dict[tuple[int, int], int]:
        """The state of a pair of frames."""
        pairs = zip(self.previous.tolist(), self.present.tolist(), strict=True)
        return {pair: state for state, pair in enumerate(pairs) if state != END}

    @cached_property
    def frame_number(self) -> dict[bytes, int]:
        """The row of `frames` that a frame is, by its bytes."""
        return {row.astype(np.int16).tobytes(): number for number, row in enumerate(self.frames)}

    @cached_property
    def pair(self) -> Edges:
        """The number of every edge's source and action, source · actions + action."""
        return self.source * self.actions + self.action

    @cached_property
    def share(self) -> Float[ndarray, " edges"]:
        """p(target | source, action) of every edge."""
        return self.count / np.bincount(self.pair, self.count, minlength=len(self) * self.actions)[self.pair]

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


def graph_of(record: Record, actions: int, *, view: View | None = None, least: int = 1) -> Graph:
    """Return the states and counted transitions of a record of steps.

    A state is what `view` shows of two successive frames (all by default). States seen less than `least` times are left
    out, with the steps from and to them.
    """
    view = whole(record) if view is None else view
    frames, source_pair, target_pair = _named(record, view)
    states, visits = np.unique(target_pair, return_counts=True)
    rare = states[visits < least]
    steps = ~(np.isin(source_pair, rare) | np.isin(target_pair, rare))
    source_pair, target_pair = source_pair[steps], target_pair[steps]
    known, numbers = np.unique(np.concatenate([source_pair, target_pair, [-1]]), return_inverse=True)
    source, target = numbers[: len(source_pair)], numbers[len(source_pair) : -1]
    edge_names = (source * actions + record.action[steps]) * len(known) + target
    edges, edge = np.unique(edge_names, return_inverse=True)
    pair, target = np.divmod(edges, len(known))
    source, action = np.divmod(pair, actions)
    count = np.bincount(edge, minlength=len(edges)).astype(float)
    previous, present = np.divmod(known, len(frames))
    return Graph(
        frames=frames,
        previous=np.where(known < 0, -1, previous - 1),
        present=np.where(known < 0, -1, present),
        source=source,
        action=action,
        target=target,
        count=count,
        reward=np.bincount(edge, record.reward[steps], minlength=len(edges)) / count,
        actions=actions,
        view=view,
    )


def states_of(record: Record, graph: Graph) -> tuple[Steps, Steps]:
    """Return the states that each step of a graph's own record leads from and to, −1 for those that are left out."""
    frames, *named = _named(record, graph.view)
    known = np.where(graph.present < 0, -1, _pairs(graph.previous, graph.present, len(frames)))
    found = []
    for pair in named:
        place = np.searchsorted(known, pair).clip(max=len(known) - 1)
        found.append(np.where(known[place] == pair, place, -1))
    return found[0], found[1]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Steps by the rows of `frames`, distinct ones that a view shows: of the frame before the step's first (−1: none),
    of the first, and of the second, as the present and as the one before that.
    """

    frames: Int[ndarray, "frames cells"]
    previous: Steps
    present: Steps
    before: Steps
    after: Steps

    @classmethod
    def of(cls, record: Record, view: View) -> "Shown":
        """Return the steps of a record."""
        now, last = (view.shown(record.frames, symbols) for symbols in (view.present, view.before))
        frames, numbers = distinct(np.concatenate([now, last]))
        now, last = np.split(numbers, 2)
        none = np.full(len(record), -1)
        return cls(
            frames=frames,
            previous=np.where(record.follows, last[np.roll(record.before, 1)], -1) if view.before else none,
            present=now[record.before],
            before=last[record.before] if view.before else none,
            after=now[record.after],
        )


def _named(record: Record, view: View) -> tuple[Int[ndarray, "frames cells"], Steps, Steps]:
    """Return the distinct frames that a view shows, and the pairs that steps lead from and to (−1: the end)."""
    steps = Shown.of(record, view)
    source_pair = _pairs(steps.previous, steps.present, len(steps.frames))
    target_pair = _pairs(steps.before, steps.after, len(steps.frames))
    target_pair[record.ended] = -1
    return steps.frames, source_pair, target_pair


def _pairs(previous: States, present: States, frames: int) -> Int[ndarray, " pairs"]:
    return (previous.astype(np.int64) + 1) * frames + present
