"""Seeds of everything random."""

import operator
from typing import SupportsIndex, cast

from rgm.errors import RGMError

SEEDS = 2**63
"""Seeds lie in 0 … SEEDS − 1."""


def as_seed(value: object) -> int:
    """Return a seed as an int; NumPy's and PyTorch's integers are taken too.

    Raises RGMError for anything else, and for numbers out of range.
    """
    try:
        seed = operator.index(cast("SupportsIndex", value))
    except TypeError:
        raise RGMError(f"a seed must be a whole number, but is {value!r}") from None
    if not 0 <= seed < SEEDS:
        raise RGMError(f"a seed must lie in 0 … {SEEDS - 1}, but is {seed}")
    return seed
