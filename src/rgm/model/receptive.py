"""Receptive fields from an architecture's kernels, strides and paddings."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rgm.model.decoder import Upscaling
from rgm.model.recognition import flattened

_POINTWISE = (nn.ReLU, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Identity)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle of pixels (or of cells): rows `top … bottom − 1`, columns `left … right − 1`."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def of(cls, row: int, column: int, tall: int = 1, wide: int = 1) -> "Box":
        """Return a cell of a grid with cells of `tall` × `wide`."""
        return cls(top=row * tall, bottom=(row + 1) * tall, left=column * wide, right=(column + 1) * wide)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle as an index of rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def inside(self, outer: "Box") -> "Box":
        """Return the intersection with another rectangle, in coordinates relative to its corner."""
        rows = [min(max(side, outer.top), outer.bottom) - outer.top for side in (self.top, self.bottom)]
        columns = [min(max(side, outer.left), outer.right) - outer.left for side in (self.left, self.right)]
        return Box(top=rows[0], bottom=rows[1], left=columns[0], right=columns[1])

    def grown(self, pixels: int, image: tuple[int, int]) -> "Box":
        """Return the rectangle grown on every side and cut at the image's border."""
        return Box(
            top=max(0, self.top - pixels),
            bottom=min(image[0], self.bottom + pixels),
            left=max(0, self.left - pixels),
            right=min(image[1], self.right + pixels),
        )


def reached(layers: Iterable[nn.Module], inputs: Box, size: tuple[int, int]) -> Box:
    """Return the outputs, on a grid of `size`, that inputs of a chain of layers can change."""
    return _followed(flattened(layers), inputs, size, spreads=nn.ConvTranspose2d)


def needed(layers: Iterable[nn.Module], outputs: Box, size: tuple[int, int]) -> Box:
    """Return the inputs, on a grid of `size`, that outputs of a chain of layers can depend on."""
    return _followed(flattened(layers)[::-1], outputs, size, spreads=nn.Conv2d)


def outputs_of(
    layers: Iterable[nn.Module],
    inputs: Float[Tensor, "n channels tall wide"],
    given: Box,
    outputs: Box,
    grid: tuple[int, int],
) -> Float[Tensor, "n channels_out tall_out wide_out"]:
    """Return some outputs of a chain of layers; of a convolution, of stride 1, only what they need is computed.

    `given` is where the inputs lie on their `grid`, at least where they are `needed`.
    """
    x, (rows, columns), (top, left), rest = inputs, grid, (given.top, given.left), list(layers)
    while rest:
        layer, *rest = rest
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            x = layer(x)
            continue
        (tall, wide), (down, across), (step, stride) = layer.kernel_size, map(int, layer.padding), layer.stride
        if isinstance(layer, nn.ConvTranspose2d):
            rows, columns = (rows - 1) * step - 2 * down + tall, (columns - 1) * stride - 2 * across + wide
            found = needed(rest, outputs, (rows, columns))
            whole = layer.uncut(x) if isinstance(layer, Upscaling) else _uncut(layer, x)
            x = _part(whole, found, top * step - down, left * stride - across)
        else:
            rows, columns = rows + 2 * down - tall + 1, columns + 2 * across - wide + 1
            found = needed(rest, outputs, (rows, columns))
            first, last = found.top - down, found.bottom - down + tall - 1
            start, end = found.left - across, found.right - across + wide - 1
            # Zeros beyond the grid's border; inputs that the outputs do not depend on are cut off.
            sides = (left - start, end - left - x.shape[-1], top - first, last - top - x.shape[-2])
            x = F.conv2d(F.pad(x, sides), layer.weight, layer.bias)
        top, left = found.top, found.left
    return _part(x, outputs, top, left)


def _part(field: Tensor, box: Box, top: int, left: int) -> Tensor:
    """Return a rectangle of a field whose corner lies at some row and column."""
    return field[..., box.top - top : box.bottom - top, box.left - left : box.right - left]


def _uncut(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Return a transposed convolution's output before its padding is cut off."""
    stride = (layer.stride[0], layer.stride[1])
    return F.conv_transpose2d(x, layer.weight, layer.bias, stride)


def _followed(layers: list[nn.Module], box: Box, size: tuple[int, int], *, spreads: type[nn.Module]) -> Box:
    """Return the cells at the other end of layers, on a grid of `size`, that are connected to those of a rectangle.

    Output o of a convolution depends on inputs o·s − p … o·s − p + reach, with reach = dilation · (kernel − 1); a
    transposed one has inputs and outputs exchanged. Layers of the type `spreads` are followed in this direction, the
    other convolutions against it.
    """
    ends = []
    for axis, (first, last) in enumerate(((box.top, box.bottom - 1), (box.left, box.right - 1))):
        for layer in layers:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                padding, stride = layer.padding[axis], layer.stride[axis]
                assert isinstance(padding, int), "paddings are given in pixels"
                reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
                if isinstance(layer, spreads):
                    first, last = first * stride - padding, last * stride - padding + reach
                else:
                    first, last = math.ceil((first + padding - reach) / stride), (last + padding) // stride
            elif not isinstance(layer, _POINTWISE):  # every input is connected to every output
                first, last = 0, size[axis] - 1
                break
        ends.append((max(first, 0), min(last, size[axis] - 1) + 1))
    (top, bottom), (left, right) = ends
    return Box(top=top, bottom=bottom, left=left, right=right)
