"""Learning to play in rounds: random play, then, on-line, play by what is known and what is to be learned."""

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from rgm.planning.agent import Agent
from rgm.planning.environments import Environment, Frame
from rgm.planning.playing import EVALUATE, LEARN, LEARNING_LIMIT, LIMIT, Player, RandomPlayer, Score, play
from rgm.planning.values import CURIOUS

ROUNDS, ONLINE_ROUNDS = 10, 20
"""Rounds of learning from random play, whose curve they draw, and of learning on-line."""
RANDOM_ROUNDS = 2
"""The first rounds of on-line learning, which are random play."""
CURVE_STEPS = 1000
"""Steps of evaluation after a round."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What is known after a round: frames seen, states, edges, a short score; seconds of learning and planning."""

    frames: int
    states: int
    edges: int
    score: Score
    learn_s: float = field(compare=False)
    plan_s: float = field(compare=False)

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "Round":
        """Return a round from its numbers."""
        return cls(**stored | {"score": Score(**stored["score"])})

    def numbers(self) -> dict[str, Any]:
        """Return the round as numbers for JSON."""
        return asdict(self)

    def measures(self) -> dict[str, float | int]:
        """Return what equal runs have in common."""
        return {"frames": self.frames, "states": self.states, "edges": self.edges, **self.score.measures()}


def round_sizes(frames: int, online: bool) -> list[int]:
    """Return the frames of each round, which add up."""
    rounds = ONLINE_ROUNDS if online else ROUNDS
    ends = (frames * number // rounds for number in range(rounds + 1))
    return [end - start for start, end in itertools.pairwise(ends) if end > start]


def learn(
    agent: Agent,
    game: Environment,
    shown: Environment,
    frames: int,
    *,
    online: bool,
    seed: int,
    first: int = 0,
    after: Callable[[Round], None] = lambda _: None,
) -> None:
    """Learn in rounds from `first` on: frames of `game` are learned from, and play is scored on `shown`.

    On-line, after the first rounds, actions are the agent's own, by expected free energy with the information that they
    are expected to give; otherwise random. `after` is called after every round. Equal seeds give equal rounds, wherever
    the first begins.
    """
    sizes = round_sizes(frames, online)
    for number in range(first, len(sizes)):
        start = time.perf_counter()
        own = online and number >= RANDOM_ROUNDS
        if own:
            agent.plan(CURIOUS, explore=True)
        seeds = (seed, LEARN, number)
        player = _Watched(agent, agent if own else RandomPlayer(game.actions, seeds))
        limit = LIMIT if own else LEARNING_LIMIT
        play(game, player, sizes[number], seeds, limit=limit, whole=False, seen=agent.observe)
        learned = time.perf_counter()
        graph = agent.plan()
        planned = time.perf_counter()
        score = play(shown, agent, CURVE_STEPS, (seed, EVALUATE, 1 + number))
        after(
            Round(
                frames=sum(sizes[: number + 1]),
                states=len(graph),
                edges=len(graph.source),
                score=score,
                learn_s=learned - start,
                plan_s=planned - learned,
            )
        )


class _Watched:
    """A player whose episodes an agent begins, too."""

    def __init__(self, agent: Agent, player: Player) -> None:
        self.agent, self.act = agent, player.act

    def begin(self, frame: Frame) -> None:
        self.agent.begin(frame)
