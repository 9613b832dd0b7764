"""pymdp: a tree fitted by counting as A, B, D arrays, and inference with pymdp's agents.

    pip install inferactively-pymdp
    python examples/6_pymdp.py

If pymdp is not installed, NumPy does the same computation.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import rgm
from rgm.counting.exemplars import ExemplarRecipe
from rgm.counting.model import CountingRGM
from rgm.data.images import to_unit
from rgm.export.pymdp import pymdp_arrays, pymdp_observations, save_pymdp

try:
    from jax import numpy as jnp
    from pymdp.agent import Agent
except ImportError:
    Agent = None
    print("pymdp is not installed (pip install inferactively-pymdp): NumPy does the sums")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--images", type=int, default=16)
parser.add_argument("--out", type=Path, default=Path("runs/tree.npz"))
chosen = parser.parse_args()
Array = NDArray[np.floating]

# The paper's tree, learned from the digits and written for programs without rgm.
train, test = (rgm.load_data("digits", split) for split in ("train", "test"))
model = CountingRGM.from_preset("paper")
rgm.fit(model, train.images, train.labels, recipe=ExemplarRecipe(batch_size=16))
save_pymdp(chosen.out, pymdp_arrays(model))
images = to_unit(test.images[: chosen.images])
observed = pymdp_observations(model, images)


def with_pymdp(a: Array, b: Array, d: Array, depends: Array, seen: Array) -> Array:
    """Return q(states of each factor), (n, factors, states), for n observations `seen`, (n, modalities, outcomes).

    `a`: (modalities, outcomes, states), or (n, modalities, outcomes, states) where each observation has its own.
    """
    agent = Agent(
        A=[jnp.asarray(a[..., m, :, :]) for m in range(len(depends))],
        B=[jnp.asarray(b)] * len(d),
        D=[jnp.asarray(prior) for prior in d],
        A_dependencies=[[int(factor)] for factor in depends],
        batch_size=len(seen),
        categorical_obs=True,
        num_iter=1,  # exact at once, since every modality depends on one factor
    )
    beliefs = agent.infer_states([jnp.asarray(seen[:, m]) for m in range(len(depends))], agent.D)
    return np.stack([np.asarray(belief)[:, -1] for belief in beliefs], axis=1)


def with_numpy(a: Array, b: Array, d: Array, depends: Array, seen: Array) -> Array:  # noqa: ARG001 - nothing moves
    """Return the same."""
    log_a, log_d = (np.log(np.maximum(p, np.finfo(p.dtype).tiny)) for p in (a, d))
    log = log_d[None].repeat(len(seen), axis=0)
    shown = np.einsum("nmo,nmos->nms", seen, log_a if a.ndim == 4 else log_a[None])
    np.add.at(log, (slice(None), depends), shown)
    q = np.exp(log - log.max(axis=2, keepdims=True))
    return q / q.sum(axis=2, keepdims=True)


# Up the stack of agents: each sends the next the probability of its observations, given every state above.
arrays = np.load(chosen.out)
posterior = with_numpy if Agent is None else with_pymdp
for level in range(1, int(arrays["levels"]) + 1):
    a, b, d, depends = (arrays[f"{name}_{level}"] for name in ("A", "B", "D", "A_dependencies"))
    if level > 1:
        ratio = np.divide(q, below, out=np.zeros_like(q), where=below > 0)  # posterior / prior
        message = np.einsum("nmo,mos->nms", ratio, a)
        message /= message.max(axis=2, keepdims=True)
        a = np.stack([message, 1 - message], axis=2)
        observed = np.broadcast_to(np.eye(2, dtype=a.dtype)[0], a.shape[:3])  # the first of two outcomes
    q, below = posterior(a, b, d, depends, observed), d
    print(
        f"level {level}: {len(depends)} modalities of {a.shape[-2]} outcomes, {len(d)} factors of {d.shape[1]} states"
    )

own = model.infer(images).concept.numpy()
right = (q[:, 0].argmax(axis=1) == test.labels[: chosen.images].numpy()).mean()
print(f"{'NumPy' if Agent is None else 'pymdp'} names {right:.0%} of {len(own)} digits rightly;", end=" ")
print(f"its probabilities of the classes differ from the model's by at most {abs(q[:, 0] - own).max():.1e}")
assert np.allclose(q[:, 0], own, atol=1e-4)
