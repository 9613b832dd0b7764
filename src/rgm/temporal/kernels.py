"""Paths as local transformations: kernels that say which pixel of the last frame each pixel of the next one copies.

    p(x′_i = v | x, u) = λ Σ_j w_u[j] K(v | x[i + j]) + (1 − λ) base(v)

`x` are tones 0 … L − 1, `j` runs over a window of (2 · reach + 1)² places, u is the path, and `K` the noise of a copied
tone: the identity for few tones. Kernels are shared by all places, or each place has its own. Outside of the frame lies
the background, its most frequent tone.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Tones = UInt8[Tensor, "n rows columns"]
Kernels = Float[Tensor, "places paths window"]
"""Shared kernels have one place."""

ROWS = 2**18
"""Most targets in a chunk."""


def windows(tones: Tones, reach: int, background: int) -> UInt8[Tensor, "n rows columns window"]:
    """Return the tones around every pixel, `background` outside of the frame."""
    side = 2 * reach + 1
    padded = F.pad(tones, (reach, reach, reach, reach), value=background)
    return padded.unfold(1, side, 1).unfold(2, side, 1).flatten(3)


@dataclass(frozen=True)
class Evidence:
    """What pairs of successive frames say about kernels: agreement K(x′_i | x[i + j]) of each target with its sources.

    Only targets whose sources differ in it are kept: for the others the probability does not depend on the kernel.
    `agreement[group]` are a place's targets, or all of them in one group where kernels are shared; `pair` is the pair
    of each (and the block, pair by pair, where each block has a path), `base` its probability of not being copied,
    (1 − λ) base(x′_i), and `copied` λ.
    """

    agreement: list[Tensor]
    pair: list[Int64[Tensor, " _"]]
    base: list[Float[Tensor, " _"]]
    constant: Float[Tensor, " pairs"]
    copied: float

    def chunks(self, kernels: Kernels) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """Yield the group, the agreement, the pair and p(x′ | x, u) of some targets, (targets, paths)."""
        for group, agreement in enumerate(self.agreement):
            weights = kernels[group].T * self.copied
            for part, pair, base in zip(
                agreement.split(ROWS), self.pair[group].split(ROWS), self.base[group].split(ROWS), strict=True
            ):
                agree = part.to(kernels.dtype)
                yield group, agree, pair, torch.addmm(base[:, None].to(kernels.dtype), agree, weights)

    def log_prob(self, kernels: Kernels) -> Float[Tensor, "pairs paths"]:
        """Return log p(x′ | x, u) of every pair and path, in nats."""
        found = self.constant.to(kernels.dtype)[:, None].repeat(1, kernels.shape[1])
        for _, _, pair, probs in self.chunks(kernels):
            found.index_add_(0, pair, probs.log_())
        return found

    def counts(self, kernels: Kernels, share: Float[Tensor, "pairs paths"]) -> Kernels:
        """Return how often each path copies from each place of its window, given how probable each pair's paths are."""
        found = torch.zeros_like(kernels)
        for group, agree, pair, probs in self.chunks(kernels):
            found[group] += (share[pair] / probs).T @ agree
        return found * kernels * self.copied


def evidence(
    before: Tones,
    after: Tones,
    *,
    reach: int,
    noise: Float[Tensor, "tones tones"],
    base: Float[Tensor, " tones"],
    background: int,
    copied: float,
    shared: bool,
    side: int | None = None,
) -> Evidence:
    """Return the evidence of pairs of frames, or of their blocks of `side` pixels; `noise[s, v]` is K(v | s)."""
    exact = bool(torch.equal(noise, torch.eye(len(noise), dtype=noise.dtype)))
    agreements, pairs, bases = [], [], []
    block = blocks_of(before.shape[1], before.shape[2], side)
    blocks = int(block.max()) + 1
    constant = torch.zeros(len(before), blocks, dtype=noise.dtype)
    size = max(1, 2**22 // before[0].numel())
    for start in range(0, len(before), size):
        target = after[start : start + size]
        source = windows(before[start : start + size], reach, background)
        if exact:
            agree = source == target[..., None]
            informs = agree.any(dim=-1) & ~agree.all(dim=-1)
        else:
            agree = noise[source.long(), target.long()[..., None]]
            informs = (source != source[..., :1]).any(dim=-1)
        rest = (1 - copied) * base[target.long()]
        settled = (copied * agree[..., 0].to(noise.dtype) + rest).log()
        settled = torch.where(informs, 0.0, settled)
        if side is None:
            constant[start : start + size, 0] = settled.sum(dim=(1, 2))
        else:
            constant[start : start + size].index_add_(1, block.flatten(), settled.flatten(1))
        where = informs.nonzero()
        agreements.append(agree[informs])
        bases.append(rest[informs])
        pair = (where[:, 0] + start) * blocks + block[where[:, 1], where[:, 2]]
        pairs.append(torch.stack([pair, where[:, 1] * before.shape[2] + where[:, 2]]))
    agreement, rest, (pair, place) = torch.cat(agreements), torch.cat(bases), torch.cat(pairs, dim=1)
    if shared:
        return Evidence([agreement], [pair], [rest], constant.flatten(), copied)
    order = place.argsort(stable=True)
    sizes = place.bincount(minlength=before[0].numel()).tolist()
    agreements, pairs, bases = (list(tensor[order].split(sizes)) for tensor in (agreement, pair, rest))
    return Evidence(agreements, pairs, bases, constant.flatten(), copied)


def blocks_of(height: int, width: int, side: int | None) -> Int64[Tensor, "height width"]:
    """Return the number of each pixel's block of `side` × `side`, row by row; 0 throughout for None."""
    if side is None:
        return torch.zeros(height, width, dtype=torch.int64)
    across = -(-width // side)
    return (torch.arange(height) // side)[:, None] * across + torch.arange(width) // side


def shifts(reach: int, step: float) -> Float[Tensor, "paths window"]:
    """Return kernels that shift by multiples of `step` pixels, up to `reach` along each axis, linear between pixels."""
    offsets = torch.linspace(-reach, reach, 2 * round(reach / step) + 1)
    near = (1 - (torch.arange(-reach, reach + 1) - offsets[:, None]).abs()).clamp_min(0)
    return torch.einsum("dr,ac->darc", near, near).reshape(len(offsets) ** 2, -1)
