"""Causal self-attention with a two-layer network: all cells at once, some at a time, or one, in place."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Tokens = Float[Tensor, "batch cells width"]
Before = Float[Tensor, "heads features cells batch"]

_PRODUCTS = 2**18
"""Products of a query's features and keys that are held at once: they stay in a processor's caches."""


class Block(nn.Module):
    """Causal self-attention over the current block of cells and the previous one, and a two-layer network."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads, self.context = heads, context
        self.norm = nn.LayerNorm(width)
        self.inputs = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def _split(self, x: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each (batch, heads, cells, width / heads)."""
        batch, cells, width = x.shape
        parts = self.inputs(self.norm(x)).reshape(batch, cells, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        return q, k, v

    def _merge(self, x: Tokens, attended: Tensor) -> Tokens:
        x = x + self.output(attended.movedim(1, 2).flatten(2))
        return x + self.mlp(x)

    def forward(self, x: Tokens) -> Tokens:
        """Return the output for all cells at once."""
        q, k, v = self._split(x)
        if x.shape[1] <= self.context:
            return self._merge(x, _attended(q, k, v, None))
        return self._merge(x, self._windowed(q, k, v))

    def _windowed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return attention of each block of `context` cells to itself and the block before, at linear cost."""
        cells, size = q.shape[2], self.context
        blocks = -(-cells // size)
        fill = (0, 0, 0, blocks * size - cells)
        q, k, v = (F.pad(part, fill).unflatten(2, (blocks, size)) for part in (q, k, v))
        before_k, before_v = (F.pad(part, (0, 0, 0, 0, 1, 0))[:, :, :-1] for part in (k, v))
        near = torch.ones(size, 2 * size, dtype=torch.bool, device=q.device).tril(size)
        mask = near.repeat(blocks, 1, 1)
        mask[0, :, :size] = False  # no block precedes the first
        attended = _attended(q, torch.cat([before_k, k], dim=3), torch.cat([before_v, v], dim=3), mask)
        return attended.flatten(2, 3)[:, :, :cells]

    def extend(self, x: Tokens, keys: Tensor, values: Tensor) -> tuple[Tokens, Tensor, Tensor]:
        """Return `forward`'s output for the next cells, and the keys and values with theirs appended."""
        q, k, v = self._split(x)
        keys, values = torch.cat([keys, k], dim=2), torch.cat([values, v], dim=2)
        at = torch.arange(keys.shape[2], device=x.device)
        now = at[keys.shape[2] - x.shape[1] :, None]
        visible = (at <= now) & (at >= (now // self.context - 1) * self.context)
        return (self._merge(x, F.scaled_dot_product_attention(q, keys, values, attn_mask=visible)), keys, values)

    def step(self, x: Float[Tensor, "batch width"], keys: Before, values: Before, room: "Room", step: int) -> None:
        """Put `forward`'s output for the cell at `step` in the place of `x`; add its key and value to those before it.

        Sequences are the last axis of keys and values, so that sums over features and cells are sums of long rows: for
        one query each, products of small matrices take three times as long.
        """
        parts = torch.mm(self.inputs.weight, self.norm(x).T, out=room.parts).unflatten(0, (3, self.heads, -1))
        query, keys[:, :, step], values[:, :, step] = parts[0], parts[1], parts[2]
        window = slice(max(0, (step // self.context - 1) * self.context), step + 1)
        query = query.div_(math.sqrt(query.shape[1]))[:, :, None]
        weights = room.summed(keys[:, :, window], query, 1).softmax(dim=1)[:, None]
        attended = room.summed(values[:, :, window], weights, 2)
        x.addmm_(attended.flatten(0, 1).T, self.output.weight.T)
        norm, widen, _, narrow = self.mlp
        assert isinstance(widen, nn.Linear)
        assert isinstance(narrow, nn.Linear)
        torch.addmm(widen.bias, norm(x), widen.weight.T, out=room.hidden)
        torch.ops.aten.gelu_(room.hidden)
        x.add_(narrow.bias).addmm_(room.hidden, narrow.weight.T)


def _attended(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Return attention, causal without a mask.

    On a processor in float32 always: there the gradient in bfloat16 takes seven times as long.
    """
    if not q.is_cpu:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    with torch.autocast("cpu", enabled=False):
        q, k, v = (part if part.dtype == torch.float64 else part.float() for part in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)


class Room:
    """Where a step of some sequences is computed: allocated once, and filled anew by every block."""

    def __init__(self, like: Float[Tensor, " width"], heads: int, window: int, count: int) -> None:
        width = len(like)
        self.shape, self.count = (heads, width // heads), count
        self.parts: Float[Tensor, "parts batch"] = like.new_empty(3 * width, count)
        self.hidden: Float[Tensor, "batch hidden"] = like.new_empty(count, 4 * width)
        self.flat = like.new_empty(min(width * window * count, _PRODUCTS))

    def summed(self, values: Before, weights: Float[Tensor, "heads _ _ batch"], axis: int) -> Tensor:
        """Return Σ values · weights over axis 1 or 2: all products at once where there is room, else in turn."""
        if values.numel() <= len(self.flat):
            return torch.mul(values, weights, out=self.flat[: values.numel()].view(values.shape)).sum(dim=axis)
        (first, *others), (weight, *more) = values.unbind(axis), weights.unbind(axis)
        total = first * weight
        for value, weight in zip(others, more, strict=True):
            total.addcmul_(value, weight)
        return total


class Memory:
    """The keys and values of sequences that grow by one cell a step, in every block; allocated once."""

    def __init__(self, blocks: Sequence[Block], room: Room, cells: int) -> None:
        self.blocks, self.room = blocks, room
        self.keys, self.values = room.hidden.new_empty(2, len(blocks), *room.shape, cells, room.count)

    def step(self, x: Float[Tensor, "batch width"], step: int) -> None:
        """Put the last block's output for the cell at `step` in the place of its tokens, and remember the cell."""
        for block, keys, values in zip(self.blocks, self.keys, self.values, strict=True):
            block.step(x, keys, values, self.room, step)
