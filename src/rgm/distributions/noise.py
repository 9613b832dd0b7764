"""Noise for a batch, or for one process's slice of it: the same for an image in whichever process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
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


def fixed_bernoulli(probs: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """Return 1 with probability `probs`, else 0: a function of the row alone, of its values in 256 steps.

    Every row has a key, Σ_i (1 + byte_i) · w_i modulo 2⁶⁴ with fixed random w, and pixel i of it the threshold
    mix(key + w_i) / 2²⁴, with the mixing function of SplitMix64 (Steele, Lea and Flood 2014).
    """
    weights = _mixed(torch.arange(1, probs[0].numel() + 1, device=probs.device) * _GOLDEN)
    values = (probs.flatten(1) * 255).round().long() + 1
    keys = (values * weights).sum(dim=1, keepdim=True)
    thresholds = _shifted(_mixed(keys + weights), 40).to(probs.dtype) / 2**24
    return (thresholds.view(probs.shape) < probs).to(probs.dtype)


_GOLDEN, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""SplitMix64's increment and its two factors, as signed numbers."""


def _mixed(numbers: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Return the output of SplitMix64 for states, modulo 2⁶⁴."""
    numbers = (numbers ^ _shifted(numbers, 30)) * _FIRST
    numbers = (numbers ^ _shifted(numbers, 27)) * _SECOND
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: Int64[Tensor, "*shape"], bits: int) -> Int64[Tensor, "*shape"]:
    """Return unsigned numbers without their last bits."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)


def _drawn(
    draw: Callable[[tuple[int, ...], torch.Generator | None], Tensor], shape: tuple[int, ...], source: Source
) -> Tensor:
    if not isinstance(source, BatchSlice):
        return draw(shape, source)
    return draw((source.total, *shape[1:]), source.generator)[source.rows]
