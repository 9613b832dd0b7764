from dataclasses import replace

import pytest
import torch

from rgm.data.images import ImageSet
from rgm.data.labels import HIDDEN, few_labels
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
