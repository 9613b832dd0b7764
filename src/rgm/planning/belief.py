"""Where an agent is, given all that it has seen: exact filtering over the states of a graph."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from rgm.planning.graph import END, Graph

Belief = Float[ndarray, " states"]
NOISE, NOISE_CELLS = 0.02, 200.0
"""Assumed share of cells that show another symbol, as if so many had been seen."""
JUMP = 1e-3
"""Probability of a transition to any other state."""


class Filter:
    """p(s_t | o_1 … o_t) on a graph, by the forward algorithm.

        p(s_t | o_1 … o_t) ∝ p(o_t | s_t) · Σ_s' p(s_t | s', a) p(s' | o_1 … o_{t−1})

    A cell of the present frame is seen as it is with probability 1 − ε, else as one of the other symbols; hidden cells
    (below 0) say nothing. ε is estimated from the mismatches so far.
    """

    def __init__(self, graph: Graph, symbols: int) -> None:
        self.graph = graph
        self.others = max(1, symbols - 1)
        self.moves = [graph.transitions(action) for action in range(graph.actions)]
        self.seen = NOISE_CELLS
        self.wrong = NOISE * NOISE_CELLS
        alive = np.arange(len(graph)) != END
        starts = (graph.previous == -1) & alive
        start = alive / alive.sum() if not starts.any() else starts / starts.sum()
        self.start: Belief = (1 - JUMP) * start + JUMP * alive / alive.sum()
        self._jump = JUMP * alive / alive.sum()
        self._frames = graph.frames.astype(np.int16)

    @property
    def noise(self) -> float:
        """The estimate of ε."""
        return self.wrong / self.seen

    def predicted(self, belief: Belief, action: int) -> Belief:
        """Return the belief after an action, before the next frame is seen."""
        moved: Belief = (1 - JUMP) * (self.moves[action] @ belief) + self._jump
        moved[END] = 0.0
        return moved

    def updated(self, belief: Belief, cells: Int[ndarray, " cells"]) -> Belief:
        """Return the belief once a frame is seen, and learn about the noise."""
        visible = int((cells >= 0).sum())
        mismatches = visible - (self._frames == cells.astype(np.int16)).sum(axis=1)
        noise = min(max(self.noise, 1e-4), 0.45)
        log = mismatches * np.log(noise / self.others / (1 - noise))
        weighted = belief * np.exp(log - log.max())[self.graph.present]
        weighted[END] = 0.0
        total = float(weighted.sum())
        if total < np.finfo(float).tiny:  # nothing that was expected is like this frame
            return self.updated(self._jump, cells)
        found: Belief = weighted / total
        self.seen += visible
        self.wrong += float(found @ mismatches[self.graph.present])
        return found
