"""Receptive fields from an architecture's kernels, strides and paddings."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from rgm.model.recognition import flattened

Interval = tuple[int, int]
"""First and last index on an axis, both included."""

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
    rows = _reached(layers, (inputs.top, inputs.bottom - 1), size[0], axis=0)
    columns = _reached(layers, (inputs.left, inputs.right - 1), size[1], axis=1)
    return Box(top=rows[0], bottom=rows[1] + 1, left=columns[0], right=columns[1] + 1)


def needed(layers: Iterable[nn.Module], outputs: Box, size: tuple[int, int]) -> Box:
    """Return the inputs, on a grid of `size`, that outputs of a chain of layers can depend on."""
    rows = _needed(layers, (outputs.top, outputs.bottom - 1), size[0], axis=0)
    columns = _needed(layers, (outputs.left, outputs.right - 1), size[1], axis=1)
    return Box(top=rows[0], bottom=rows[1] + 1, left=columns[0], right=columns[1] + 1)


def _geometry(layer: nn.Conv2d | nn.ConvTranspose2d, axis: int) -> tuple[int, int, int]:
    """Return reach (dilation · (kernel − 1)), stride and padding on an axis."""
    padding = layer.padding[axis]
    assert isinstance(padding, int), "paddings are given in pixels"
    return layer.dilation[axis] * (layer.kernel_size[axis] - 1), layer.stride[axis], padding


def _reached(layers: Iterable[nn.Module], interval: Interval, size: int, *, axis: int) -> Interval:
    """Return the outputs, among `size`, that inputs in an interval can change."""
    first, last = interval
    for layer in flattened(layers):
        if isinstance(layer, nn.Conv2d):  # output o depends on inputs o·s − p … o·s − p + reach
            reach, stride, padding = _geometry(layer, axis)
            first, last = math.ceil((first + padding - reach) / stride), (last + padding) // stride
        elif isinstance(layer, nn.ConvTranspose2d):  # input i changes outputs i·s − p … i·s − p + reach
            reach, stride, padding = _geometry(layer, axis)
            first, last = first * stride - padding, last * stride - padding + reach
        elif not isinstance(layer, _POINTWISE):
            return 0, size - 1
    return max(first, 0), min(last, size - 1)


def _needed(layers: Iterable[nn.Module], interval: Interval, size: int, *, axis: int) -> Interval:
    """Return the inputs, among `size`, that outputs in an interval can depend on."""
    first, last = interval
    for layer in reversed(flattened(layers)):
        if isinstance(layer, nn.Conv2d):
            reach, stride, padding = _geometry(layer, axis)
            first, last = first * stride - padding, last * stride - padding + reach
        elif isinstance(layer, nn.ConvTranspose2d):
            reach, stride, padding = _geometry(layer, axis)
            first, last = math.ceil((first + padding - reach) / stride), (last + padding) // stride
        elif not isinstance(layer, _POINTWISE):
            return 0, size - 1
    return max(first, 0), min(last, size - 1)
