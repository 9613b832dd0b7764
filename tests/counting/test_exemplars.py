"""The paper's learning on a few digits: the structure recovers its exemplars; sequential updates match `update`."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from toys import config, fitted

from rgm.counting import online
from rgm.counting.exemplars import ExemplarRecipe, PaperLearner, _distinct
from rgm.counting.model import CountingRGM
from rgm.counting.online import Sequential
from rgm.counting.updating import update
from rgm.errors import RGMError

Make = Callable[[], CountingRGM]
Subset = tuple[Tensor, Tensor]
RECIPE = ExemplarRecipe(images=60, exemplars=3, images_a_step=20, images_a_stage=40)


@pytest.fixture(scope="module")
def structure(paper: Make, subset: Subset) -> CountingRGM:
    model = paper()
    PaperLearner(model, RECIPE, *subset).step(0)
    return model


def copied(model: CountingRGM, paper: Make) -> CountingRGM:
    twin = paper()
    twin.load_state_dict(model.state_dict())
    return twin


def chosen(subset: Subset) -> Tensor:
    """Return the indices of the exemplars: the first three of each class."""
    return torch.cat([(subset[1] == label).nonzero().flatten()[:3] for label in range(3)])


@given(st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=3), min_size=1, max_size=12))
def test_distinct_rows_are_numbered_as_they_first_appear(rows: list[list[int]]) -> None:
    seen: list[list[int]] = []
    expected = []
    for row in rows:
        if row not in seen:
            seen.append(row)
        expected.append(seen.index(row))
    assert _distinct([torch.tensor(rows), torch.tensor(rows).double()])[1].tolist() == expected
    assert _distinct([torch.tensor(rows)])[0].tolist() == expected


# Structure


def test_every_exemplar_is_encoded_as_itself(structure: CountingRGM, subset: Subset) -> None:
    places = chosen(subset)
    images, labels = subset[0][places].double() / 255, subset[1][places]
    upward = structure.upward(images)
    by_concept, root, pairs = structure.posterior(upward)
    states = root.argmax(dim=1)
    assert states.tolist() == list(range(9))  # each its own, in their order
    assert torch.equal(by_concept.argmax(dim=1), labels)
    assert torch.equal(structure.infer(images).concept.argmax(dim=1), labels)
    # The state is the exemplar's: the root leads to its symbols.
    top = structure.counts[-1]
    assert torch.equal(top[labels, states].round(), torch.ones(9, dtype=torch.float64))
    read = structure.symbols(images)
    for group, codes in enumerate(pairs.marginals[0].argmax(dim=2)):
        made = structure.counts[0][group, codes][..., 1:].flatten(1) - 1 / 16
        torch.testing.assert_close(made, read[group])


def test_counts_are_the_exemplars_and_their_priors(structure: CountingRGM, subset: Subset) -> None:
    symbols, *links, top = structure.counts
    read = structure.symbols(subset[0][chosen(subset)].double() / 255)
    for group in range(16):
        distinct = len(read[group].unique(dim=0))
        assert int((symbols[group].sum(dim=(1, 2)) > 0).sum()) == distinct
        assert not symbols[group, distinct:].any()
        used = symbols[group, :distinct]
        torch.testing.assert_close(used.sum(dim=2), torch.full_like(used[..., 0], 1 + 7 / 16))
    for link in links:  # an upper state has one state of each child
        seen = link > 0.5
        used = seen.any(dim=2)
        assert bool((seen.sum(dim=2)[used] == 1).all())
        torch.testing.assert_close(link[seen], torch.full_like(link[seen], 1 + 1 / 16))
        rest = link[(link > 0) & ~seen]
        torch.testing.assert_close(rest, torch.full_like(rest, 1 / 16))
    expected = torch.full((3, 9), 1 / 128, dtype=torch.float64)
    expected[subset[1][chosen(subset)], torch.arange(9)] += 1
    torch.testing.assert_close(top, expected)


def test_equal_exemplars_share_a_state(paper: Make, subset: Subset) -> None:
    images, labels = subset[0][chosen(subset)].clone(), subset[1][chosen(subset)]
    images[1] = images[0]  # twice in one class
    images[3] = images[2]  # in two classes
    model = paper()
    PaperLearner(model, RECIPE, images, labels).step(0)
    top = model.counts[-1].round()
    assert top.sum(dim=1).tolist() == [2, 3, 3]
    assert top[:2, 1].tolist() == [1, 1]
    assert not model.counts[-1][:, 7:].any()
    by_class = model.infer(images[:1].double() / 255).concept
    assert int(by_class.argmax()) == 0


def test_a_class_may_have_fewer_exemplars_than_requested(paper: Make, subset: Subset) -> None:
    places = chosen(subset)[[0, 1, 2, 3, 6, 7, 8]]
    model = paper()
    PaperLearner(model, RECIPE, subset[0][places], subset[1][places]).step(0)
    assert (model.counts[-1] > 0.5).sum(dim=1).tolist() == [3, 1, 3]


# Sequential updates


def test_sequential_updates_match_the_rule(structure: CountingRGM, paper: Make, subset: Subset) -> None:
    ours, reference = copied(structure, paper), copied(structure, paper)
    images, labels = subset[0][:12].double() / 255, subset[1][:12]
    Sequential(ours).observe(images, labels)
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        update(reference, image, label, select=True)
    for found, expected in zip(ours.counts, reference.counts, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
    changed = (ours.counts[0] - structure.counts[0]).abs().max()
    assert float(changed) > 0.1


def test_an_arrays_information_is_that_of_its_sums(structure: CountingRGM, paper: Make, subset: Subset) -> None:
    model = copied(structure, paper)
    state = Sequential(model)
    state.observe(subset[0][:5].double() / 255, subset[1][:5])
    found = online._information(state.joint, state.by_row, state.by_column, state.total)
    fresh = online._information(*_sums(Sequential(model)))
    torch.testing.assert_close(found, fresh, rtol=1e-9, atol=1e-12)


def _sums(state: Sequential) -> tuple[Tensor, ...]:
    return state.joint, state.by_row, state.by_column, state.total


def test_results_do_not_depend_on_step_size(structure: CountingRGM, paper: Make, subset: Subset) -> None:
    ours, reference = copied(structure, paper), copied(structure, paper)
    for size, model in ((5, ours), (10, reference)):
        steps = PaperLearner(model, replace(RECIPE, images=10, images_a_step=size), *subset)
        for number in range(1, len(steps.stages)):
            steps.step(number)
    for found, expected in zip(ours.counts, reference.counts, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)  # images are in single precision


def test_batches_are_updates_of_several_images(structure: CountingRGM, paper: Make, subset: Subset) -> None:
    ours, reference = copied(structure, paper), copied(structure, paper)
    steps = PaperLearner(ours, replace(RECIPE, batch_size=8), *subset)
    steps.step(1)
    assert len(steps.stages) == 1 + 4  # sixteen images at a time: whole batches of at most twenty images
    images = subset[0].float() / 255
    for first, last in ((0, 8), (8, 16)):
        update(reference, images[first:last], subset[1][first:last], select=True)
    for found, expected in zip(ours.counts, reference.counts, strict=True):
        torch.testing.assert_close(found, expected)


def test_learning_generalises_to_new_images(paper: Make, subset: Subset) -> None:
    model = fitted(paper(), *subset, recipe=RECIPE)
    images, labels = subset[0][60:].double() / 255, subset[1][60:]
    assert float((model.infer(images).concept.argmax(dim=1) == labels).double().mean()) > 0.9


def test_sequential_updates_need_certain_symbols(paper: Make) -> None:
    """Sequential updates assume certain symbols; `update` handles grey pixels and outliers."""
    assert Sequential.suits(paper())
    pixels = CountingRGM(config(states=4, outliers=0.0)).double()
    assert not Sequential.suits(pixels)
    images = (torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    labels = torch.arange(6) % 2
    fitted(pixels, images, labels, recipe=ExemplarRecipe(exemplars=2))
    twin = CountingRGM(pixels.config).double()
    PaperLearner(twin, ExemplarRecipe(exemplars=2), images, labels).step(0)
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        update(twin, image.float().div(255), label, select=True)
    for found, expected in zip(pixels.counts, twin.counts, strict=True):
        torch.testing.assert_close(found, expected)


# Steps


def test_stages_are_named_by_their_number_of_images(paper: Make, subset: Subset) -> None:
    steps = PaperLearner(paper(), replace(RECIPE, images_a_step=20, images_a_stage=40), *subset)
    assert steps.stages == ("structure", "40 images", "40 images", "60 images")
    assert len(steps.images) == 60
    assert RECIPE.epochs == 1


def test_the_patches_are_fitted_to_the_basis(paper: Make, subset: Subset) -> None:
    fitted = []
    for basis in (None, subset[0]):
        model = paper()
        model.leaves.fit = fitted.append
        PaperLearner(model, RECIPE, *subset, basis=basis).step(0)
    assert [len(images) for images in fitted] == [60, 100]
    torch.testing.assert_close(fitted[1], subset[0].float() / 255)


def test_errors(paper: Make, subset: Subset) -> None:
    images, labels = subset
    with pytest.raises(RGMError, match="a grid has 9 and 12 are needed: use 3 of each class"):
        PaperLearner(paper(), replace(RECIPE, exemplars=4), images, labels)
    with pytest.raises(RGMError, match="no image is of class 2"):
        PaperLearner(paper(), RECIPE, images, labels.clamp(max=1))
    with pytest.raises(RGMError, match="every image's label"):
        PaperLearner(paper(), RECIPE, images, torch.where(torch.arange(100) == 5, -1, labels))
    with pytest.raises(RGMError, match="no image is of class"):
        PaperLearner(paper(), replace(RECIPE, images=2), images, labels)
