"""Bounds on the numbers of a configuration: a file's header is checked against them before a model is built."""

from typing import Annotated, Any

from pydantic import Field

from rgm.errors import RGMError
from rgm.runtime.seeds import whole

Size = Annotated[int, Field(ge=1, le=2**16)]
"""Channels, states, pixels or cells along one axis."""

Layers = Annotated[int, Field(ge=0, le=64)]
"""Number of layers of a kind."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Share = Annotated[float, Field(ge=0, le=1)]

LARGEST_SIDE, MOST_STATES = 2**12, 2**16
"""Bounds on what a user asks for: pixels of a side, and classes or codes."""


def as_shape(image: Any) -> tuple[int, int, int]:
    """Return (channels, height, width) as ints; raise RGMError for anything else, or channels that come last."""
    try:
        channels, height, width = image
    except (TypeError, ValueError):
        raise RGMError(f"an image is (channels, height, width), but is {image!r}") from None
    if channels not in (1, 3) and width in (1, 3):
        raise RGMError(
            f"an image is (channels, height, width), channels first: ({width}, {channels}, {height}), not {image}"
        )
    height, width = (whole(side, "a side of an image", 1, LARGEST_SIDE) for side in (height, width))
    return whole(channels, "the number of channels", 1, 3), height, width


def as_classes(classes: object) -> int:
    """Return a number of classes as an int; raise RGMError where there is no choice between them."""
    return whole(classes, "the number of classes to choose a concept from", 2, MOST_STATES)
