"""Decoders: networks from a grid of codes to a finer field."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Discriminator
from torch import Tensor, nn

from rgm.model.bounds import Layers, Size
from rgm.model.recognition import Shape, convolutions, halvings, residual_blocks


@dataclass(frozen=True, kw_only=True)
class TransposedDecoder:
    """A 1 × 1 map, then one 4 × 4 transposed convolution of stride 2 per doubling: the notebook's `dec1`."""

    kind: Literal["transposed"] = "transposed"
    width: Size
    widths: tuple[Size, ...]


@dataclass(frozen=True, kw_only=True)
class PatchDecoder:
    """Each cell decodes its own patch, after `context` 3 × 3 convolutions and `residual` blocks over its neighbours.

    Patches do not overlap: a cell affects pixels beyond its patch only through its neighbours' context.
    """

    kind: Literal["patch"] = "patch"
    width: Size
    context: Layers = 1
    residual: Layers = 0
    hidden: Layers = 1


@dataclass(frozen=True, kw_only=True)
class BlendedDecoder:
    """The pixels around each corner are decoded from the four cells that meet there, and from no other.

    A 2 × 2 convolution over the cells, `hidden` layers at each corner, and a block of pixels centred on it. A cell
    reaches exactly half a patch beyond its own.
    """

    kind: Literal["blended"] = "blended"
    width: Size
    hidden: Layers = 1


@dataclass(frozen=True, kw_only=True)
class DenseDecoder:
    """One hidden layer from all cells to all pixels, without spatial structure."""

    kind: Literal["dense"] = "dense"
    width: Size


DecoderConfig = Annotated[TransposedDecoder | PatchDecoder | BlendedDecoder | DenseDecoder, Discriminator("kind")]


def decoder(config: DecoderConfig, coarse: Shape, fine: Shape) -> nn.Sequential:
    """Return the network from a coarse field to a fine one; its output is linear.

    Raises RGMError where the fine grid is not a doubling of the coarse one.
    """
    match config:
        case TransposedDecoder():
            return _transposed(config, coarse, fine)
        case PatchDecoder():
            return _patches(config, coarse, fine)
        case BlendedDecoder():
            return _blended(config, coarse, fine)
        case DenseDecoder():
            return nn.Sequential(
                *(nn.Flatten(), nn.Linear(math.prod(coarse), config.width), nn.ReLU()),
                *(nn.Linear(config.width, math.prod(fine)), nn.Unflatten(1, fine)),
            )


class Upscaling(nn.ConvTranspose2d):
    """A transposed convolution with a kernel of a whole number of strides, computed as a convolution.

    Every output pixel depends on `kernel / stride` inputs along an axis: a convolution with kernels of that size gives
    all pixels of a block, rearranged by a pixel shuffle. Several times as fast on a CPU for few output channels.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the transposed convolution of `x`; `output_size` is not supported."""
        assert output_size is None
        assert not isinstance(self.padding, str)
        cut, shuffled = self.padding[0], self.uncut(x)
        return shuffled[..., cut : shuffled.shape[-2] - cut, cut : shuffled.shape[-1] - cut]

    def uncut(self, x: Tensor) -> Tensor:
        """Return the output before the padding is cut off."""
        side = self.stride[0]
        reach = self.kernel_size[0] // side
        blocks = self.weight.unflatten(3, (reach, side)).unflatten(2, (reach, side)).flip(2, 4)
        weight = blocks.permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
        bias = None if self.bias is None else self.bias.repeat_interleave(side * side)
        return F.pixel_shuffle(F.conv2d(x, weight, bias, padding=reach - 1), side)


def _transposed(config: TransposedDecoder, coarse: Shape, fine: Shape) -> nn.Sequential:
    doublings = halvings(fine, coarse)
    layers: list[nn.Module] = [nn.ConvTranspose2d(coarse[0], config.width, 1), nn.ReLU()]
    channels = config.width
    for index, width in enumerate((*config.widths, fine[0])):
        kind = nn.ConvTranspose2d if index < doublings - 1 else Upscaling  # the last has few channels
        layers.append(kind(channels, width, 4, stride=2, padding=1))
        if index < doublings - 1:
            layers.append(nn.ReLU())
        channels = width
    return nn.Sequential(*layers)


def _patches(config: PatchDecoder, coarse: Shape, fine: Shape) -> nn.Sequential:
    side = 2 ** halvings(fine, coarse)
    width = config.width
    channels = width if config.context else coarse[0]
    return nn.Sequential(
        *convolutions(coarse[0], [width] * config.context, 3),
        *residual_blocks(channels, config.residual),
        *convolutions(channels, [width] * config.hidden, 1),
        Upscaling(width if config.hidden else channels, fine[0], side, stride=side),
    )


def _blended(config: BlendedDecoder, coarse: Shape, fine: Shape) -> nn.Sequential:
    side = 2 ** halvings(fine, coarse)
    width = config.width
    return nn.Sequential(
        *(nn.Conv2d(coarse[0], width, 2, padding=1), nn.ReLU()),
        *convolutions(width, [width] * config.hidden, 1),
        # One block more than cells on either axis: half a block is cut from every border.
        Upscaling(width, fine[0], side, stride=side, padding=side // 2),
    )
