"""The memory of this machine, against which sizes that a user asks for are held before any is taken."""

import os

from rgm.errors import RGMError


def machine_bytes() -> int | None:
    """Return the bytes of this machine's memory, or None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def affordable(count: int, size: int, what: str) -> None:
    """Raise RGMError where `count` results of `size` bytes each do not fit into this machine's memory.

    A system that promises memory which it does not have would otherwise end the process, and others with it.
    """
    most = machine_bytes()
    if most is not None and count * size > most:
        raise RGMError(
            f"{count:,} {what} take {count * size / 2**30:,.0f} GiB, but this machine has {most / 2**30:,.0f} GiB: ask "
            f"for at most {most // (2 * size):,}"
        )
