"""A small game that was learned as the arrays of one of pymdp's agents: A, B, C, D, its paths as policies, and E."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from rgm.errors import RGMError
from rgm.export.arrays import write
from rgm.planning.graph import END, Graph
from rgm.runtime.seeds import positive, whole

MOST_STATES = 1000
"""Most states of an export, whose transitions are dense."""
MOST_POLICIES = 10**6


@dataclass(frozen=True, kw_only=True)
class GameArrays:
    """One factor of states with `actions` actions, and two modalities: the frame that is seen, and the reward.

    A state is an event with the reward of the step that led to it. The last two states, the end of an episode and what
    was never tried, lead to themselves. Frame outcomes are the rows of `frames`, then the end, then the unknown.

    `A_frame`: (frames + 2, states), `A_reward`: (rewards, states), p(outcome | state)
    `B`: (states, states, actions), p(next | state, action)
    `C_reward`: (rewards,), log preferences, the reward in nats times the precision; frames have none
    `D`: (states,), p(state) as an episode begins
    `policies`: (policies, steps, 1), all paths of so many actions; `E`: (policies,), their prior, uniform
    `rewards`: (rewards,), `frames`: (frames, cells) of symbols, `event`: (states,), the state of the graph, −1: unknown
    """

    A_frame: Float[ndarray, "outcomes states"]
    A_reward: Float[ndarray, "rewards states"]
    B: Float[ndarray, "states states actions"]
    C_reward: Float[ndarray, " rewards"]
    D: Float[ndarray, " states"]
    policies: Int64[ndarray, "policies steps 1"]
    E: Float[ndarray, " policies"]
    rewards: Float[ndarray, " rewards"]
    frames: Int64[ndarray, "frames cells"]
    event: Int64[ndarray, " states"]


def game_arrays(graph: Graph, *, steps: int = 3, precision: float = 4.0) -> GameArrays:
    """Return a learned game as NumPy arrays in float32, without importing pymdp.

    Episodes begin in the states without a frame before, or anywhere where the view shows none. What was never tried has
    the least reward. Raises RGMError for more than `MOST_STATES` states or `MOST_POLICIES` policies.
    """
    whole(steps, "the number of steps")
    positive(precision, "the precision")
    if graph.actions**steps > MOST_POLICIES:
        raise RGMError(f"{graph.actions} actions over {steps} steps are too many policies: give fewer steps")
    rewards, kind = np.unique(np.append(graph.reward, 0.0), return_inverse=True)
    kind, none = kind.reshape(-1)[:-1], int(kind.reshape(-1)[-1])
    levels = len(rewards)
    entered = graph.target * levels + kind
    alone = np.setdiff1d(graph.source, graph.target) * levels + none
    nodes = np.unique(np.concatenate([entered[graph.target != END], alone]))
    event, reward = np.divmod(nodes, levels)
    ends = np.unique(kind[graph.target == END])
    count = len(nodes) + len(ends) + 1
    if count > MOST_STATES:
        raise RGMError(
            f"this game has {count:,} states with their rewards, but pymdp's transitions are dense: export one of at "
            f"most {MOST_STATES:,}"
        )
    event = np.concatenate([event, np.full(len(ends), END), [-1]])
    reward = np.concatenate([reward, ends, [0]])  # the least, for what is unknown
    place = {
        (int(one), int(level)): number
        for number, (one, level) in enumerate(zip(event, reward, strict=True))
        if one >= 0
    }
    moves = np.zeros((count, count, graph.actions), dtype=np.float32)
    arrivals = [place[pair] for pair in zip(graph.target.tolist(), kind.tolist(), strict=True)]
    for number in range(count):
        if event[number] <= END:
            moves[number, number] = 1.0
    for source, action, share, arrival in zip(graph.source, graph.action, graph.share, arrivals, strict=True):
        moves[arrival, event == source, action] += np.float32(share)
    untried = moves.sum(axis=0) == 0
    moves[-1][untried] = 1.0
    moves /= moves.sum(axis=0)
    frames = len(graph.frames)
    seen = np.where(event > END, graph.present[event.clip(min=0)], np.where(event == END, frames, frames + 1))
    begins = (event > END) & (reward == none) & (graph.previous[event.clip(min=0)] == -1)
    if not begins.any():
        begins = event > END
    policies = np.array(list(itertools.product(range(graph.actions), repeat=steps)), dtype=np.int64)[..., None]
    return GameArrays(
        A_frame=np.eye(frames + 2, dtype=np.float32)[:, seen],
        A_reward=np.eye(levels, dtype=np.float32)[:, reward],
        B=moves,
        C_reward=(precision * rewards).astype(np.float32),
        D=(begins / begins.sum()).astype(np.float32),
        policies=policies,
        E=np.full(len(policies), 1 / len(policies), dtype=np.float32),
        rewards=rewards.astype(np.float32),
        frames=graph.frames.astype(np.int64),
        event=event.astype(np.int64),
    )


def save_game(path: Path, arrays: GameArrays) -> None:
    """Write arrays as one .npz file, without pickles; raise RGMError where it cannot be written."""
    write(path, dict(vars(arrays)))
