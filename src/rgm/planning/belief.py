"""Where an agent is, given all that it has seen: exact filtering over the states of a graph."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy import sparse

from rgm.planning.graph import END, Graph
from rgm.planning.streams import symbol_places

Belief = Float[ndarray, " states"]
NOISE, NOISE_CELLS = 0.02, 200.0
"""Assumed share of cells that show another symbol, as if so many had been seen."""
MEMORY_CELLS = 20_000.0
"""Cells after which what was seen of the noise begins to be forgotten."""
JUMP = 1e-4
"""Probability of a transition to any other state."""
TINY = float(np.finfo(float).tiny)


class Filter:
    """p(s_t | o_1 … o_t) on a graph, by the forward algorithm.

        p(s_t | o_1 … o_t) ∝ p(o_t | s_t) · Σ_s' p(s_t | s', a) p(s' | o_1 … o_{t−1})

    A cell of the present frame is seen as it is with probability 1 − ε, else as one of the other symbols; hidden cells
    (below 0) say nothing. ε is estimated from the mismatches so far, and from those of the present frame's nearest one.
    Frames are compared by the cells in which they differ from the background, which are few.
    """

    def __init__(self, graph: Graph, symbols: int) -> None:
        self.graph = graph
        self.others = max(1, symbols - 1)
        self.moves = [(1 - JUMP) * graph.transitions(action) for action in range(graph.actions)]
        self.seen = NOISE_CELLS
        self.wrong = NOISE * NOISE_CELLS
        alive = np.arange(len(graph)) != END
        starts = (graph.previous == -1) & alive
        start = alive / alive.sum() if not starts.any() else starts / starts.sum()
        self._jump = JUMP * alive / alive.sum()
        self.start: Belief = (1 - JUMP) * start + self._jump
        frames, cells = graph.frames, graph.frames.shape[1]
        row, cell = np.nonzero(frames != graph.view.background)
        self._symbols, number = np.unique(frames[row, cell], return_inverse=True)
        size, place = (len(frames), len(self._symbols) * cells), number.reshape(-1) * cells + cell
        self._lit = sparse.csr_matrix((np.ones(len(row)), (row, place)), shape=size)
        self._dark = np.ones(int(max(self._symbols, default=0)) + 3)  # by symbol: 1 where a cell shows no lit one
        self._dark[[*self._symbols, -1]] = 0.0

    @property
    def noise(self) -> float:
        """The estimate of ε."""
        return self.wrong / self.seen

    def predicted(self, belief: Belief, action: int) -> Belief:
        """Return the belief after an action, before the next frame is seen."""
        moved: Belief = self.moves[action] @ belief
        moved += self._jump
        moved[END] = 0.0
        return moved

    def updated(self, belief: Belief, cells: Int[ndarray, " cells"]) -> Belief:
        """Return the belief once a frame is seen, and learn about the noise."""
        number = int(np.count_nonzero(cells >= 0))
        dark = self._dark[symbol_places(cells, len(self._dark))]
        lit = number - dark.sum()  # the mismatches of an empty frame
        mismatches = lit + self._lit @ (dark - (cells == self._symbols[:, None])).reshape(-1)
        fewest = float(mismatches.min())  # those of the frame most like it
        expected = (self.wrong + fewest) / (self.seen + number)
        noise = min(max(expected, 1e-4), 0.45)
        weights = np.exp((mismatches - fewest) * np.log(noise / self.others / (1 - noise)))
        weighted = belief * weights[self.graph.present]
        weighted[END] = 0.0
        total = float(weighted.sum())
        if total < TINY:  # nothing that was expected is like this frame
            return self.updated(self._jump, cells)
        weighted /= total
        kept = min(1.0, MEMORY_CELLS / self.seen)
        self.seen, self.wrong = kept * self.seen + number, kept * self.wrong
        self.wrong += float(weighted @ mismatches[self.graph.present])
        return weighted
