"""How threads wait for one another. Free of PyTorch, since it must be set before PyTorch is loaded."""

import os

SPIN_COUNT = "10000"
"""Rounds that a waiting OpenMP thread spins before it sleeps."""


def settle_threads() -> None:
    """Have idle OpenMP threads sleep soon, unless the environment says how they should wait.

    By default a waiting thread of GNU's OpenMP runtime spins for so long that two programs on the same cores slow each
    other down several times over. Sets `GOMP_SPINCOUNT`, which is read once, when PyTorch is loaded; a user's own
    `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY` stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
