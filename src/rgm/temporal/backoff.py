"""Sequences of symbols: the next one by back-off over levels, from the longest context that is known to none at all."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from rgm.errors import RGMError
from rgm.runtime.seeds import whole

Contexts = Sequence[Hashable]
"""What is known before a symbol, level by level, each a part of the next: the shortest first."""


class BackOff:
    """p_k(x | c_k) = (n(c_k, x) + m(c_k) p_k−1(x | c_k−1)) / (n(c_k) + m(c_k)), p_0 uniform over `symbols` symbols.

    n are counts, m(c) is the number of distinct symbols that followed the context c (Witten and Bell 1991): a context
    that was never seen leaves the decision to the level below it.
    """

    def __init__(self, symbols: int) -> None:
        self.symbols = whole(symbols, "the number of symbols")
        self._counts: list[defaultdict[Hashable, Counter[int]]] = []

    def learn(self, contexts: Contexts, symbol: int) -> None:
        """Count a symbol after its contexts; raise RGMError for an unknown symbol or another number of levels."""
        if not 0 <= symbol < self.symbols:
            raise RGMError(f"symbols are 0 … {self.symbols - 1}, but {symbol} was to be learned")
        if not self._counts:
            self._counts = [defaultdict(Counter) for _ in contexts]
        for counts, context in zip(self._levels(contexts), contexts, strict=True):
            counts[context][symbol] += 1

    def probs(self, contexts: Contexts) -> NDArray[np.float64]:
        """Return p(x | contexts) of every symbol; raise RGMError for another number of levels than was learned."""
        found = np.full(self.symbols, 1 / self.symbols)
        for counts, context in zip(self._levels(contexts), contexts, strict=True):
            seen = counts.get(context)
            if seen is None:
                continue
            found *= len(seen)
            for symbol, count in seen.items():
                found[symbol] += count
            found /= seen.total() + len(seen)
        return found

    def _levels(self, contexts: Contexts) -> list[defaultdict[Hashable, Counter[int]]]:
        if len(contexts) != len(self._counts):
            raise RGMError(f"{len(self._counts)} levels of contexts were learned, but {len(contexts)} are given")
        return self._counts


def mixed(parts: NDArray[np.float64], passes: int = 30) -> NDArray[np.float64]:
    """Return the weights of several models under which what was seen is most probable, by EM.

    `parts` are the models' probabilities of what was seen, (events, models), best on events held out.
    """
    weights = np.full(parts.shape[1], 1 / parts.shape[1])
    for _ in range(passes):
        share = parts * weights
        weights = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    return weights
