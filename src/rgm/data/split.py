"""Splits that are reproducible on every machine."""

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

_CHUNK = 4096
VALIDATION_SHARE = 1 / 12
"""5,000 of MNIST's 60,000 training images."""


def content_hash(images: UInt8[Tensor, "n channels height width"]) -> Int64[Tensor, " n"]:
    """Return a 64-bit hash of each image's pixels: Σ weight · (pixel + 1) modulo 2⁶⁴ with fixed odd weights."""
    flat = images.flatten(1).numpy()
    weights = np.random.Generator(np.random.PCG64(20_240_724)).integers(
        0, 2**64, size=flat.shape[1], dtype=np.uint64
    ) | np.uint64(1)
    hashes = np.empty(len(flat), dtype=np.uint64)
    for start in range(0, len(flat), _CHUNK):
        chunk = flat[start : start + _CHUNK].astype(np.uint64) + np.uint64(1)
        hashes[start : start + _CHUNK] = (chunk * weights).sum(axis=1, dtype=np.uint64)
    mixed = (hashes ^ (hashes >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    return torch.from_numpy((mixed >> np.uint64(1)).astype(np.int64))


def held_out(images: UInt8[Tensor, "n channels height width"]) -> Bool[Tensor, " n"]:
    """Return a mask of the validation split: the twelfth of the training images with the lowest content hash.

    It depends on the images and not on their order, so that every copy of a set has the same split.
    """
    count = round(len(images) * VALIDATION_SHARE)
    chosen = torch.zeros(len(images), dtype=torch.bool)
    chosen[content_hash(images).argsort(stable=True)[:count]] = True
    return chosen


def largest_label(images: int) -> int:
    """Return the largest class number that is taken seriously among so many images."""
    return max(10_000, images)


def stratified(labels: Int64[Tensor, " n"], shares: tuple[float, ...], seed: int) -> list[Int64[Tensor, " part"]]:
    """Return indices of one part for each share, in ascending order, each class divided in proportion.

    The first part takes the remainder of rounding, and has at least one image of each class. Where classes are so small
    that rounding each would miss a share of the whole by more than two images and a twentieth of all, the remainder of
    one class is carried over to the next.
    """
    counts = torch.bincount(labels)
    counts = counts[counts > 0].double()
    total, carried = float(counts.sum()), False
    for share in shares[1:]:
        rounded = float((share * counts).round().sum())
        carried |= abs(rounded - share * total) > max(2.0, total / 20) or (rounded == 0 and share * total >= 1)
    generator = torch.Generator().manual_seed(seed)
    parts: list[list[Tensor]] = [[] for _ in shares]
    left = [0.0] * len(shares)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        end = len(members)
        for number in range(len(shares) - 1, 0, -1):
            wanted = shares[number] * len(members) + (left[number] if carried else 0.0)
            size = max(0, min(round(wanted), end - 1))
            left[number] = wanted - size
            parts[number].append(members[end - size : end])
            end -= size
        parts[0].append(members[:end])
    return [torch.cat(part).sort().values for part in parts]
