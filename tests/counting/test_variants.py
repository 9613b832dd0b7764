"""Ablated trees, and the controls built from them."""

import pytest
import torch
from toys import fitted

from rgm.counting.config import CountingConfig, PixelSymbols
from rgm.counting.model import CountingRGM
from rgm.counting.variants import Scattered, factorised
from rgm.data.images import to_unit
from rgm.data.load import load_data
from rgm.evaluation import controls
from rgm.evaluation.locality import locality
from rgm.model.receptive import Box
from rgm.model.stored import Level

DEEP = CountingConfig(
    image=(1, 16, 16),
    symbols=PixelSymbols(),
    levels=(
        Level(grid=(4, 4), states=3),
        Level(grid=(2, 2), states=2),
        Level(grid=(1, 1), states=6),
        Level(grid=(1, 1), states=3),
    ),
)


@pytest.fixture
def deep() -> CountingRGM:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CountingRGM(DEEP).double()


def test_factorised_cells_are_as_probable_as_before(deep: CountingRGM) -> None:
    tables, alone = deep.tables(), factorised(deep)
    found = alone.tables()
    torch.testing.assert_close(found.top, torch.eye(3, dtype=torch.float64))
    low, high = tables.tree.links
    for concept in range(3):
        for cell in range(16):
            parent = (cell // 4) // 2 * 2 + (cell % 4) // 2
            for state in range(3):
                expected = sum(
                    float(tables.top[concept, root] * high[parent, root, middle] * low[cell, middle, state])
                    for root in range(6)
                    for middle in range(2)
                )
                assert float(found.tree.links[0][cell, concept, state]) == pytest.approx(expected, rel=1e-12)


def test_factorised_cells_are_independent_given_the_concept(deep: CountingRGM) -> None:
    alone = factorised(deep)
    images = torch.rand(2, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    tables = alone.tables()
    leaves = tables.likelihood.log_prob(alone.symbols(images))  # cells, images, states
    joint = leaves[:, :, None] + tables.tree.links[0].log()[:, None]
    torch.testing.assert_close(alone.log_evidence(images), joint.logsumexp(dim=3).sum(dim=0))
    assert not torch.allclose(alone.log_evidence(images), deep.log_evidence(images))


def test_a_scattered_model_encodes_and_decodes_permuted_pixels() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Scattered(DEEP, seed=1)
    z1 = torch.zeros(2, 4, 4, dtype=torch.int64)
    z1[1, 2, 1] = 2
    change = (model.decode(z1[:1]) - model.decode(z1[1:]))[0, 0] != 0
    assert int(change.sum()) == 16  # as many pixels as a cell has, all over the image
    assert int(change[8:12, 4:8].sum()) < 8
    assert model.decoder_field(2, 1) == Box.of(0, 0, 16, 16)
    images = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    shuffled = images.flatten(2)[..., model.order].unflatten(2, (16, 16))
    torch.testing.assert_close(model.symbols(images), model.leaves.read(shuffled))
    straight = model.leaves.decode(model.tables().appearance[:, :1])[0, 0].flatten()
    torch.testing.assert_close(model.decode(torch.zeros_like(z1[:1])).flatten()[model.order], straight)


def test_locality_distinguishes_the_controls_of_a_tree() -> None:
    train, test = load_data("digits", "train"), load_data("digits", "test")
    subset = slice(400)
    train = controls.replace(train, images=train.images[subset], labels=train.labels[subset])
    model = fitted(CountingRGM.from_preset("counting", images=400), train.images, train.labels)
    blank = controls.untrained(model, seed=1)
    assert all(
        torch.equal(one, two) for one, two in zip(blank.counts, controls.untrained(model, seed=1).counts, strict=True)
    )
    assert isinstance(controls.factorised(model, train, seed=1), CountingRGM)
    scattered = controls.flat(model, train, seed=1)
    concept = scattered.infer(to_unit(test.images)).concept.argmax(dim=1)
    assert (concept == test.labels).double().mean() > 0.7  # learning does not depend on the order of pixels
    own, shuffled = (
        locality(one, test, None, count=2, concepts=2).measures()["own_patch_share"] for one in (model, scattered)
    )
    assert own == pytest.approx(1)
    assert shuffled < 0.15
