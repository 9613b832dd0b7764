"""The arrays for pymdp match the tree: every joint state enumerated from the arrays alone."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

from rgm.counting.config import CountingConfig, PixelSymbols
from rgm.counting.exemplars import ExemplarRecipe
from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.export.pymdp import PymdpArrays, pymdp_arrays, pymdp_observations, save_pymdp
from rgm.model.stored import Level
from rgm.training.fit import fit

FLAT = (((2, 2), 3), ((1, 1), 4), ((1, 1), 2))
DEEP = (((4, 2), 2), ((2, 1), 2), ((1, 1), 4), ((1, 1), 2))


def tree(levels: tuple[tuple[tuple[int, int], int], ...]) -> CountingRGM:
    torch.manual_seed(0)
    rows, columns = levels[0][0]
    return CountingRGM(
        CountingConfig(
            image=(1, 2 * rows, 2 * columns),
            symbols=PixelSymbols(side=2),
            levels=tuple(Level(grid=grid, states=states) for grid, states in levels),
        )
    ).double()


def with_unused_states() -> CountingRGM:
    """Return a tree without counts for the second cell's last state and the second root."""
    model = tree(FLAT)
    symbols, links, top = model.counts
    symbols[1, 2] = 0
    links[1, :, 2] = 0
    links[:, 1] = 0
    top[:, 1] = 0
    return model


TREES = {"flat": lambda: tree(FLAT), "deep": lambda: tree(DEEP), "unused": with_unused_states}


@pytest.fixture(params=TREES)
def model(request: pytest.FixtureRequest) -> CountingRGM:
    return TREES[request.param]()


def made(model: CountingRGM, count: int = 3) -> torch.Tensor:
    return torch.rand(count, *model.config.image, generator=torch.Generator().manual_seed(1))


def symbol_log_probs(level, observed: np.ndarray) -> np.ndarray:
    """Return Σ_m Σ_o o · log A[m][o, s] of each factor, (n, factors, states)."""
    log = np.log(np.maximum(level.A, np.finfo(level.A.dtype).tiny))
    log_probs = np.zeros((len(observed), *level.D.shape))
    np.add.at(log_probs, (slice(None), level.A_dependencies), np.einsum("nmo,mos->nms", observed, log))
    return log_probs


def enumerated(arrays: PymdpArrays, observed: np.ndarray) -> np.ndarray:
    """Return log p(x, c), (n, classes), summed over every joint state."""
    log_probs = symbol_log_probs(arrays.levels[0], observed)
    *_, top = arrays.levels
    found = [[] for _ in top.D[0]]
    for codes in product(*(product(range(level.D.shape[1]), repeat=len(level.D)) for level in arrays.levels)):
        chance = top.D[0, codes[-1][0]]
        for level, below, above in zip(arrays.levels[1:], codes, codes[1:], strict=False):
            for cell, factor in enumerate(level.A_dependencies):
                chance *= level.A[cell, below[cell], above[factor]]
        if chance > 0:
            found[codes[-1][0]].append(np.log(chance) + log_probs[:, np.arange(len(codes[0])), codes[0]].sum(axis=1))
    return np.stack([logsumexp(terms, axis=0) for terms in found], axis=1)


def stacked(arrays: PymdpArrays, observed: np.ndarray) -> np.ndarray:
    """Return p(c | x), (n, classes), agent by agent, as in `pymdp_arrays`."""
    first, *rest = arrays.levels
    with np.errstate(divide="ignore"):
        q = softmax(symbol_log_probs(first, observed) + np.log(first.D), axis=2)
        for below, level in zip(arrays.levels, rest, strict=False):
            message = np.divide(q, below.D, out=np.zeros_like(q), where=below.D > 0)
            received = np.einsum("nmo,mos->nms", message, level.A)
            received /= received.max(axis=2, keepdims=True)
            log = np.broadcast_to(np.log(level.D), (len(q), *level.D.shape)).copy()
            np.add.at(log, (slice(None), level.A_dependencies), np.log(received))
            q = softmax(log, axis=2)
    return q[:, 0]


def test_evidence_and_class_are_the_models_own(model: CountingRGM) -> None:
    arrays, images = pymdp_arrays(model), made(model)
    own = enumerated(arrays, pymdp_observations(model, images, likelihood=True))
    np.testing.assert_allclose(own, model.log_evidence(images).numpy() - np.log(2), rtol=1e-10)
    observed = pymdp_observations(model, images)
    read = enumerated(arrays, observed)
    np.testing.assert_allclose(
        read, model.log_evidence(images, likelihood=False).numpy() - np.log(2), rtol=1e-10
    )  # with the weights of inference
    concept = model.infer(images).concept.numpy()
    np.testing.assert_allclose(softmax(read, axis=1), concept, atol=1e-10)
    np.testing.assert_allclose(stacked(arrays, observed), concept, atol=1e-10)


