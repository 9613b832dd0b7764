"""The likelihood p(x | z_1): how a grid of codes becomes pixels."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Discriminator
from torch import Tensor, nn

from rgm.model.recognition import Shape, halvings

Images = Float[Tensor, "batch channels height width"]
Z1 = Float[Tensor, "batch states height_1 width_1"]


@dataclass(frozen=True, kw_only=True)
class TransposedDecoder:
    """A 1 × 1 map, then one 4 × 4 transposed convolution of stride 2 per doubling: the notebook's `dec1`."""

    kind: Literal["transposed"] = "transposed"
    width: int
    widths: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PatchDecoder:
    """Each cell paints its own patch, after `context` 3 × 3 convolutions that let it see its neighbours.

    Patches do not overlap, so what a cell says beyond its patch must pass through its neighbours' context.
    """

    kind: Literal["patch"] = "patch"
    width: int
    context: int = 1
    hidden: int = 1


DecoderConfig = Annotated[TransposedDecoder | PatchDecoder, Discriminator("kind")]


class Likelihood(nn.Module):
    """p(x | z_1) = N(x; μ(z_1), σ²) with independent pixels, μ in [0, 1].

    `sigma` is the standard deviation with which nats are computed, in units of the full grey range.
    """

    def __init__(self, config: DecoderConfig, z1: Shape, image: Shape, *, sigma: float) -> None:
        super().__init__()
        self.z1, self.image, self.sigma = z1, image, sigma
        match config:
            case TransposedDecoder():
                self.net = _transposed(config, z1, image)
            case PatchDecoder():
                self.net = _patches(config, z1, image)

    def mean(self, z1: Z1) -> Images:
        """Return the mean image μ(z_1) of one-hot or relaxed codes."""
        return torch.sigmoid(self.net(z1))

    def log_prob(self, images: Images, z1: Z1) -> Float[Tensor, " batch"]:
        """Return log N(x; μ(z_1), σ²) in nats per image."""
        squared = (images - self.mean(z1)).square().flatten(1).sum(dim=1)
        pixels = images[0].numel()
        return -squared / (2 * self.sigma**2) - pixels * math.log(self.sigma * math.sqrt(2 * math.pi))


def _transposed(config: TransposedDecoder, z1: Shape, image: Shape) -> nn.Sequential:
    doublings = halvings(image, z1)
    layers: list[nn.Module] = [nn.ConvTranspose2d(z1[0], config.width, 1), nn.ReLU()]
    channels = config.width
    for index, width in enumerate((*config.widths, image[0])):
        layers.append(nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1))
        if index < doublings - 1:
            layers.append(nn.ReLU())
        channels = width
    return nn.Sequential(*layers)


def _patches(config: PatchDecoder, z1: Shape, image: Shape) -> nn.Sequential:
    side = 2 ** halvings(image, z1)
    layers: list[nn.Module] = []
    channels = z1[0]
    for _ in range(config.context):
        layers += [nn.Conv2d(channels, config.width, 3, padding=1), nn.ReLU()]
        channels = config.width
    for _ in range(config.hidden):
        layers += [nn.Conv2d(channels, config.width, 1), nn.ReLU()]
        channels = config.width
    layers.append(nn.ConvTranspose2d(channels, image[0], side, stride=side))
    return nn.Sequential(*layers)
