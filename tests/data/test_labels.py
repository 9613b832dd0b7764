from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from rgm.data.images import ImageSet
from rgm.data.labels import HIDDEN, few_labels, typical
from rgm.data.load import from_arrays
from rgm.errors import RGMError


@pytest.mark.parametrize("count", [10, 57, 200])
def test_known_labels_are_balanced_and_true(digits: ImageSet, count: int) -> None:
    found = few_labels(digits, count, seed=3).labels
    assert found is not None
    assert digits.labels is not None
    known = found != HIDDEN
    assert int(known.sum()) == count
    assert torch.equal(found[known], digits.labels[known])
    shares = torch.bincount(found[known], minlength=10)
    assert int(shares.max() - shares.min()) <= 1


def test_the_seed_selects_the_labels(digits: ImageSet) -> None:
    one, same, other = (few_labels(digits, 50, seed=seed).labels for seed in (1, 1, 2))
    assert one is not None
    assert same is not None
    assert other is not None
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_none_are_known_of_none(digits: ImageSet) -> None:
    found = few_labels(digits, 0, seed=0).labels
    assert found is not None
    assert set(found.tolist()) == {HIDDEN}


def test_impossible_counts_of_labels(digits: ImageSet) -> None:
    assert digits.labels is not None
    least = int(torch.bincount(digits.labels).min())
    for count in (9, 10 * least + 1, 10**6):
        with pytest.raises(RGMError, match=f"so that 10 to {10 * least} are possible, or 0"):
            few_labels(digits, count, seed=0)
    with pytest.raises(RGMError, match="0 or more"):
        few_labels(digits, -1, seed=0)
    with pytest.raises(RGMError, match="has none"):
        few_labels(replace(digits, labels=None, classes=()), 10, seed=0)


def test_typical_images_of_clusters_are_alike(digits: ImageSet) -> None:
    """Ten images of each cluster; most are of its most common class, and the seed selects them."""
    found = typical(digits, 10, seed=0)
    assert digits.labels is not None
    assert torch.equal(found, typical(digits, 10, seed=0))
    assert len(found) == len(digits)
    assert torch.bincount(found[found != HIDDEN]).max() <= 10
    purity = [int(torch.bincount(digits.labels[found == c]).max()) / int((found == c).sum()) for c in range(10)]
    assert sum(purity) / 10 > 0.85


@pytest.mark.parametrize(("values", "clusters"), [((7,) * 30, 1), ((0, 80, 160) * 10, 3), (range(6), 6)])
def test_no_more_clusters_than_different_images(values: Sequence[int], clusters: int) -> None:
    grey = torch.tensor(list(values), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    found = typical(from_arrays(grey), 10, seed=0)
    assert sorted(set(found.tolist()) - {HIDDEN}) == list(range(clusters))
