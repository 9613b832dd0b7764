"""Online learning: expected counts by enumeration, and the paper's rule at its limits."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import Tensor
from toys import Enumerated, toy

from rgm.counting import updating
from rgm.counting.model import CountingRGM
from rgm.counting.updating import (
    PRECISION,
    expected_counts,
    mutual_information,
    partial_fit,
    selective_update,
    update,
    x_log_x,
)

LABELS = torch.tensor([0, 1, 1, 0, 1])


@pytest.fixture(params=["flat", "deep"])
def model(request: pytest.FixtureRequest) -> CountingRGM:
    return toy(request.param)


def pictures(model: CountingRGM, count: int = 5) -> Tensor:
    made = torch.rand(count, *model.config.image, generator=torch.Generator().manual_seed(0))
    return (made * 255).round().double() / 255


def random_counts(*shape: int, seed: int = 0) -> Tensor:
    made = torch.empty(shape, dtype=torch.float64)
    return made.exponential_(generator=torch.Generator().manual_seed(seed)) * 10


# Expected counts


@pytest.mark.parametrize("many", [updating.MANY, 1], ids=["all-roots", "by-class"])
def test_expected_counts_are_enumerated(model: CountingRGM, many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updating, "MANY", many)
    exact, images = Enumerated(model), pictures(model)
    found = expected_counts(model, images, LABELS)
    expected = [torch.zeros_like(counts) for counts in model.counts]
    joint, symbols = exact.joint, model.leaves.read(images)
    for number, label in enumerate(LABELS.tolist()):
        weights = exact.log(images[number], likelihood=False)[label].softmax(dim=0)
        states = joint.marginal(weights, 0)[:, :, None]
        shown = symbols[:, number, None]
        expected[0] += torch.stack([states * (1 - shown), states * shown], dim=3)
        for level in range(len(joint.log_links)):
            expected[level + 1] += joint.pairs(weights, level)
        expected[-1][label] += joint.marginal(weights, len(joint.log_links))[0]
    for ours, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, reference)


def test_each_image_adds_one_to_everything(model: CountingRGM) -> None:
    symbols, *links, top = expected_counts(model, pictures(model), LABELS)
    torch.testing.assert_close(symbols.sum(dim=(1, 3)), torch.full_like(symbols[:, 0, :, 0], 5.0))
    for link in links:
        torch.testing.assert_close(link.sum(dim=(1, 2)), torch.full_like(link[:, 0, 0], 5.0))
    torch.testing.assert_close(top.sum(dim=1), LABELS.bincount().double())


def test_each_image_adds_one_to_every_variate_of_the_papers(
    paper: Callable[[], CountingRGM], subset: tuple[Tensor, Tensor]
) -> None:
    model = paper()
    images, labels = subset[0][:6].double() / 255, subset[1][:6]
    symbols, *links, top = expected_counts(model, images, labels)
    torch.testing.assert_close(symbols.sum(dim=(1, 3)), torch.full_like(symbols[:, 0, :, 0], 6.0))
    for link in links:
        torch.testing.assert_close(link.sum(dim=(1, 2)), torch.full_like(link[:, 0, 0], 6.0))
    assert float(top.sum()) == pytest.approx(6)


def test_the_order_of_images_changes_no_sum(model: CountingRGM) -> None:
    order = torch.tensor([3, 1, 4, 0, 2])
    images = pictures(model)
    pairs = zip(
        expected_counts(model, images, LABELS), expected_counts(model, images[order], LABELS[order]), strict=True
    )
    for ours, reference in pairs:
        torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("way", ["bytes", "floats"])
def test_counting_more_adds_expected_counts(model: CountingRGM, way: str) -> None:
    images = pictures(model)
    before = [counts.clone() for counts in model.counts]
    added = expected_counts(model, images, LABELS)
    given_in = images if way == "floats" else (images * 255).round().to(torch.uint8)
    assert partial_fit(model, given_in, LABELS.tolist()) is model
    for now, then, more in zip(model.counts, before, added, strict=True):
        torch.testing.assert_close(now, then + more, rtol=1e-6, atol=1e-6)  # bytes become single precision


def test_counting_by_the_rule_takes_every_array_in(model: CountingRGM) -> None:
    images = pictures(model)
    before = [counts.clone() for counts in model.counts]
    added = expected_counts(model, images, LABELS)
    update(model, images, LABELS, select=True)
    symbols = [
        selective_update(a.mT, b.mT, 5).mT for a, b in zip(before[0].movedim(2, 0), added[0].movedim(2, 0), strict=True)
    ]
    torch.testing.assert_close(model.counts[0], torch.stack(symbols, dim=2))
    for found, then, more in zip(model.counts[1:-1], before[1:-1], added[1:-1], strict=True):
        expected = torch.stack([selective_update(a, b, 5) for a, b in zip(then, more, strict=True)])
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(model.counts[-1], selective_update(before[-1], added[-1], 5))


# The paper's rule


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 999))
def test_mutual_information_is_a_difference_of_scipys_entropies(rows: int, columns: int, seed: int) -> None:
    counts = random_counts(2, rows, columns, seed=seed)
    counts[0, seed % rows] = 0  # 0 log 0 = 0
    found = mutual_information(counts)
    for array, information in zip(counts, found, strict=True):
        parts = (array.sum(dim=0), array.sum(dim=1), array.flatten())
        down, across, both = (entropy(part.numpy()) if array.any() else 0.0 for part in parts)
        expected = down + across - both
        assert float(information) == pytest.approx(expected, abs=1e-12)


def test_mutual_information_of_known_tables() -> None:
    one_to_one, independent, empty = torch.eye(8) * 3, torch.ones(8, 4), torch.zeros(3, 3)
    assert float(mutual_information(one_to_one)) == pytest.approx(math.log(8), rel=1e-6)
    assert float(mutual_information(independent)) == pytest.approx(0, abs=1e-6)
    assert float(mutual_information(empty)) == 0
    assert x_log_x(torch.tensor([0.0, 1.0, math.e])).tolist() == pytest.approx([0, 0, math.e])


@given(st.floats(0, 1000), st.integers(0, 999))
def test_one_image_updates_as_in_the_paper(precision: float, seed: int) -> None:
    """P = softmax(β [I(a), I(a + Δ)]), a ← (P₀ a + P₁ (a + Δ)) · β / (β + P₁)."""
    old, more = random_counts(3, 4, seed=seed), random_counts(3, 4, seed=seed + 1) / 10
    precision += 1
    mixed = (precision * torch.stack([mutual_information(old), mutual_information(old + more)])).softmax(dim=0)
    expected = (mixed[0] * old + mixed[1] * (old + more)) * precision / (precision + mixed[1])
    torch.testing.assert_close(selective_update(old, more, 1, precision=precision), expected)


def test_updates_are_accepted_if_they_raise_the_information() -> None:
    old = torch.eye(4, dtype=torch.float64) + 0.1
    sharper, blunter = torch.eye(4, dtype=torch.float64), torch.ones(4, 4, dtype=torch.float64)
    accepted = selective_update(old, sharper, 1, precision=1e9)
    torch.testing.assert_close(accepted, old + sharper, rtol=1e-8, atol=0)
    torch.testing.assert_close(selective_update(old, blunter, 1, precision=1e9), old, rtol=1e-8, atol=0)


def test_old_counts_fade_with_every_image() -> None:
    old = random_counts(3, 4)
    nothing = torch.zeros_like(old)  # no gain: a half is accepted
    torch.testing.assert_close(selective_update(old, nothing, 1), old * PRECISION / (PRECISION + 0.5))
    many = old
    for _ in range(7):
        many = selective_update(many, nothing, 1)
    torch.testing.assert_close(selective_update(old, nothing, 7), many)


def test_arrays_are_updated_independently() -> None:
    old, more = random_counts(5, 3, 4), random_counts(5, 3, 4, seed=1)
    expected = torch.stack([selective_update(a, b, 2) for a, b in zip(old, more, strict=True)])
    torch.testing.assert_close(selective_update(old, more, 2), expected)
