"""Noise for a batch, or for one process's share of it: the same for an image whoever looks at it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor


@dataclass(frozen=True)
class BatchSlice:
    """The noise of some `rows` of a batch of `total` rows, drawn from one generator.

    All of the batch's noise is drawn and the other rows' dropped: processes that divide a batch among themselves
    see, row by row, what one process would see.
    """

    generator: torch.Generator
    rows: Int64[Tensor, " rows"]
    total: int

    def twice(self) -> "BatchSlice":
        """Return the share of a batch that is followed by itself once more."""
        return BatchSlice(self.generator, torch.cat([self.rows, self.rows + self.total]), 2 * self.total)


Source = torch.Generator | BatchSlice | None
"""Where noise comes from; axis 0 are the rows of the batch."""


def uniform(shape: tuple[int, ...], source: Source, device: torch.device) -> Tensor:
    """Return numbers uniform in [0, 1)."""
    return _drawn(lambda full, generator: torch.rand(full, generator=generator, device=device), shape, source)


def integers(low: int, high: int, shape: tuple[int, ...], source: Source, device: torch.device) -> Tensor:
    """Return whole numbers uniform in `low` … `high` − 1."""
    return _drawn(
        lambda full, generator: torch.randint(low, high, full, generator=generator, device=device),
        shape,
        source,
    )


def exponential(like: Tensor, source: Source) -> Tensor:
    """Return Exp(1) numbers of the shape, type and device of a tensor."""
    if not isinstance(source, BatchSlice):
        return torch.empty_like(like).exponential_(generator=source)
    # In the tensor's own memory order, in which noise is filled in.
    outer = sorted(range(like.ndim), key=lambda axis: -like.stride()[axis] if like.shape[axis] > 1 else 0)
    outer.sort(key=lambda axis: axis != 0)
    back = [outer.index(axis) for axis in range(like.ndim)]

    def draw(full: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        laid = like.new_empty([full[axis] for axis in outer])
        return laid.exponential_(generator=generator).permute(back)

    return _drawn(draw, tuple(like.shape), source)


def bernoulli(shares: Tensor, source: Source) -> Tensor:
    """Return 1 with the probability that `shares` gives, else 0."""
    if not isinstance(source, BatchSlice):
        return torch.bernoulli(shares, generator=source)
    everyone = shares.new_zeros(source.total, *shares.shape[1:])
    everyone[source.rows] = shares
    return torch.bernoulli(everyone, generator=source.generator)[source.rows]


def _drawn(
    draw: Callable[[tuple[int, ...], torch.Generator | None], Tensor], shape: tuple[int, ...], source: Source
) -> Tensor:
    if not isinstance(source, BatchSlice):
        return draw(shape, source)
    return draw((source.total, *shape[1:]), source.generator)[source.rows]
