"""What a state is made of: the symbols of the present frame, and of the one before, that matter to an agent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from rgm.planning.experience import MOST_SYMBOLS, Record, distinct

BLOCK, FOLDS = 200, 5
"""Steps in a row that are held out together, and the number of turns."""
SURE = 2.0
"""Standard errors by which a stream's gain in held-out information must exceed zero."""

RETURNING, LONG = 0.02, 10
"""Share of a symbol's changes that lead back to a pattern first seen so many changes ago, if it comes again."""

Numbers = Int[ndarray, " steps"]


@dataclass(frozen=True, kw_only=True)
class View:
    """The symbols of the present frame, and of the frame before it, that make a state; others read as `background`."""

    present: tuple[int, ...]
    before: tuple[int, ...]
    background: int

    def shown(self, frames: Int[ndarray, "*some cells"], symbols: Sequence[int]) -> Int[ndarray, "*some cells"]:
        """Return frames with all symbols but these replaced by the background; hidden cells stay hidden."""
        found: ndarray = np.where(np.isin(frames, symbols) | (frames < 0), frames, self.background)
        return found


def whole(record: Record) -> View:
    """Return the view of every symbol of both frames."""
    return View(present=record.symbols, before=record.symbols, background=record.background)


def informative(record: Record) -> View:
    """Return the streams that carry information about rewards and endings, and about what these streams do next.

    A stream is the pattern of one symbol in a frame (of all where there are more than `MOST_SYMBOLS`), now or in the
    frame before. Beginning with none, the stream x is added that carries most information about a target y beyond the
    state s and the action a,

        I(y; x | s, a) = E[ log p(y | s, x, a) − log p(y | s, a) ]

    with p from counts, and the expectation over steps held out, beside that of x shuffled among the steps of each
    state. The difference must exceed zero by `SURE` standard errors, and log n nats over all n steps. The targets are
    what comes of a step (its reward and whether it ends the episode), and the next patterns of the symbols that are in
    the state. A symbol of the frame before is only considered where it is in the state as it is now.

    A plan returns to its goals, so that its states must come again: symbols whose patterns do not within an episode, as
    a wall that loses bricks, are only considered where the others carry nothing. Where nothing does, as before the
    first reward, all symbols of both frames are in the state.
    """
    others = [symbol for symbol in record.symbols if symbol != record.background]
    groups = [tuple(others)] if len(others) > MOST_SYMBOLS else [(symbol,) for symbol in others]
    patterns = [_patterns(record, group) for group in groups]
    returning = [group for group, pattern in enumerate(patterns) if _returns(record, pattern) >= RETURNING]
    chosen = _chosen(record, patterns, returning) or _chosen(record, patterns, list(range(len(groups))))
    if not chosen:
        return whole(record)
    present, before = (
        tuple(sorted(symbol for lag, group in chosen if lag == wanted for symbol in groups[group])) for wanted in (0, 1)
    )
    return View(present=present, before=before, background=record.background)


def _chosen(record: Record, patterns: list[Int[ndarray, " distinct"]], groups: list[int]) -> list[tuple[int, int]]:
    """Return the streams that carry information: (0, group) as a frame shows it now, (1, group) as the one before."""
    state = record.action.astype(np.int64)
    outcome = np.unique(np.stack([record.reward, record.ended]), axis=1, return_inverse=True)[1].reshape(-1)
    targets = [(outcome, _held_out(state, outcome, _marginal(outcome)))]
    streams = {(0, group): patterns[group][record.before] for group in groups}
    chosen: list[tuple[int, int]] = []
    least = np.log(len(record)) / len(record)
    while streams:
        best, found = 0.0, None
        for name, stream in streams.items():
            joint, shuffled = _joint(state, stream), _joint(state, _shuffled(stream, state))
            for target, known in targets:
                gain = np.log(_held_out(joint, target, known) / _held_out(shuffled, target, known))
                mean, error = float(gain.mean()), float(gain.std()) / len(gain) ** 0.5
                if mean > max(SURE * error, least, best):
                    best, found = mean, name
        if found is None:
            break
        stream = streams.pop(found)
        state = _joint(state, stream)
        chosen.append(found)
        targets = [(target, _held_out(state, target, known)) for target, known in targets]
        lag, group = found
        if lag == 0:
            streams[1, group] = np.where(record.follows, np.roll(stream, 1), -1) + 1
            after = patterns[group][record.after]
            targets.append((after, _held_out(state, after, _marginal(after))))
    return chosen


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


def _patterns(record: Record, group: tuple[int, ...]) -> Int[ndarray, " distinct"]:
    """Return the number of the pattern that a group of symbols has in each distinct frame."""
    return distinct(np.where(np.isin(record.frames, group), record.frames, -1))[1]


def _joint(one: Numbers, other: Numbers) -> Numbers:
    """Return the number of each pair."""
    return np.unique(one * (int(other.max()) + 1) + other, return_inverse=True)[1].reshape(-1)


def _shuffled(stream: Numbers, state: Numbers) -> Numbers:
    """Return a stream with its values exchanged at random among the steps of each state."""
    order = np.lexsort((np.arange(len(state)), state))
    drawn = np.lexsort((np.random.default_rng(0).random(len(state)), state))
    found = np.empty_like(stream)
    found[order] = stream[drawn]
    return found


def _marginal(target: Numbers) -> Float[ndarray, " steps"]:
    """Return p(y) of every step, (n(y) + 1) / (n + values of y), from the steps not held out."""
    values = int(target.max()) + 1
    found = np.zeros(len(target))
    for here in _folds(len(target)):
        found[here] = ((np.bincount(target[~here], minlength=values) + 1) / ((~here).sum() + values))[target[here]]
    return found


def _held_out(state: Numbers, target: Numbers, known: Float[ndarray, " steps"]) -> Float[ndarray, " steps"]:
    """Return p(y | s) of every step, (n(s, y) + p) / (n(s) + 1), from the steps not held out; p is what was known."""
    pair = _joint(state, target)
    found = np.zeros(len(state))
    for here in _folds(len(state)):
        seen = np.bincount(state[~here], minlength=int(state.max()) + 1)
        both = np.bincount(pair[~here], minlength=int(pair.max()) + 1)
        found[here] = (both[pair[here]] + known[here]) / (seen[state[here]] + 1)
    return found


def _folds(steps: int) -> Iterator[Bool[ndarray, " steps"]]:
    """Yield the steps that are held out, block by block in turns."""
    fold = np.arange(steps) // BLOCK % FOLDS
    return (fold == held for held in range(FOLDS))
