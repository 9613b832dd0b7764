"""What a state is made of: the symbols of the present frame, and of the one before, that matter to an agent."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from rgm.planning.experience import MOST_SYMBOLS, Record, distinct

BLOCK, FOLDS = 200, 5
"""Steps in a row that are held out together, and the number of turns."""
SURE = 2.0
"""Standard errors by which a stream's gain in held-out information must exceed zero."""

MAIN = 0.05
"""Share of the information of a stream's other parents that a further one must add to be a main one."""
LATEST = 20_000
"""Steps by which parents are found, at most: the latest."""
RETURNING, LONG = 0.02, 10
"""Share of a symbol's changes that lead back to a pattern first seen so many changes ago, if it comes again."""

DENSE = 2**22
"""Pairs of values that are numbered by a table."""
Numbers = Int[ndarray, " steps"]
Shares = Float[ndarray, " steps"]
Variable = tuple[str, int]
NOW, BEFORE, NEXT = "now", "before", "next"
ACTION: Variable = ("action", -1)


@dataclass(frozen=True, kw_only=True)
class View:
    """The symbols of the present frame, and of the frame before it, that make a state; others read as `background`."""

    present: tuple[int, ...]
    before: tuple[int, ...]
    background: int

    def shown(self, frames: Int[ndarray, "*some cells"], symbols: Sequence[int]) -> Int[ndarray, "*some cells"]:
        """Return frames with all symbols but these replaced by the background; hidden cells stay hidden."""
        table = _kept(tuple(symbols))
        found: ndarray = np.where(table[symbol_places(frames, len(table))], frames, self.background)
        return found


def symbol_places(frames: Int[ndarray, "*some cells"], size: int) -> Int[ndarray, "*some cells"]:
    """Return the places of symbols in a table: 0 … size − 3, size − 2 for larger ones, −1 where a cell is hidden."""
    found: ndarray = np.minimum(np.maximum(frames, -1), size - 2)
    return found


@lru_cache(maxsize=64)
def _kept(symbols: tuple[int, ...]) -> Bool[ndarray, " places"]:
    """Return which symbols stay, as a table."""
    found = np.zeros(max(symbols, default=0) + 3, dtype=bool)
    found[[*symbols, -1]] = True
    return found


def whole(record: Record) -> View:
    """Return the view of every symbol of both frames."""
    return View(present=record.symbols, before=record.symbols, background=record.background)


@dataclass(frozen=True, kw_only=True)
class Parents:
    """On what each stream's next pattern, and what comes of a step, depend.

    Variables are ("now", stream), ("before", stream), ("next", stream) and `ACTION`. `motion` has the parents of the
    next pattern of every stream of the state, of which the first `main` are its main ones, and `outcome` those of the
    reward and the end, each in the order in which they add information. A stream is a group of symbols.
    """

    view: View
    streams: tuple[tuple[int, ...], ...]
    motion: dict[int, tuple[Variable, ...]]
    main: dict[int, int]
    outcome: tuple[Variable, ...]


