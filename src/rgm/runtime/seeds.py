"""Seeds of everything random, and other whole numbers that a user gives."""

import math
import operator
from typing import SupportsFloat, SupportsIndex, cast

from rgm.errors import RGMError

SEEDS = 2**63
"""Seeds lie in 0 … SEEDS − 1."""
MOST_EPOCHS = 1_000_000
"""The maximum number of epochs: a training of more would not end."""


def as_seed(value: object) -> int:
    """Return a seed as an int; raise RGMError as `whole` does."""
    return whole(value, "a seed", 0, SEEDS - 1)


def whole(value: object, what: str, least: int = 1, most: int = 2**31 - 1) -> int:
    """Return a whole number as an int; NumPy's and PyTorch's integers are taken too.

    Raises RGMError for anything else, and for numbers out of range.
    """
    try:
        number = int(operator.index(cast("SupportsIndex", value)))
    except TypeError:
        raise RGMError(f"{what} must be a whole number, but is {' '.join(repr(value).split())}") from None
    if not least <= number <= most:
        raise RGMError(f"{what} must lie in {least} … {most}, but is {number}")
    return number


def positive(value: object, what: str) -> float:
    """Return a finite number above 0 as a float; raise RGMError for anything else."""
    try:
        number = float(value) if isinstance(value, SupportsFloat) else math.nan
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise RGMError(f"{what} is a finite number above 0, but is {' '.join(repr(value).split())}")
    return number


def as_epochs(value: object) -> float:
    """Return a number of epochs as a float; raise RGMError for anything but a number above 0, of at most a million."""
    number = positive(value, "the number of epochs")
    if number > MOST_EPOCHS:
        raise RGMError(f"the number of epochs is at most {MOST_EPOCHS:,}, but is {number:g}")
    return number
