"""A film of an agent: what it sees, what it expected, and the events on its way to goals."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from rgm.planning.agent import Agent
from rgm.planning.course import Course
from rgm.planning.environments import Environment, Frame
from rgm.planning.graph import END
from rgm.planning.playing import SHOW, play

STEPS = 400
"""Steps of a film."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """Steps in play: what was seen (−1: hidden), what the agent expected to see, the action before, the reward.

    Where an episode begins or its end was expected, what was expected is the frame itself.
    """

    seen: Int[ndarray, "steps rows columns"]
    expected: Int[ndarray, "steps rows columns"]
    action: Int[ndarray, " steps"]
    reward: Float[ndarray, " steps"]


@dataclass(frozen=True, kw_only=True)
class EventMap:
    """Events (states) that were visited, and the way from each to a goal by the plan.

    `steps` is how many steps the nearest goal is ahead if the most probable follows (−1 where none is), `next` the
    place in the list of the event that follows (−1: none of them), `visits` how often it was visited, `reward` what the
    action brings on average.
    """

    steps: Int[ndarray, " events"]
    next: Int[ndarray, " events"]
    visits: Int[ndarray, " events"]
    reward: Float[ndarray, " events"]


def film(agent: Agent, game: Environment, seed: int, steps: int = STEPS) -> tuple[Film, EventMap]:
    """Return a film of an agent in play, and the map of the events in it."""
    seen: list[Frame] = []
    expected: list[Frame] = []
    actions: list[int] = []
    rewards: list[float] = []
    visits: dict[int, int] = {}

    def watch(frame: Frame, action: int, after: Frame, reward: float, _: bool) -> None:
        state = agent.state
        visits[state] = visits.get(state, 0) + 1
        ahead = agent.foreseen()
        seen.append(after)
        expected.append(after if ahead is None else ahead.reshape(frame.shape))
        actions.append(action)
        rewards.append(reward)

    play(game, agent, steps, (seed, SHOW), whole=False, seen=watch)
    made = Film(
        seen=np.stack(seen),
        expected=np.stack(expected),
        action=np.array(actions),
        reward=np.array(rewards, dtype=float),
    )
    return made, event_map(agent, visits)


def event_map(agent: Agent, visits: dict[int, int]) -> EventMap:
    """Return the map of the states that were visited."""
    graph, course = agent.planned, Course.of(agent)
    follows, gained = course.follows, course.reward
    steps = np.full(len(graph), -1)
    steps[gained > 0] = 0
    for distance in range(1, len(graph)):
        ahead = (steps < 0) & (steps[follows] == distance - 1) & (gained >= 0) & (follows != END)
        if not ahead.any():
            break
        steps[ahead] = distance
    states = np.array([state for state in sorted(visits) if state > END], dtype=np.int64)
    place = np.full(len(graph), -1)
    place[states] = np.arange(len(states))
    return EventMap(
        steps=steps[states],
        next=place[follows[states]],
        visits=np.array([visits[state] for state in states.tolist()], dtype=np.int64),
        reward=gained[states],
    )
