"""What an agent expects to happen: the events on its way, if the most frequent follows each action of its plan."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from rgm.planning.agent import Agent
from rgm.planning.graph import END

FARTHEST = 40
"""Most events of a way."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """For every state, the best action, the state that follows it most often, and the mean reward of that step.

    What follows is `END` for the end of an episode, and where the action was never taken.
    """

    action: Int[ndarray, " states"]
    follows: Int[ndarray, " states"]
    reward: Float[ndarray, " states"]

    @classmethod
    def of(cls, agent: Agent) -> "Course":
        """Return the course of an agent's plan; raise RGMError where it has none."""
        graph, best = agent.planned, agent.values.argmax(axis=1)
        taken = np.flatnonzero(graph.action == best[graph.source])
        order = taken[np.lexsort((-taken, graph.count[taken]))]
        follows, gained = np.full(len(graph), END), np.zeros(len(graph))
        follows[graph.source[order]] = graph.target[order]  # of several, the first most frequent one
        gained[graph.source[order]] = graph.reward[order]
        return cls(action=best, follows=follows, reward=gained)

    def way(self, state: int, most: int = FARTHEST) -> list[int]:
        """Return the states from one on, up to the one whose step is rewarded, an end, or one that comes again."""
        found = [state]
        while len(found) < most and self.reward[found[-1]] <= 0:
            after = int(self.follows[found[-1]])
            if after == END or after in found:
                break
            found.append(after)
        return found
