"""Noise for a batch, or for one process's slice of it: the same for an image in whichever process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor


@dataclass(frozen=True)
class BatchSlice:
    """The noise of some `rows` of a batch of `total` rows, drawn from one generator.

    The noise of the whole batch is drawn and the other rows dropped: processes that share a batch use, row by row, the
    noise that a single process would use.
    """

    generator: torch.Generator
    rows: Int64[Tensor, " rows"]
    total: int

    def twice(self) -> "BatchSlice":
        """Return the slice of a batch concatenated with itself."""
        return BatchSlice(self.generator, torch.cat([self.rows, self.rows + self.total]), 2 * self.total)


Source = torch.Generator | BatchSlice | None
"""The source of noise; axis 0 are the rows of the batch."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed what is drawn inside, and nothing outside: initial weights have no other way to be seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def uniform(shape: tuple[int, ...], source: Source, device: torch.device) -> Tensor:
    """Return uniform numbers in [0, 1)."""
    return _drawn(lambda full, generator: torch.rand(full, generator=generator, device=device), shape, source)


def integers(low: int, high: int, shape: tuple[int, ...], source: Source, device: torch.device) -> Tensor:
    """Return uniform integers in `low` … `high` − 1."""
    return _drawn(
        lambda full, generator: torch.randint(low, high, full, generator=generator, device=device), shape, source
    )


def exponential(like: Tensor, source: Source) -> Tensor:
    """Return Exp(1) numbers of the shape, type and device of a tensor."""
    if not isinstance(source, BatchSlice):
        return torch.empty_like(like).exponential_(generator=source)
    # In the tensor's memory order, in which `exponential_` fills it.
    outer = sorted(range(like.ndim), key=lambda axis: -like.stride()[axis] if like.shape[axis] > 1 else 0)
    outer.sort(key=lambda axis: axis != 0)
    inverse = [outer.index(axis) for axis in range(like.ndim)]

    def draw(full: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        noise = like.new_empty([full[axis] for axis in outer])
        return noise.exponential_(generator=generator).permute(inverse)

    return _drawn(draw, tuple(like.shape), source)


def bernoulli(probs: Tensor, source: Source) -> Tensor:
    """Return 1 with probability `probs`, else 0."""
    if not isinstance(source, BatchSlice):
        return torch.bernoulli(probs, generator=source)
    whole = probs.new_zeros(source.total, *probs.shape[1:])
    whole[source.rows] = probs
    return torch.bernoulli(whole, generator=source.generator)[source.rows]


def _drawn(
    draw: Callable[[tuple[int, ...], torch.Generator | None], Tensor], shape: tuple[int, ...], source: Source
) -> Tensor:
    if not isinstance(source, BatchSlice):
        return draw(shape, source)
    return draw((source.total, *shape[1:]), source.generator)[source.rows]
