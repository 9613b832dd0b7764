"""pymdp plays a game that rgm learned: the arrays of a small Catch, and the actions of both agents beside each other.

    pip install inferactively-pymdp
    python examples/9_pymdp_game.py

If pymdp is not installed, NumPy sums the expected log preferences of the same paths.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rgm.export.pymdp_game import game_arrays, save_game
from rgm.planning import Agent
from rgm.planning.environments import Catch

try:
    from jax import numpy as jnp
    from pymdp.agent import Agent as PymdpAgent
except ImportError:
    PymdpAgent = None
    print("pymdp is not installed (pip install inferactively-pymdp): NumPy does the sums")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--frames", type=int, default=3000)
parser.add_argument("--steps", type=int, default=40)
parser.add_argument("--out", type=Path, default=Path("runs/catch.npz"))
chosen = parser.parse_args()
rows, columns = 4, 3
length = rows - 1  # so long a fruit falls

# Learned from random play.
game, ours, random = Catch(rows=rows, columns=columns), Agent(3), np.random.default_rng(0)
frame, _ = game.reset(seed=0)
ours.begin(frame)
for _ in range(chosen.frames):
    action = int(random.integers(3))
    after, reward, terminated, _, _ = game.step(action)
    ours.observe(frame, action, after, reward, terminated)
    frame = after
arrays = game_arrays(ours.plan(), steps=length)
save_game(chosen.out, arrays)
print(f"{len(arrays.D)} states, {len(arrays.policies)} paths of {length} actions: {chosen.out}")


def with_pymdp(belief: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the probability of every path for pymdp's agent."""
    agent = PymdpAgent(
        A=[jnp.asarray(arrays.A_frame)[None], jnp.asarray(arrays.A_reward)[None]],
        B=[jnp.asarray(arrays.B)[None]],
        C=[jnp.zeros((1, len(arrays.A_frame))), jnp.asarray(arrays.C_reward)[None]],
        D=[jnp.asarray(arrays.D)[None]],
        E=jnp.asarray(arrays.E)[None],
        policies=jnp.asarray(arrays.policies),
        policy_len=length,
        use_states_info_gain=False,
    )
    q_pi, _ = agent.infer_policies([jnp.asarray(belief)[None, None]])
    return np.asarray(q_pi)[0]


def with_numpy(belief: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the same: softmax of the expected log preferences, summed over the steps."""
    total = np.log(arrays.E)
    for number, path in enumerate(arrays.policies[..., 0]):
        state = belief
        for action in path:
            state = arrays.B[..., action] @ state
            total[number] += arrays.C_reward @ arrays.A_reward @ state
    weights = np.exp(total - total.max())
    return weights / weights.sum()


paths = with_numpy if PymdpAgent is None else with_pymdp
outcome = {tuple(known): number for number, known in enumerate(arrays.frames.tolist())}
frame, _ = game.reset(seed=1)
ours.begin(frame)
caught = missed = agreed = 0
prior = np.ones_like(arrays.D)
for _ in range(chosen.steps):
    belief = prior * arrays.A_frame[outcome[tuple(frame.flatten().tolist())]]
    belief = belief / belief.sum()
    q = paths(belief)
    first = np.bincount(arrays.policies[:, 0, 0], weights=np.where(q > 0.999 * q.max(), q, 0), minlength=3)
    agreed += bool(first[ours.act(frame)] > 0)
    action = int(first.argmax())
    prior = arrays.B[..., action] @ belief
    frame, reward, _, _, _ = game.step(action)
    caught, missed = caught + (reward > 0), missed + (reward < 0)
print(
    f"{caught} fruits caught, {missed} missed; our action is one of the best there in {agreed} of {chosen.steps} steps"
)
