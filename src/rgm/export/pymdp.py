"""The learned tree as arrays for pymdp's agents: one agent per level, with likelihoods A, transitions B and prior D."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from rgm.counting.config import PixelValues
from rgm.counting.emission import emission
from rgm.counting.model import CountingRGM
from rgm.counting.tree import parents
from rgm.errors import RGMError
from rgm.export.arrays import write

Real = NDArray[np.floating]


@dataclass(frozen=True)
class PymdpLevel:
    """One level as an agent: its factors are the cells of a grid, row by row, its modalities their children.

    `A`: (modalities, outcomes, states), p(outcome | state of the one factor that the modality depends on)
    `A_dependencies`: (modalities,), that factor
    `B`: (states, states, 1), the same for every factor: the identity, with one action
    `D`: (factors, states), p(state), the prior by the levels above
    """

    A: Real
    A_dependencies: NDArray[np.int64]
    B: Real
    D: Real


@dataclass(frozen=True)
class PymdpArrays:
    """A tree as a stack of agents, the finest first: z_1 over its symbols, z_2 over z_1, …, the class over the root.

        A_1[m][o, s] = p(symbol m = o | z_1 = s)      A_ℓ[m][o, s] = p(z_{ℓ−1} of cell m = o | z_ℓ of its parent = s)
        D_L[c] = 1 / classes                          D_{ℓ−1} of cell m = A_ℓ[m] · D_ℓ of its parent

    Every modality depends on one factor, so that a level's posterior factorises, and pymdp's inference is exact. For
    dependent factors, as with all levels in one agent, it would be approximate.

    `weighted` and `likelihood`, (modalities,), are the weights of each symbol where codes and the class are inferred,
    and in the probability of an image.
    """

    levels: tuple[PymdpLevel, ...]
    weighted: Real
    likelihood: Real


@torch.no_grad()
def pymdp_arrays(model: CountingRGM) -> PymdpArrays:
    """Return a tree as NumPy arrays in the type of its counts, for pymdp 1.0 and later, without importing it.

    An agent of z_ℓ infers q_ℓ, the posterior given the observations below its cells. Its message is q_ℓ / D_ℓ, so that

        p(observations below cell m | parent = s) ∝ Σ_o A_{ℓ+1}[m][o, s] · q_ℓ(o) / D_ℓ(o)  =  h_m(s)

    and the modality m of z_{ℓ+1} becomes [h_m, 1 − h_m], of which the first is observed, with h_m scaled to at most 1.
    The last posterior, of the class, is then the model's own. (With q_ℓ itself as an observation it is not: pymdp takes
    Σ_o q_ℓ(o) log A[o, s].)

    Symbols that do not exist in a group are omitted. A state without counts has uniform likelihoods and D = 0. Raises
    RGMError where such a state has prior probability.
    """
    if isinstance(model.config.symbols, PixelValues):
        raise RGMError(
            "pymdp's arrays are of trees over binary or ranked symbols, but this model is of pixel values: train one "
            "with --preset counting"
        )
    top, lacking = _columns(model.counts[-1][None])
    stack = [_symbols(model), *_links(model), (top, torch.zeros(1, dtype=torch.int64), lacking)]
    kind, classes = model.counts[0].dtype, model.num_classes
    prior = torch.full((1, classes), 1 / classes, dtype=torch.float64)
    levels: list[PymdpLevel] = []
    for likelihoods, depends, unused in reversed(stack):
        if (prior[unused] > 0).any():
            raise RGMError("a state without counts has prior probability: these are not the counts of a trained tree")
        level = PymdpLevel(
            A=likelihoods.to(kind).contiguous().numpy(),
            A_dependencies=depends.numpy(),
            B=torch.eye(prior.shape[1], dtype=kind)[..., None].numpy(),
            D=prior.to(kind).numpy(),
        )
        levels.insert(0, level)
        if len(levels) < len(stack):
            prior = torch.bmm(likelihoods, prior[depends][..., None])[..., 0]
    weights = (_weights(model, likelihood).to(kind).numpy() for likelihood in (False, True))
    return PymdpArrays(tuple(levels), *weights)


@torch.no_grad()
def pymdp_observations(
    model: CountingRGM, images: Float[Tensor, "n channels rows columns"], *, likelihood: bool = False
) -> Real:
    """Return the first level's observations of images: (n, modalities, outcomes), for `categorical_obs=True`.

    Each is the distribution of outcomes (grey values are probabilities) times the weight of the modality, from
    `weighted`, or from `likelihood` where that is true. pymdp's Σ_o o · log A[o, s] is then log p(symbols | s) with
    these weights.
    """
    exists = _existing(model)
    symbols = model.symbols(images.to(model.device)).cpu()
    above = symbols.unflatten(2, (model.leaves.variates, model.leaves.levels - 1))
    shown = torch.cat([1 - above.sum(dim=3, keepdim=True), above], dim=3).transpose(1, 2)[exists]
    return (shown * _weights(model, likelihood).to(shown)[:, None, None]).transpose(0, 1).numpy()


def save_pymdp(path: Path, arrays: PymdpArrays) -> None:
    """Write arrays as one .npz file, without pickles; raise RGMError where it cannot be written.

    Names: `levels`, how many; `A_1`, `A_dependencies_1`, `B_1`, `D_1` of the first, …; `weighted`, `likelihood`.
    """
    named = {"levels": np.array(len(arrays.levels)), "weighted": arrays.weighted, "likelihood": arrays.likelihood}
    for number, level in enumerate(arrays.levels, start=1):
        named |= {f"{name}_{number}": array for name, array in vars(level).items()}
    write(path, named)


Part = tuple[Float[Tensor, "modalities outcomes states"], Int64[Tensor, " modalities"], Bool[Tensor, "factors states"]]
"""Likelihoods, the factor of each modality, and a mask of states without counts."""


def _symbols(model: CountingRGM) -> Part:
    exists = _existing(model)
    counts = model.counts[0].cpu().double() * model.leaves.exists().cpu()[:, None, :, None]
    learned = emission(counts, outliers=model.config.smoothing.outliers)
    first = learned.base[:, :, None]
    others = first + learned.table.unflatten(1, (model.leaves.variates, -1))
    likelihoods = torch.cat([first, others], dim=2).exp()
    likelihoods = likelihoods.masked_fill(learned.impossible[:, None, None], 1 / model.leaves.levels)
    return likelihoods[exists], exists.nonzero()[:, 0], learned.impossible


def _links(model: CountingRGM) -> list[Part]:
    found = []
    for level, (below, above) in enumerate(zip(model.grids, model.grids[1:], strict=False)):
        likelihoods, lacking = _columns(model.link_counts(level))
        depends = parents(below, above)
        unused = torch.zeros(above[0] * above[1], lacking.shape[1]).index_add_(0, depends, lacking.float())
        found.append((likelihoods, depends, unused > 0))
    return found


def _columns(
    counts: Float[Tensor, "cells states outcomes"],
) -> tuple[Float[Tensor, "cells outcomes states"], Bool[Tensor, "cells states"]]:
    """Return p(outcome | state), uniform without counts, and a mask of states without counts."""
    counts = counts.cpu().double()
    lacking = counts.sum(dim=2) == 0
    shares = counts.masked_fill(lacking[..., None], 1.0)
    return (shares / shares.sum(dim=2, keepdim=True)).transpose(1, 2), lacking


def _existing(model: CountingRGM) -> Bool[Tensor, "groups variates"]:
    """Return which symbols exist in a group and have counts."""
    return model.leaves.exists().cpu() & (model.counts[0].cpu().sum(dim=3) > 0).any(dim=1)


def _weights(model: CountingRGM, likelihood: bool) -> Float[Tensor, " modalities"]:
    exists = _existing(model)
    weights = model.leaves.likelihood_weights() if likelihood else model.leaves.weights()
    return weights.cpu().expand(exists.shape)[exists]
