"""What each action in each state is worth: planners, of which each is an implementation of one role."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy import sparse
from scipy.special import digamma, entr

from rgm.errors import unknown
from rgm.planning.graph import END, Graph

Values = Float[ndarray, "states actions"]
Pairs = Float[ndarray, " pairs"]
SWEEPS, TOLERANCE = 2000, 1e-6
UNSEEN = 2
"""Outcomes that an action may have beside those seen, each with prior count 1/2."""


@runtime_checkable
class Planner(Protocol):
    """A rule that gives every action in every state a value; the best one is taken."""

    def __call__(self, graph: Graph) -> Values:
        """Return the values, −∞ for actions that are not to be taken."""
        ...


@dataclass(frozen=True, kw_only=True)
class ExpectedRewards:
    """Expected discounted rewards, by value iteration.

        Q(s, a) = r(s, a) + γ Σ_s' p(s' | s, a) max_a' Q(s', a')

    What was never tried is worth −∞, and a state from which nothing was ever tried the worst reward for ever.
    """

    discount: float = 0.98

    def __call__(self, graph: Graph) -> Values:
        """Return Q."""
        return _iterated(graph, _gained(graph), _tried(graph), self.discount)


@dataclass(frozen=True, kw_only=True)
class ExpectedFreeEnergy:
    """The negative expected free energy of the paths that begin with an action, discounted.

        −G(s, a) = E[ log C(o) ] + w I(s' ; θ | s, a) − v H[ p(s' | s, a) ] + γ Σ_s' p(s' | s, a) max_a' −G(s', a')

    The first term is the goal: log C(o) is the reward in nats times `precision`. The second is the information gained
    about the transitions θ, whose posterior is Dirichlet with the counts and two outcomes not seen of prior count 1/2.
    The third is the entropy of outcomes, risk under a preference for what is foreseen; frames show their states, so
    that there is no other ambiguity. With `information` an action that was never tried is
    worth what it may teach and, after it, as much as the state itself; without, −∞.
    """

    precision: float = 4.0
    information: float = 0.0
    ambiguity: float = 0.1
    discount: float = 0.98

    def __call__(self, graph: Graph) -> Values:
        """Return −G."""
        size = len(graph) * graph.actions
        pair, tried = graph.pair, _tried(graph)
        risk = np.bincount(pair, entr(graph.share), minlength=size)
        gained = self.precision * _gained(graph) - self.ambiguity * risk
        if not self.information:
            return _iterated(graph, gained, tried, self.discount)
        gained += self.information * information_gain(graph)
        return _iterated(graph, gained, tried, self.discount, stays=~tried)


@dataclass(frozen=True, kw_only=True)
class BackwardInduction:
    """The shortest way to a goal from which a goal can be reached again, however chance falls.

        d(s, a) = 1 where a's outcomes are all goals or states on the way, else 1 + max_s' min_a' d(s', a')

    Goals are rewards above zero, rewards below zero are forbidden, and goals that lead to no other are given up one
    after the other (the greatest fixed point). The value is −d; where there is no such way, as in a game that ends with
    its goal, less by the number of states and by the way to any goal; and −∞ where no way is sure.
    """

    def __call__(self, graph: Graph) -> Values:
        """Return −d."""
        goal = kept = graph.reward > 0
        anyhow = steps = _distances(graph, goal)
        while True:
            state = steps.reshape(len(graph), graph.actions).min(axis=1)
            held = kept & np.isfinite(state[graph.target])
            if (held == kept).all():
                break
            kept, steps = held, _distances(graph, held)
        found: Values = -np.where(np.isfinite(steps), steps, len(graph) + anyhow).reshape(len(graph), graph.actions)
        return found


PLANNERS: dict[str, Planner] = {
    "rewards": ExpectedRewards(),
    "free-energy": ExpectedFreeEnergy(),
    "induction": BackwardInduction(),
}
"""The planners by name."""
CURIOUS = ExpectedFreeEnergy(information=1.0)
"""The planner of on-line learning, which weighs what is to be learned."""


def planner_named(name: str) -> Planner:
    """Return a planner; raise RGMError where there is none of that name."""
    if name not in PLANNERS:
        raise unknown("planner", name, PLANNERS)
    return PLANNERS[name]


def information_gain(graph: Graph) -> Pairs:
    """Return the information in nats that each action in each state is expected to give about where it leads.

    I(s' ; θ) = H[ E θ ] − E H[ θ ] = Σ_k p_k ( ψ(n_k + 1) − ψ(n + 1) − log p_k ),    p_k = n_k / n
    """
    size = len(graph) * graph.actions
    prior = 1 / 2
    total = np.bincount(graph.pair, graph.count, minlength=size) + UNSEEN * prior

    def part(count: ndarray, total: ndarray) -> ndarray:
        share = count / total
        return share * (digamma(count + 1) - digamma(total + 1) - np.log(share))

    seen = np.bincount(graph.pair, part(graph.count, total[graph.pair]), minlength=size)
    found: Pairs = seen + UNSEEN * part(np.full(size, prior), total)
    return found


def _tried(graph: Graph) -> Bool[ndarray, " pairs"]:
    return np.asarray(np.bincount(graph.pair, minlength=len(graph) * graph.actions) > 0)


def _gained(graph: Graph) -> Pairs:
    """Return the expected reward of each action in each state."""
    return np.bincount(graph.pair, graph.share * graph.reward, minlength=len(graph) * graph.actions)


def _iterated(
    graph: Graph,
    gained: Pairs,
    tried: Bool[ndarray, " pairs"],
    discount: float,
    *,
    stays: Bool[ndarray, " pairs"] | None = None,
) -> Values:
    """Return the fixed point of the Bellman equation; actions that `stays` names lead back to their state."""
    shape = (len(graph), graph.actions)
    allowed = tried if stays is None else tried | stays
    known = np.asarray(allowed.reshape(shape).any(axis=1))
    value = np.where(known, 0.0, min(0.0, float(gained[tried].min(initial=0.0))))
    known[END], value[END] = False, 0.0
    values = np.full(shape[0] * shape[1], -np.inf)
    moves = sparse.csr_matrix((graph.share, (graph.pair, graph.target)), shape=(len(values), len(graph)))
    for _ in range(SWEEPS):
        ahead = moves @ value
        if stays is not None:
            ahead = np.where(stays, np.repeat(value, graph.actions), ahead)
        values[allowed] = gained[allowed] + discount * ahead[allowed]
        best = np.where(known, values.reshape(shape).max(axis=1), value)
        change = float(np.abs(best - value).max(initial=0.0))
        value = best
        if change < TOLERANCE:
            break
    return values.reshape(shape)


def _distances(graph: Graph, goal: Bool[ndarray, " edges"]) -> Pairs:
    """Return the steps by which each action in each state reaches a goal for sure, ∞ where it may not."""
    size = len(graph) * graph.actions
    forbidden = (graph.reward < 0) | ((graph.target == END) & ~goal)
    tried = _tried(graph)
    state: ndarray = np.full(len(graph), np.inf)
    while True:
        ahead = np.where(forbidden, np.inf, np.where(goal, 0.0, state[graph.target]))
        worst = np.zeros(size)
        np.maximum.at(worst, graph.pair, ahead)
        steps: Pairs = np.where(tried, 1 + worst, np.inf)
        nearest = steps.reshape(len(graph), graph.actions).min(axis=1)
        nearest[END] = np.inf
        if (nearest == state).all():
            return steps
        state = nearest
