"""The paper's way on a few digits: the structure recovers its exemplars, and one image at a time is `update`."""

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
Few = tuple[Tensor, Tensor]
RECIPE = ExemplarRecipe(images=60, exemplars=3, images_a_step=20, images_a_stage=40)


@pytest.fixture(scope="module")
def structure(paper: Make, few: Few) -> CountingRGM:
    model = paper()
    PaperLearner(model, RECIPE, *few).step(0)
    return model


def copied(model: CountingRGM, paper: Make) -> CountingRGM:
    twin = paper()
    twin.load_state_dict(model.state_dict())
    return twin


def chosen(few: Few) -> Tensor:
    """Return where the exemplars are: the first three of each class."""
    return torch.cat([(few[1] == label).nonzero().flatten()[:3] for label in range(3)])


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


def test_every_exemplar_is_read_as_itself(structure: CountingRGM, few: Few) -> None:
    places = chosen(few)
    images, labels = few[0][places].double() / 255, few[1][places]
    upward = structure.upward(images)
    by_concept, root, pairs = structure.posterior(upward)
    states = root.argmax(dim=1)
    assert states.tolist() == list(range(9))  # each its own, in their order
    assert torch.equal(by_concept.argmax(dim=1), labels)
    assert torch.equal(structure.infer(images).concept.argmax(dim=1), labels)
    # The state is the one that the exemplar made: its symbols are what the root leads to.
    top = structure.counts[-1]
    assert torch.equal(top[labels, states].round(), torch.ones(9, dtype=torch.float64))
    read = structure.symbols(images)
    for group, codes in enumerate(pairs.marginals[0].argmax(dim=2)):
        made = structure.counts[0][group, codes][..., 1:].flatten(1) - 1 / 16
        torch.testing.assert_close(made, read[group])


def test_counts_are_the_exemplars_and_their_priors(structure: CountingRGM, few: Few) -> None:
    symbols, *links, top = structure.counts
    read = structure.symbols(few[0][chosen(few)].double() / 255)
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
    expected[few[1][chosen(few)], torch.arange(9)] += 1
    torch.testing.assert_close(top, expected)


def test_two_exemplars_that_look_alike_share_a_state(paper: Make, few: Few) -> None:
    images, labels = few[0][chosen(few)].clone(), few[1][chosen(few)]
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


def test_a_class_with_fewer_exemplars_than_asked_for_gives_what_it_has(paper: Make, few: Few) -> None:
    places = chosen(few)[[0, 1, 2, 3, 6, 7, 8]]
    model = paper()
    PaperLearner(model, RECIPE, few[0][places], few[1][places]).step(0)
    assert (model.counts[-1] > 0.5).sum(dim=1).tolist() == [3, 1, 3]


# One image after another


def test_one_image_at_a_time_is_the_rule_image_by_image(
    structure: CountingRGM, paper: Make, few: Few
) -> None:
    ours, theirs = copied(structure, paper), copied(structure, paper)
    images, labels = few[0][:12].double() / 255, few[1][:12]
    Sequential(ours).observe(images, labels)
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        update(theirs, image, label, select=True)
    for found, expected in zip(ours.counts, theirs.counts, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
    changed = (ours.counts[0] - structure.counts[0]).abs().max()
    assert float(changed) > 0.1


def test_an_arrays_information_is_that_of_its_sums(structure: CountingRGM, paper: Make, few: Few) -> None:
    model = copied(structure, paper)
    state = Sequential(model)
    state.observe(few[0][:5].double() / 255, few[1][:5])
    found = online._information(state.joint, state.by_row, state.by_column, state.total)
    fresh = online._information(*_sums(Sequential(model)))
    torch.testing.assert_close(found, fresh, rtol=1e-9, atol=1e-12)


def _sums(state: Sequential) -> tuple[Tensor, ...]:
    return state.joint, state.by_row, state.by_column, state.total


def test_where_a_step_ends_changes_nothing(structure: CountingRGM, paper: Make, few: Few) -> None:
    ours, theirs = copied(structure, paper), copied(structure, paper)
    for size, model in ((5, ours), (10, theirs)):
        steps = PaperLearner(model, replace(RECIPE, images=10, images_a_step=size), *few)
        for number in range(1, len(steps.stages)):
            steps.step(number)
    for found, expected in zip(ours.counts, theirs.counts, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)  # images come in single precision


def test_batches_are_taken_in_together(structure: CountingRGM, paper: Make, few: Few) -> None:
    ours, theirs = copied(structure, paper), copied(structure, paper)
    steps = PaperLearner(ours, replace(RECIPE, batch_size=8), *few)
    steps.step(1)
    assert (
        len(steps.stages) == 1 + 4
    )  # sixteen images at a time: whole batches, of twenty that a step may have
    images = few[0].float() / 255
    for first, last in ((0, 8), (8, 16)):
        update(theirs, images[first:last], few[1][first:last], select=True)
    for found, expected in zip(ours.counts, theirs.counts, strict=True):
        torch.testing.assert_close(found, expected)


def test_learning_helps_on_images_that_were_not_seen(paper: Make, few: Few) -> None:
    model = fitted(paper(), *few, recipe=RECIPE)
    images, labels = few[0][60:].double() / 255, few[1][60:]
    assert float((model.infer(images).concept.argmax(dim=1) == labels).double().mean()) > 0.9


def test_only_symbols_that_are_each_in_one_level_are_seen_one_by_one(paper: Make) -> None:
    """What one image after another assumes: the grey symbols of pixels are for `update`, as outliers are."""
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


def test_stages_say_how_many_images_were_seen(paper: Make, few: Few) -> None:
    steps = PaperLearner(paper(), replace(RECIPE, images_a_step=20, images_a_stage=40), *few)
    assert steps.stages == ("structure", "40 images", "40 images", "60 images")
    assert len(steps.images) == 60
    assert RECIPE.epochs == 1


def test_the_patches_are_fitted_to_the_basis(paper: Make, few: Few) -> None:
    fitted = []
    for basis in (None, few[0]):
        model = paper()
        model.leaves.fit = fitted.append
        PaperLearner(model, RECIPE, *few, basis=basis).step(0)
    assert [len(images) for images in fitted] == [60, 100]
    torch.testing.assert_close(fitted[1], few[0].float() / 255)


def test_what_a_user_can_mend(paper: Make, few: Few) -> None:
    images, labels = few
    with pytest.raises(RGMError, match="a grid has 9 and 12 are asked for: take 3 of each class"):
        PaperLearner(paper(), replace(RECIPE, exemplars=4), images, labels)
    with pytest.raises(RGMError, match="no image is of class 2"):
        PaperLearner(paper(), RECIPE, images, labels.clamp(max=1))
    with pytest.raises(RGMError, match="every image's label"):
        PaperLearner(paper(), RECIPE, images, torch.where(torch.arange(100) == 5, -1, labels))
    with pytest.raises(RGMError, match="no image is of class"):
        PaperLearner(paper(), replace(RECIPE, images=2), images, labels)