def assert_agents(arrays: PymdpArrays, kind: type) -> None:
    """Check pymdp's shapes, the type, and normalisation."""
    for level in arrays.levels:
        modalities, outcomes, states = level.A.shape
        assert level.A_dependencies.shape == (modalities,)
        assert set(level.A_dependencies) == set(range(len(level.D)))
        assert level.B.shape == (states, states, 1)
        assert level.D.shape[1] == states
        for name in ("A", "B", "D"):
            part = getattr(level, name)
            assert part.dtype == kind
            assert (part >= 0).all()
            np.testing.assert_allclose(part.sum(axis=0 if name == "B" else 1), 1, atol=1e-5)
        assert (level.B[..., 0] == np.eye(states)).all()
        assert outcomes >= 2
    for below, level in zip(arrays.levels, arrays.levels[1:], strict=False):
        assert level.A.shape[:2] == below.D.shape
        message = np.einsum("mos,ms->mo", level.A, level.D[level.A_dependencies])
        np.testing.assert_allclose(below.D, message, atol=1e-6)
    assert arrays.weighted.shape == arrays.likelihood.shape == arrays.levels[0].A.shape[:1]


def test_all_is_normalised_in_the_type_of_the_counts(model: CountingRGM) -> None:
    assert_agents(pymdp_arrays(model), np.float64)
    assert_agents(pymdp_arrays(model.float()), np.float32)


def test_a_state_without_counts_is_spread_evenly_and_nothing_leads_to_it() -> None:
    model = with_unused_states()
    groups, roots, _ = pymdp_arrays(model).levels
    assert (groups.D == 0).nonzero()[0].tolist() == [1]
    assert groups.D[1, 2] == 0
    assert (groups.A[groups.A_dependencies == 1][..., 2] == 0.5).all()
    assert (roots.D[0] == 0).tolist() == [False, True, False, False]
    np.testing.assert_allclose(roots.A[..., 1], 1 / 3)
    model.counts[-1][0, 1] = 1
    with pytest.raises(RGMError, match="has prior probability"):
        pymdp_arrays(model)


def test_observations_are_distributions_times_weights(model: CountingRGM) -> None:
    arrays, images = pymdp_arrays(model), made(model)
    for weights, likelihood in ((arrays.weighted, False), (arrays.likelihood, True)):
        observed = pymdp_observations(model, images, likelihood=likelihood)
        assert observed.shape == (3, *arrays.levels[0].A.shape[:2])
        np.testing.assert_allclose(observed.sum(axis=2), np.broadcast_to(weights, observed.shape[:2]), atol=1e-12)
    assert set(arrays.likelihood) == {0, 1}
    assert set(arrays.weighted) == {0.25, 0.5}


def test_the_papers_tree_has_symbols_that_groups_lack_and_states_that_none_has(digits: ImageSet) -> None:
    model = CountingRGM.from_preset("paper")
    recipe = ExemplarRecipe(images=150, exemplars=8, batch_size=25)
    fit(model, digits.images, digits.labels, recipe=recipe, device="cpu")
    arrays, images = pymdp_arrays(model), to_unit(digits.images[-40:])
    assert_agents(arrays, np.float32)
    assert len(arrays.levels[0].A) == int(model.leaves.exists().sum()) < model.leaves.exists().numel()
    assert all((level.D == 0).any() for level in arrays.levels[:-1])
    observed = pymdp_observations(model, images)
    assert set(np.unique(observed)) == {0, 1}
    np.testing.assert_allclose(stacked(arrays, observed), model.infer(images).concept.numpy(), atol=1e-3)


def test_the_file_is_read_by_numpy_alone(model: CountingRGM, tmp_path: Path) -> None:
    arrays = pymdp_arrays(model)
    save_pymdp(tmp_path / "tree.npz", arrays)
    with np.load(tmp_path / "tree.npz", allow_pickle=False) as read:
        assert int(read["levels"]) == len(arrays.levels)
        assert len(read.files) == 3 + 4 * len(arrays.levels)
        for number, level in enumerate(arrays.levels, start=1):
            for name in ("A", "A_dependencies", "B", "D"):
                np.testing.assert_array_equal(read[f"{name}_{number}"], getattr(level, name), strict=True)
        np.testing.assert_array_equal(read["weighted"], arrays.weighted, strict=True)
        np.testing.assert_array_equal(read["likelihood"], arrays.likelihood, strict=True)
