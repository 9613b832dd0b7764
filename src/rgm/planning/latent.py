"""Frames seen through noise: the true frame of every step, by expectation–maximisation with Viterbi paths."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.stats import binom, poisson

from rgm.planning.experience import MOST_SYMBOLS, Record

RECURRING = 3
"""How often a frame occurs that others may be noisy views of."""
CANDIDATES = 8
"""True frames considered for each frame seen."""
PASSES = 3
LEAST_NOISE = 3e-4
"""A smaller share of flipped cells is taken for none."""
RARE = 1e-4
"""Probability below which a number of flipped cells is not believed: the frame is new."""
SPURIOUS = 0.1
"""Expected number of views of one frame that are taken for a frame of their own, at most."""
COMMON = 5
"""A pattern this many times as common as one that differs in a cell may be what was shown."""
PROBED = 5000
"""Frames by which the noise is estimated."""
CHUNK = 2048


@dataclass(frozen=True, kw_only=True)
class Denoised:
    """A record whose frames are the most probable true ones, and the estimated share of cells that were flipped."""

    record: Record
    noise: float


def denoised(record: Record) -> Denoised:
    """Return the steps with the frames that were most probably shown, as if without noise.

    Every symbol but the most frequent one is a stream: its pattern of cells, over time. The true patterns f_t of a
    stream are a Markov chain, and each of the D cells is seen as the opposite with probability ε:

        p(o, f) = Π_t p(f_t | f_{t−1}, a_{t−1}) · Π_t ε^{d_t} (1 − ε)^{D − d_t},    d_t = number of differing cells

    Patterns that recur are true ones. ε follows from how many of the others differ from one of these in a single cell,
    n₁ = n₀ D ε / (1 − ε). Where it is below `LEAST_NOISE` in any stream, nothing is changed: noise spares none. Else
    each pass finds the most probable chain of the nearest true patterns (Viterbi), and counts its transitions. Frames
    of more symbols than `MOST_SYMBOLS` are taken as they are.
    """
    if len(record.symbols) > MOST_SYMBOLS:
        return Denoised(record=record, noise=0.0)
    counts = [(record.frames == symbol).sum() for symbol in record.symbols]
    symbols = [symbol for symbol in record.symbols if symbol != record.symbols[int(np.argmax(counts))]]
    streams = [_Stream(record, record.frames == symbol) for symbol in symbols]
    noise = min((stream.noise for stream in streams), default=0.0)
    if noise < LEAST_NOISE:
        return Denoised(record=record, noise=0.0)
    paths = np.stack([stream.path() for stream in streams], axis=1)
    distinct, numbers = np.unique(paths, axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    frames = np.full((len(distinct), record.frames.shape[1]), record.symbols[int(np.argmax(counts))])
    for symbol, stream, column in zip(symbols, streams, distinct.T, strict=True):
        frames = np.where(stream.patterns[column] == 1, symbol, frames)
    begins = streams[0].begins
    before, after = numbers[np.flatnonzero(~begins) - 1], numbers[~begins]
    return Denoised(record=replace(record, frames=frames, before=before, after=after), noise=noise)


class _Stream:
    """The pattern of one symbol over time."""

    def __init__(self, record: Record, shown: Bool[ndarray, "distinct cells"]) -> None:
        self.patterns, numbers = np.unique(shown, axis=0, return_inverse=True)
        self.patterns = self.patterns.astype(np.int64)
        order, self.begins = _sequence(record)
        self.order = numbers.reshape(-1)[order]
        self.occurrences = np.bincount(self.order, minlength=len(self.patterns))
        self.action = np.insert(record.action, np.flatnonzero(~record.follows), 0)[1:]
        self.noise = _noise(self.patterns, self.occurrences, np.flatnonzero(self.occurrences >= RECURRING))

    def path(self) -> Int[ndarray, " frames"]:
        """Return the most probable true pattern of every frame."""
        true = _true(self.patterns, self.occurrences, self.noise)
        candidates, distance = _candidates(self.patterns, true)
        most = int(binom.isf(RARE, self.patterns.shape[1], self.noise))
        cost = np.where(distance <= most, distance * np.log(self.noise / (1 - self.noise)), -np.inf)
        own = np.isin(np.arange(len(self.patterns)), true) | (distance[:, 1:].min(axis=1) > most)
        cost[~own, 0] = -np.inf
        path, exact = self.order, np.isin(self.order, true)
        counted = exact[:-1] & exact[1:] & ~self.begins[1:]
        for _ in range(PASSES):
            path = _viterbi(self.order, candidates, cost, self.begins, self.action, path, counted)
            counted = ~self.begins[1:]
        return path


def _noise(
    patterns: Int[ndarray, "distinct cells"], occurrences: Int[ndarray, " distinct"], often: Int[ndarray, " often"]
) -> float:
    """Return the share of cells that show the opposite, from the patterns one cell from a far more common one."""
    if not len(often):
        return 0.0
    probed = np.linspace(0, len(patterns) - 1, min(PROBED, len(patterns))).astype(int)
    near = _differing(patterns[probed], patterns[often]) == 1
    view = (near * occurrences[often]).max(axis=1) > COMMON * occurrences[probed]
    seen, least = occurrences[probed], occurrences[probed] >= RECURRING
    odds = float(seen[view].sum()) / max(1.0, float(seen[least & ~view].sum())) / patterns.shape[1]
    return odds / (1 + odds)


def _true(
    patterns: Int[ndarray, "distinct cells"], occurrences: Int[ndarray, " distinct"], noise: float
) -> Int[ndarray, " true"]:
    """Return the patterns that recur more often than views of the others with one cell flipped would."""
    often = np.flatnonzero(occurrences >= RECURRING)
    expected = np.zeros(len(often))
    for start in range(0, len(often), CHUNK):
        near = _differing(patterns[often[start : start + CHUNK]], patterns[often]) == 1
        expected[start : start + CHUNK] = near @ occurrences[often] * noise
    chance = poisson.sf(occurrences[often] - 1, expected) * patterns.shape[1]
    found: ndarray = often[chance < SPURIOUS]
    return found


def _differing(frames: Int[ndarray, "some cells"], others: Int[ndarray, "more cells"]) -> Float[ndarray, "some more"]:
    """Return the number of cells in which two frames differ, for all pairs."""
    symbols = np.unique(others)
    one, two = ((part[:, :, None] == symbols).reshape(len(part), -1).astype(np.float32) for part in (frames, others))
    found: ndarray = frames.shape[1] - one @ two.T
    return found


def _sequence(record: Record) -> tuple[Int[ndarray, " frames"], Bool[ndarray, " frames"]]:
    """Return the frames of all episodes in order, and where each begins: its first `before`, then every `after`."""
    starts = np.flatnonzero(~record.follows)
    begins = np.zeros(len(record) + len(starts), dtype=bool)
    begins[starts + np.arange(len(starts))] = True
    return np.insert(record.after, starts, record.before[starts]), begins


def _candidates(
    frames: Int[ndarray, "distinct cells"], recurring: Int[ndarray, " recurring"]
) -> tuple[Int[ndarray, "distinct candidates"], Float[ndarray, "distinct candidates"]]:
    """Return of every frame the frame itself and the nearest recurring ones, with the numbers of differing cells."""
    few = min(CANDIDATES - 1, len(recurring))
    found, apart = [], []
    for start in range(0, len(frames), CHUNK):
        differing = _differing(frames[start : start + CHUNK], frames[recurring])
        own = np.arange(start, start + len(differing))
        differing[differing == 0] = frames.shape[1]  # the frame itself, which comes first
        nearest = np.argpartition(differing, few - 1, axis=1)[:, :few]
        found.append(np.concatenate([own[:, None], recurring[nearest]], axis=1))
        near = np.take_along_axis(differing, nearest, axis=1)
        apart.append(np.concatenate([np.zeros((len(own), 1)), near], axis=1))
    return np.concatenate(found), np.concatenate(apart)


class _Shares:
    """How often each frame came after each context, on the steps of a path that are counted."""

    def __init__(
        self,
        context: Int[ndarray, " steps"],
        after: Int[ndarray, " steps"],
        counted: Bool[ndarray, " steps"],
        size: int,
    ) -> None:
        self.size, self.context, self.after, self.counted = size, context, after, counted
        self.keys, self.counts = np.unique(np.append((context * size + after)[counted], -1), return_counts=True)
        self.contexts, self.totals = np.unique(np.append(context[counted], -1), return_counts=True)

    def __call__(
        self, here: slice, context: Int[ndarray, "steps before"], after: Int[ndarray, "steps after"]
    ) -> Float[ndarray, "steps before after"]:
        """Return the share of `after` among what came after `context` on all other steps, for all pairs of a step.

        A step must not confirm itself: what the path takes there is left out of the counts.
        """
        wanted = context[:, :, None] * self.size + after[:, None, :]
        found = np.where(*_found(self.keys, wanted, self.counts))
        total = np.where(*_found(self.contexts, context, self.totals))
        counted = self.counted[here, None]
        same = (context == self.context[here, None]) & counted
        found = found - (same[:, :, None] & (after == self.after[here, None])[:, None, :])
        share: ndarray = found / (total - same + 1)[:, :, None]
        return share


def _found(keys: ndarray, wanted: ndarray, counts: ndarray) -> tuple[ndarray, ndarray, int]:
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return keys[place] == wanted, counts[place], 0


def _viterbi(
    order: Int[ndarray, " frames"],
    candidates: Int[ndarray, "distinct candidates"],
    cost: Float[ndarray, "distinct candidates"],
    begins: Bool[ndarray, " frames"],
    action: Int[ndarray, " steps"],
    path: Int[ndarray, " frames"],
    counted: Bool[ndarray, " steps"],
) -> Int[ndarray, " frames"]:
    """Return the most probable chain of true frames, with the transitions of `path` where they are `counted`.

    p(f' | f, a) is the mean of three shares: of f' after f and a, of f' after f, and of f' among all frames.
    """
    size, actions = len(candidates), int(action.max()) + 1
    before, after = path[:-1], path[1:]
    by_action = _Shares(before * actions + action, after, counted, size)
    by_frame = _Shares(before, after, counted, size)
    frequency = (np.bincount(after[counted], minlength=size) + 1) / (counted.sum() + size)
    chosen, emission = candidates[order], cost[order]
    steps = np.arange(chosen.shape[1])
    back = np.zeros(chosen.shape, dtype=np.int64)
    score = emission[0]
    for start in range(1, len(order), CHUNK):
        here = slice(start, min(start + CHUNK, len(order)))
        one, two = chosen[here.start - 1 : here.stop - 1], chosen[here]
        steps_here = slice(here.start - 1, here.stop - 1)
        did = action[steps_here, None]
        shares = (
            by_action(steps_here, one * actions + did, two)
            + by_frame(steps_here, one, two)
            + frequency[two][:, None, :]
        )
        log = np.log(shares / 3)
        log[begins[here]] = 0.0
        for offset in range(here.stop - here.start):
            through = score[:, None] + log[offset]
            best = through.argmax(axis=0)
            back[start + offset] = best
            score = through[best, steps] + emission[start + offset]
    places = np.zeros(len(order), dtype=np.int64)
    places[-1] = int(score.argmax())
    for step in range(len(order) - 1, 0, -1):
        places[step - 1] = back[step, places[step]]
    return chosen[np.arange(len(order)), places]