def parents(record: Record, view: View | None = None) -> Parents:
    """Return the streams that carry information about rewards and endings, and about what these streams do next.

    A stream is the pattern of one symbol in a frame (of all where there are more than `MOST_SYMBOLS`). Beginning with
    none, the variable x is added to the parents s of a target y that carries most information about it beyond them,

        I(y; x | s) = E[ log p(y | s, x) − log p(y | s) ]

    with p from counts, and the expectation over steps held out, beside that of x shuffled among the steps of each s.
    The difference must exceed zero by `SURE` standard errors, and log n nats over all n steps. The first target is what
    comes of a step (its reward and whether it ends the episode), which may also depend on what the streams show next. A
    stream that anything depends on is in the state, and what it shows next is a target. A stream of the frame before is
    only considered where it is in the state as it is now. Main parents are those before the first one that adds less
    than the share `MAIN` of what those before it gave.

    A plan returns to its goals, so that its states must come again: symbols whose patterns do not within an episode, as
    a wall that loses bricks, are only considered where the others carry nothing. Where nothing does, as before the
    first reward, all symbols of both frames are in the state. A `view` gives the state instead.
    """
    others = [symbol for symbol in record.symbols if symbol != record.background]
    if view is not None:
        others = [symbol for symbol in others if symbol in view.present or symbol in view.before]
    streams: list[tuple[int, ...]] = [(symbol,) for symbol in others]
    if len(others) > MOST_SYMBOLS:
        streams = [tuple(others)]
    patterns = [_patterns(record, stream) for stream in streams]
    search = _Search(record, patterns)
    every = list(range(len(streams)))
    if view is not None:
        return _parents(view, streams, search.motion(every, every), search.outcome(every))
    for some in ([stream for stream in every if _returns(record, patterns[stream]) >= RETURNING], every):
        outcome = search.outcome(some)
        motion = search.motion([stream for kind, stream in outcome if kind in (NOW, NEXT)], some)
        if motion:
            before = {stream for found in motion.values() for (kind, stream), _ in found if kind == BEFORE}
            found = View(
                present=tuple(sorted(symbol for stream in motion for symbol in streams[stream])),
                before=tuple(sorted(symbol for stream in before for symbol in streams[stream])),
                background=record.background,
            )
            return _parents(found, streams, motion, outcome)
    return _parents(whole(record), streams, search.motion(every, every), [])


def _parents(
    view: View, streams: list[tuple[int, ...]], motion: dict[int, list[tuple[Variable, float]]], outcome: list[Variable]
) -> Parents:
    return Parents(
        view=view,
        streams=tuple(streams),
        motion={stream: tuple(variable for variable, _ in found) for stream, found in motion.items()},
        main={stream: _main([gain for _, gain in found]) for stream, found in motion.items()},
        outcome=tuple(outcome),
    )


def _main(gains: list[float]) -> int:
    """Return the number of gains before the first that adds little."""
    return next((number for number, gain in enumerate(gains) if gain < MAIN * sum(gains[:number])), len(gains))


class _Search:
    """The search for parents in the latest steps of a record."""

    def __init__(self, record: Record, patterns: list[Int[ndarray, " distinct"]]) -> None:
        late = slice(-LATEST, None)
        previous = np.where(record.follows, np.roll(record.before, 1), -1)[late]
        self.variables = variables(patterns, previous, record.before[late], record.action[late])
        self.variables |= {(NEXT, stream): pattern[record.after[late]] for stream, pattern in enumerate(patterns)}
        outcome = np.unique(np.stack([record.reward, record.ended])[:, late], axis=1, return_inverse=True)[1]
        self._outcome = outcome.reshape(-1)

    def outcome(self, some: list[int]) -> list[Variable]:
        """Return what the reward and the end depend on, of some streams."""
        candidates = [ACTION, *((kind, stream) for kind in (NOW, NEXT) for stream in some)]
        return [variable for variable, _ in self._found(candidates, self._outcome)]

    def motion(self, wanted: list[int], some: list[int]) -> dict[int, list[tuple[Variable, float]]]:
        """Return what the streams that are wanted depend on, with the information, and what these depend on."""
        found: dict[int, list[tuple[Variable, float]]] = {}
        state = list(dict.fromkeys(wanted))
        for stream in state:  # which grows
            candidates = [ACTION, *((NOW, one) for one in some), *((BEFORE, one) for one in state)]
            found[stream] = self._found(candidates, self.variables[NEXT, stream])
            state += [one for (kind, one), _ in found[stream] if kind == NOW and one not in state]
        return found

    def _found(self, candidates: list[Variable], target: Numbers) -> list[tuple[Variable, float]]:
        """Return the variables that carry information about a target, the most informative first."""
        state, left, found = np.zeros_like(target), list(candidates), list[tuple[Variable, float]]()
        known, least = _marginal(target), np.log(len(target)) / len(target)
        while left:
            best, name = least, None
            order, drawn = _exchange(state)
            for one in left:
                variable = self.variables[one]
                exchanged = np.empty_like(variable)
                exchanged[order] = variable[drawn]
                joint, shuffled = _joint(state, variable), _joint(state, exchanged)
                gain = np.log(_held_out(joint, target, known) / _held_out(shuffled, target, known))
                mean, error = float(gain.mean()), float(gain.std()) / len(gain) ** 0.5
                if mean > max(SURE * error, best):
                    best, name = mean, one
            if name is None:
                break
            left.remove(name)
            found.append((name, best))
            state = _joint(state, self.variables[name])
            known = _held_out(state, target, known)
        return found


