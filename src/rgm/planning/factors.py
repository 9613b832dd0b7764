"""Transitions that factor over streams: what follows where a state and an action never came together."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import sparse

from rgm.planning.experience import Cells, Record, distinct
from rgm.planning.graph import END, Graph, Shown
from rgm.planning.streams import NEXT, Parents, Variable, patterns_of, variables

EXCEPTION = 0.05
"""A smaller share of what follows a context is an exception, which is not expected elsewhere."""
MOST_GROWTH = 4
"""States for each one that was seen, after which no more are inferred."""
DOUBT = 0.5
"""Count of a step that rests on a context that never occurred."""
Numbers = Int[ndarray, " _"]
Shares = Float[ndarray, " _"]


def inferred(graph: Graph, record: Record, parents: Parents, *, least: int = 1) -> Graph:
    """Return a record's graph with edges for actions that were never tried, and the states that these lead to.

    Every stream x moves by its parents, and what comes of a step, o, follows from those of the outcome:

        p(s', o | s, a) = Π_x p(x' | parents of x in s, a) · p(o | parents of o in s, a, s')

    by counts. Where the main parents of a stream leave no doubt, they are enough; else all of them count, as where a
    ball meets a paddle. Where the parents of a stream never were as they are in s, nothing is inferred; where those of
    the outcome never were, p(o | x, y, …) ∝ p(o) · p(o | x) / p(o) · p(o | y) / p(o) · …. What follows less often than
    the share `EXCEPTION` is left out. In a frame, patterns are painted over each other, those first that are hidden
    most often; a stream is taken to have the largest pattern that a frame may hide. An edge has the count of the least
    known of its contexts. Actions taken less than `least` times are inferred as well, where that is possible.
    """
    if not parents.motion or not set(graph.view.before) <= set(graph.view.present):
        return graph
    factors = _Factors(graph, record, parents)
    pairs = list(zip(graph.previous.tolist(), graph.present.tolist(), strict=True))
    number = dict(graph.number)
    taken = np.bincount(graph.pair, graph.count, minlength=len(graph) * graph.actions)
    rare = np.flatnonzero(taken < least)
    work, edges = rare[rare // graph.actions != END], list[_Edges]()
    while len(work):
        state, action = np.divmod(work, graph.actions)
        previous, present = np.array([pairs[one] for one in state.tolist()]).T
        ahead = factors.ahead(previous, present, action)
        known, target = len(pairs), np.full(len(ahead.place), END)
        for edge in np.flatnonzero(~ahead.ended).tolist():
            pair = int(ahead.previous[edge]), int(ahead.present[edge])
            target[edge] = number.setdefault(pair, len(pairs))
            if target[edge] == len(pairs):
                pairs.append(pair)
        edges.append(_Edges(state[ahead.place], action[ahead.place], target, ahead.count, ahead.reward))
        if len(pairs) > MOST_GROWTH * len(graph):
            break
        work = np.arange(known * graph.actions, len(pairs) * graph.actions)
    return _joined(graph, np.stack(factors.layers.frames), np.array(pairs), edges)


@dataclass(frozen=True)
class _Edges:
    source: Numbers
    action: Numbers
    target: Numbers
    count: Shares
    reward: Shares


@dataclass(frozen=True, kw_only=True)
class _Ahead:
    """What follows: of which step (its place), as which pair of frames or the end, how often, with which reward."""

    place: Numbers
    previous: Numbers
    present: Numbers
    ended: Bool[ndarray, " _"]
    count: Shares
    reward: Shares


class _Contexts:
    """What came after each context, a tuple of values of variables, counted; `columns` has one a variable."""

    def __init__(self, columns: Sequence[Numbers], value: Numbers, least: float = 0.0) -> None:
        self._sizes = [int(column.max()) + 2 for column in columns]
        values = int(value.max()) + 1
        pairs, counts = np.unique(self._named(columns, len(value)) * values + value, return_counts=True)
        name, number = np.divmod(pairs, values)
        self.names, row = np.unique(name, return_inverse=True)
        self.total = np.bincount(row, counts)
        kept = counts >= least * self.total[row]
        row, self.value, share = row[kept], number[kept], counts[kept].astype(float)
        self.share = share / np.bincount(row, share, minlength=len(self.names))[row]
        self.number = np.bincount(row, minlength=len(self.names))
        self._first = np.cumsum(self.number) - self.number

    def rows(self, columns: Sequence[Numbers], length: int) -> Numbers:
        """Return the number of each context, −1 where it never occurred."""
        names = self._named(columns, length)
        place = np.searchsorted(self.names, names).clip(max=len(self.names) - 1)
        return np.where(self.names[place] == names, place, -1)

    def entries(self, rows: Numbers) -> tuple[Numbers, Numbers]:
        """Return all that came after each context: its place in `rows`, and the place in `value` and `share`."""
        number = self.number[rows]
        place = np.repeat(np.arange(len(rows)), number)
        offset = np.arange(len(place)) - np.repeat(np.cumsum(number) - number, number)
        return place, self._first[rows][place] + offset

    def _named(self, columns: Sequence[Numbers], length: int) -> Numbers:
        """Return contexts as numbers; values from −1 on, all that are above the known ones as one."""
        found = np.zeros(length, dtype=np.int64)
        for column, size in zip(columns, self._sizes, strict=True):
            found = found * (size + 1) + column.clip(max=size - 1) + 1
        return found


class _Motion:
    """What a stream shows next: after its main parents where these leave no doubt, else after all of them."""

    def __init__(self, seen: dict[Variable, Numbers], names: Sequence[Variable], main: int, stream: int) -> None:
        self._names, self._main = names, main
        columns = [seen[name] for name in names]
        self._few, self._all = (_Contexts(columns[:most], seen[NEXT, stream], EXCEPTION) for most in (main, None))
        self.total = np.append(self._few.total, self._all.total)
        self.value = np.append(self._few.value, self._all.value)
        self.share = np.append(self._few.share, self._all.share)

    def rows(self, here: dict[Variable, Numbers], length: int) -> Numbers:
        """Return the number of each context, −1 where it never occurred; those of all parents follow the main ones'."""
        columns = [here[name] for name in self._names]
        few, every = self._few.rows(columns[: self._main], length), self._all.rows(columns, length)
        sure = (few >= 0) & (self._few.number[few] == 1)
        return np.where(sure, few, np.where(every >= 0, every + len(self._few.names), -1))

    def entries(self, rows: Numbers) -> tuple[Numbers, Numbers]:
        """Return all that came after each context: its place in `rows`, and the place in `value` and `share`."""
        whole = np.flatnonzero(rows >= len(self._few.names))
        part = np.flatnonzero(rows < len(self._few.names))
        one, entry = self._few.entries(rows[part])
        other, more = self._all.entries(rows[whole] - len(self._few.names))
        return np.append(part[one], whole[other]), np.append(entry, more + len(self._few.value))


class _Layers:
    """Frames as patterns of streams that are painted over each other; new ones are added to those of a graph."""

    def __init__(self, graph: Graph, streams: Sequence[tuple[int, ...]]) -> None:
        self.view, self.streams = graph.view, streams
        self.frames = list(graph.frames)
        self._row = dict(graph.frame_number)
        self.patterns, self.pattern = [], []
        for stream in streams:
            shown, pattern = distinct(patterns_of(graph.frames, stream))
            self.patterns.append(shown)
            self.pattern.append(pattern)
        self._number = [{row.tobytes(): number for number, row in enumerate(some)} for some in self.patterns]
        self._lit = [(shown >= 0).sum(axis=1) for shown in self.patterns]
        self.whole = [self._completed(stream, graph.frames) for stream in range(len(streams))]

    def _completed(self, stream: int, frames: Cells) -> Numbers:
        """Return the largest pattern of a stream that frames may show, with cells that are hidden behind others."""
        first = len(self.pattern[stream]) - len(frames)
        if len(self.streams) == 1:
            return self.pattern[stream][first:]
        lit = np.isin(frames, self.streams[stream])
        others = ((frames != self.view.background) & ~lit).astype(np.float32)
        masks, number = (self.patterns[stream] >= 0).astype(np.float32), lit.sum(axis=1)[:, None]
        open_cells = self._lit[stream] - others @ masks.T
        fits = (lit.astype(np.float32) @ masks.T == number) & (open_cells == number)
        found: ndarray = np.where(fits, self._lit[stream], -1).argmax(axis=1)
        return np.where(fits.any(axis=1), found, len(masks))

    def hidden_most(self, rows: Numbers) -> list[int]:
        """Return the streams in the order of how often they have fewer cells than mostly in frames, the most first."""
        lit = [lit[pattern[rows]] for lit, pattern in zip(self._lit, self.pattern, strict=True)]
        return sorted(range(len(lit)), key=lambda stream: -float((lit[stream] < np.median(lit[stream])).mean()))

    def painted(self, patterns: Int[ndarray, "_ streams"], order: Sequence[int]) -> Numbers:
        """Return the rows of the frames that patterns make, painted in an order."""
        some, numbers = np.unique(patterns, axis=0, return_inverse=True)
        cells = np.full((len(some), len(self.frames[0])), self.view.background)
        for stream in order:
            shown = self.patterns[stream][some[:, stream]]
            cells = np.where(shown >= 0, shown, cells)
        return self._rows(cells)[numbers.reshape(-1)]

    def as_before(self, rows: Numbers) -> Numbers:
        """Return the rows of what a view shows of frames in the next step, as those before."""
        if not self.view.before:
            return np.full(len(rows), -1)
        some, numbers = np.unique(rows, return_inverse=True)
        if not len(some):
            return rows
        shown = self.view.shown(np.stack([self.frames[row] for row in some.tolist()]), self.view.before)
        return self._rows(shown)[numbers.reshape(-1)]

    def _rows(self, cells: Cells) -> Numbers:
        first = len(self.frames)
        rows = []
        for one in cells:
            row = self._row.setdefault(one.astype(np.int16).tobytes(), len(self.frames))
            if row == len(self.frames):
                self.frames.append(one)
            rows.append(row)
        if len(self.frames) > first:
            for stream, symbols in enumerate(self.streams):
                shown = patterns_of(np.stack(self.frames[first:]), symbols)
                new = [self._number[stream].get(row.tobytes(), len(self.patterns[stream])) for row in shown]
                self.pattern[stream] = np.append(self.pattern[stream], new)
                whole = self._completed(stream, np.stack(self.frames[first:]))
                self.whole[stream] = np.append(self.whole[stream], whole)
        return np.array(rows, dtype=np.int64)


class _Factors:
    """How streams move and what comes of it, counted in a record."""

    def __init__(self, graph: Graph, record: Record, parents: Parents) -> None:
        self.parents, self.moved = parents, sorted(parents.motion)
        self.layers = _Layers(graph, parents.streams)
        steps = Shown.of(record, graph.view)
        seen = variables(self.layers.pattern, steps.previous, steps.present, record.action)
        seen |= {(NEXT, stream): pattern[steps.after] for stream, pattern in enumerate(self.layers.pattern)}
        self._order = self.layers.hidden_most(steps.after)
        whole = variables(self.layers.whole, steps.previous, steps.present, record.action)
        whole |= {(NEXT, stream): pattern[steps.after] for stream, pattern in enumerate(self.layers.whole)}
        self._motion = [_Motion(whole, parents.motion[stream], parents.main[stream], stream) for stream in self.moved]
        self._outcomes, outcome = np.unique(
            np.stack([record.reward, record.ended], axis=1), axis=0, return_inverse=True
        )
        causes = [seen[name] for name in parents.outcome]
        outcome = outcome.reshape(-1)
        self._likely = np.bincount(outcome) / len(outcome)
        self._known = _Contexts(causes, outcome)
        self._evidence = [_evidence(cause, outcome, self._likely) for cause in causes]

    def ahead(self, previous: Numbers, present: Numbers, action: Numbers) -> _Ahead:
        """Return what follows pairs of frames and actions, where the motion of all streams is known."""
        here = variables(self.layers.pattern, previous, present, action)
        whole = variables(self.layers.whole, previous, present, action)
        rows = [one.rows(whole, len(action)) for one in self._motion]
        place = np.flatnonzero(np.min(rows, axis=0) >= 0)
        count = np.min([one.total[row[place]] for one, row in zip(self._motion, rows, strict=True)], axis=0)
        share, patterns = np.ones(len(place)), np.zeros((len(place), len(self.layers.streams)), dtype=np.int64)
        for one, row, stream in zip(self._motion, rows, self.moved, strict=True):
            again, entry = one.entries(row[place])
            place, count, share, patterns = place[again], count[again], share[again] * one.share[entry], patterns[again]
            patterns[:, stream] = one.value[entry]
        frames = self.layers.painted(patterns, self._order)
        again, outcome, likely, known = self._outcome({name: column[place] for name, column in here.items()}, frames)
        reward, ended = self._outcomes[outcome].T
        return _Ahead(
            place=place[again],
            previous=self.layers.as_before(present[place[again]]),
            present=frames[again],
            ended=ended > 0,
            count=share[again] * likely * np.maximum(np.minimum(count[again], known), DOUBT),
            reward=reward,
        )

    def _outcome(self, here: dict[Variable, Numbers], frames: Numbers) -> tuple[Numbers, Numbers, Shares, Shares]:
        """Return what comes of steps into frames: the step's place, the outcome, its share, how well it is known."""
        then = {(NEXT, stream): pattern[frames] for stream, pattern in enumerate(self.layers.pattern)}
        causes = [(here | then)[name] for name in self.parents.outcome]
        rows = self._known.rows(causes, len(frames))
        seen, new = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        again, entry = self._known.entries(rows[seen])
        place, outcome, share = seen[again], self._known.value[entry], self._known.share[entry]
        known = self._known.total[rows[place]]
        if len(new):
            given = zip(self._evidence, causes, strict=True)
            added = sum(one[cause[new].clip(-1, one.shape[0] - 2) + 1] for one, cause in given).tocoo()
            weight = self._likely[added.col] * np.exp(added.data)
            weight /= np.bincount(added.row, weight, minlength=len(new))[added.row]
            place, outcome = np.append(place, new[added.row]), np.append(outcome, added.col)
            share, known = np.append(share, weight), np.append(known, np.zeros(len(weight)))
        kept = share >= EXCEPTION
        share = share[kept] / np.bincount(place[kept], share[kept], minlength=len(frames))[place[kept]]
        return place[kept], outcome[kept], share, known[kept]


def _evidence(cause: Numbers, outcome: Numbers, likely: Shares) -> sparse.csr_matrix:
    """Return log p(o | x) / p(o) of each value x of a variable (from −1 on) and each outcome o that came with it.

    p(o | x) is (n(x, o) + p(o)) / (n(x) + 1), without the denominator, in which the outcomes do not differ. The last
    value is one that never occurred.
    """
    shape = int(cause.max()) + 3, len(likely)
    seen = sparse.coo_matrix((np.ones(len(cause)), (cause + 1, outcome)), shape=shape).tocsr()
    seen.data = np.log1p(seen.data / likely[seen.indices])
    return seen


def _joined(graph: Graph, frames: Cells, pairs: Int[ndarray, "states 2"], edges: Sequence[_Edges]) -> Graph:
    """Return a graph with more frames, states and edges, which replace those of the same sources and actions."""
    named = [one.source * graph.actions + one.action for one in edges]
    kept = ~np.isin(graph.pair, np.concatenate([graph.pair[:0], *named]))
    source, action, target, count, reward = (
        np.concatenate([getattr(graph, one.name)[kept], *(getattr(more, one.name) for more in edges)])
        for one in fields(_Edges)
    )
    order = np.lexsort((pairs[:, 1], pairs[:, 0], np.arange(len(pairs)) != END))
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    names = (number[source] * graph.actions + action) * len(order) + number[target]
    names, edge = np.unique(names, return_inverse=True)
    pair, target = np.divmod(names, len(order))
    total = np.bincount(edge, count)
    return replace(
        graph,
        frames=frames,
        previous=pairs[order, 0],
        present=pairs[order, 1],
        source=pair // graph.actions,
        action=pair % graph.actions,
        target=target,
        count=total,
        reward=np.bincount(edge, count * reward) / total,
    )
