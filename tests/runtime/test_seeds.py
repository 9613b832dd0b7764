"""Seeds: whole numbers of any kind, in range."""

import numpy as np
import pytest
import torch

from rgm.errors import RGMError
from rgm.runtime.seeds import as_seed, positive


@pytest.mark.parametrize("seed", [7, np.int64(7), np.uint8(7), torch.tensor(7)])
def test_whole_numbers_of_any_kind(seed: object) -> None:
    assert as_seed(seed) == 7
    assert type(as_seed(seed)) is int


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "but is -1"),
        (2**63, "0 … 9223372036854775807, but is 9223372036854775808"),
        (1.5, "a whole number, but is 1.5"),
        ("1", "a whole number, but is '1'"),
        (None, "a whole number, but is None"),
    ],
)
def test_others_are_refused(seed: object, message: str) -> None:
    with pytest.raises(RGMError, match=message):
        as_seed(seed)


@pytest.mark.parametrize("number", [0.5, np.float32(0.5), torch.tensor(0.5)])
def test_positive_numbers(number: object) -> None:
    assert positive(number, "it") == 0.5


@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf"), "1", None, [1], 1j, torch.ones(2)])
def test_numbers_that_are_not_positive(number: object) -> None:
    with pytest.raises(RGMError, match="it is a finite number above 0, but is"):
        positive(number, "it")
