"""What the services of all pages share: their interface, the form of requests, pixels as text."""

import base64
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from rgm.errors import RGMError

Number = Annotated[int, Field(ge=0, lt=2**31)]
Answer = dict[str, Any]
SHARED = ("style.css", "base.js", "pixels.js")
"""Files of every page."""


class Request(BaseModel):
    """The base of all requests; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


@runtime_checkable
class Service(Protocol):
    """What a page asks: `about` once, then `requests` by name, each with a form of its own."""

    @property
    def files(self) -> Mapping[str, str]:
        """The page's files in the folder `page`, by the name under which they are served."""
        ...

    @property
    def largest(self) -> int:
        """Greatest length of a request, in bytes."""
        ...

    def about(self) -> Answer:
        """Return what the page needs to know first."""
        ...

    def requests(self) -> Mapping[str, Callable[[Any], Answer]]:
        """Return the methods that answer requests, by name."""
        ...


def as_text(image: Float[Tensor, "channels rows columns"]) -> str:
    """Return an image's pixels, row by row and channels last, as base64."""
    return bytes_as_text((image.cpu().clamp(0, 1).permute(1, 2, 0) * 255).round().to(torch.uint8))


def bytes_as_text(pixels: UInt8[Tensor, "..."]) -> str:
    """Return bytes as base64."""
    return base64.b64encode(pixels.contiguous().numpy().tobytes()).decode()


def as_bytes(text: str) -> bytes:
    """Return what base64 holds; raise RGMError for anything else."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise RGMError("expected pixels as base64") from None


def as_hidden(text: str, shape: tuple[int, ...], what: str) -> Bool[ndarray, "..."]:
    """Return which of the pixels or cells of a shape are hidden, from bits as base64, eight a byte; "" for none.

    Raises RGMError for another number of them.
    """
    size = math.prod(shape)
    if not text:
        return np.zeros(shape, dtype=bool)
    bits = np.unpackbits(np.frombuffer(as_bytes(text), dtype=np.uint8)) > 0
    if len(bits) != -(-size // 8) * 8:
        raise RGMError(f"expected a bit for each of {size:,} {what}, but got {len(bits):,}")
    return bits[:size].reshape(shape)
