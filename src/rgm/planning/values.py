"""What each state and action is worth: backward induction over a graph of transitions."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from rgm.planning.graph import END, Graph

Values = Float[ndarray, "states actions"]
SWEEPS, TOLERANCE = 2000, 1e-6


@runtime_checkable
class Planner(Protocol):
    """A rule that gives every action in every state a value; the best one is taken."""

    def __call__(self, graph: Graph) -> Values:
        """Return the values, −∞ for actions that were never tried in a state."""
        ...


def expected_rewards(graph: Graph, *, discount: float = 0.98) -> Values:
    """Return expected discounted rewards by value iteration.

        Q(s, a) = r(s, a) + γ Σ_s' p(s' | s, a) max_a' Q(s', a')

    What was never tried is worth −∞, and a state from which nothing was ever tried the worst reward for ever.
    """
    pair = graph.source * graph.actions + graph.action
    size = len(graph) * graph.actions
    tried = np.bincount(pair, minlength=size) > 0
    gained = np.bincount(pair, graph.share * graph.reward, minlength=size)
    lowest = min(0.0, float(graph.reward.min(initial=0.0)))
    known = tried.reshape(len(graph), graph.actions).any(axis=1)
    value = np.where(known, 0.0, lowest)
    value[END] = 0.0
    values = np.full(size, -np.inf)
    for _ in range(SWEEPS):
        ahead = np.bincount(pair, graph.share * value[graph.target], minlength=size)
        values[tried] = gained[tried] + discount * ahead[tried]
        best = np.where(known, values.reshape(len(graph), graph.actions).max(axis=1), value)
        change = float(np.abs(best - value).max(initial=0.0))
        value = best
        if change < TOLERANCE:
            break
    return values.reshape(len(graph), graph.actions)