def variables(
    patterns: Sequence[Int[ndarray, " _"]], previous: Numbers, present: Numbers, action: Numbers
) -> dict[Variable, Numbers]:
    """Return the action and every stream's pattern in the frames before and now, by rows of frames (none: −1)."""
    found = {ACTION: action}
    for stream, pattern in enumerate(patterns):
        found[NOW, stream] = pattern[present]
        found[BEFORE, stream] = np.where(previous < 0, -1, pattern[previous])
    return found


def _returns(record: Record, pattern: Int[ndarray, " distinct"]) -> float:
    """Return the share of changes of a pattern that lead to one first seen `LONG` changes before in the episode.

    What is covered for a moment comes back too, but not after long.
    """
    episode = np.cumsum(~record.follows) * (int(pattern.max()) + 1)
    before, after = episode + pattern[record.before], episode + pattern[record.after]
    changed = before != after
    if not changed.any():
        return 0.0
    age = np.cumsum(changed)
    known, first = np.unique(before, return_index=True)
    changes = np.flatnonzero(changed)
    place = np.searchsorted(known, after[changes]).clip(max=len(known) - 1)
    again = (known[place] == after[changes]) & (age[changes] - (age - changed)[first[place]] >= LONG)
    return float(again.mean())


def patterns_of(frames: Int[ndarray, "some cells"], stream: Sequence[int]) -> Int[ndarray, "some cells"]:
    """Return what a stream shows in frames, −1 in all other cells, as 16 bits."""
    return np.where(np.isin(frames, stream), frames, -1).astype(np.int16)


def _patterns(record: Record, group: tuple[int, ...]) -> Int[ndarray, " distinct"]:
    """Return the number of the pattern that a group of symbols has in each distinct frame."""
    return distinct(patterns_of(record.frames, group))[1]


def _joint(one: Numbers, other: Numbers) -> Numbers:
    """Return the number of each pair; values of `other` are −1 or more."""
    names = one * (int(other.max()) + 2) + other + 1
    if int(names.max()) > DENSE:
        return np.unique(names, return_inverse=True)[1].reshape(-1)
    occurs = np.zeros(int(names.max()) + 1, dtype=np.int64)
    occurs[names] = 1
    return (np.cumsum(occurs) - 1)[names]


def _exchange(state: Numbers) -> tuple[Numbers, Numbers]:
    """Return the steps of all states, state by state, in their order and at random within each state."""
    drawn = np.random.default_rng(0).permutation(len(state))
    return np.argsort(state, kind="stable"), drawn[np.argsort(state[drawn], kind="stable")]


def _marginal(target: Numbers) -> Shares:
    """Return p(y) of every step, (n(y) + 1) / (n + values of y), from the steps not held out."""
    values = int(target.max()) + 1
    everywhere = np.zeros_like(target)
    return (_others(target) + 1) / (_others(everywhere) + values)


def _held_out(state: Numbers, target: Numbers, known: Shares) -> Shares:
    """Return p(y | s) of every step, (n(s, y) + p) / (n(s) + 1), from the steps not held out; p is what was known."""
    return (_others(_joint(state, target)) + known) / (_others(state) + 1)


def _others(value: Numbers) -> Numbers:
    """Return how often each step's value occurs in steps that are not held out with it, block by block in turns."""
    fold, values = np.arange(len(value)) // BLOCK % FOLDS, int(value.max()) + 1
    count = np.bincount(fold * values + value, minlength=FOLDS * values)
    found: ndarray = count.reshape(FOLDS, values).sum(axis=0)[value] - count[fold * values + value]
    return found
