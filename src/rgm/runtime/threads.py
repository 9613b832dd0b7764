"""Waiting policy of OpenMP threads. Without PyTorch, since it must be set before PyTorch is loaded."""

import os

SPIN_COUNT = "10000"
"""Spins of a waiting OpenMP thread before it sleeps."""


def settle_threads() -> None:
    """Let idle OpenMP threads sleep soon, unless the environment sets their waiting policy.

    By default waiting threads of GNU's OpenMP runtime spin for so long that two programs on the same cores slow each
    other down several times. Sets `GOMP_SPINCOUNT`, which is read when PyTorch is loaded; a user's own `GOMP_SPINCOUNT`
    or `OMP_WAIT_POLICY` has priority.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
