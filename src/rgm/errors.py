"""The error for mistakes of a user."""

import difflib
from collections.abc import Iterable


class RGMError(ValueError):
    """A mistake that the user can fix: what was expected, what was found, and the way out, in one line.

    The command line prints the message alone and exits with code 2; any other exception is a bug.
    """


def unknown(what: str, name: str, known: Iterable[str]) -> RGMError:
    """Return the error for a name that is not among `known`, with the nearest known one."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return RGMError(f"unknown {what} {name!r}: {hint}known are {', '.join(names)}")
