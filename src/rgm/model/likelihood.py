"""The likelihood p(x | z_1)."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Discriminator
from torch import Tensor, nn

from rgm.model.bounds import Positive, Size
from rgm.model.decoder import DecoderConfig, decoder
from rgm.model.receptive import Box, outputs_of
from rgm.model.recognition import Shape

Images = Float[Tensor, "batch channels height width"]
Z1 = Float[Tensor, "batch states height_1 width_1"]


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """N(x; μ, σ²) for every pixel; `sigma` in units of the full grey range."""

    kind: Literal["gaussian"] = "gaussian"
    sigma: Positive


@dataclass(frozen=True, kw_only=True)
class Bernoulli:
    """Bernoulli(x; μ) for every binary pixel.

    `binarise`: `dynamic` samples every pixel from its grey value each time an image is used (Salakhutdinov and Murray
    2008), `fixed` once, so that an image has the same pixels in every epoch, run and process; `none` uses the grey
    values themselves, so that −log p(x | z_1) is a cross-entropy, not the nats of a density.
    """

    kind: Literal["bernoulli"] = "bernoulli"
    binarise: Literal["dynamic", "fixed", "none"] = "dynamic"


@dataclass(frozen=True, kw_only=True)
class Categorical:
    """One of `values` evenly spaced grey values for every pixel of every channel, each with a probability of its own.

    The pixels of exact models (`rgm.counting`); networks have none.
    """

    kind: Literal["categorical"] = "categorical"
    values: Size = 256


PixelConfig = Annotated[Gaussian | Bernoulli, Discriminator("kind")]


class Likelihood(nn.Module):
    """p(x | z_1): independent pixels around the mean image μ(z_1) in [0, 1]."""

    def __init__(self, config: DecoderConfig, pixels: PixelConfig, z1: Shape, image: Shape) -> None:
        super().__init__()
        self.pixels = pixels
        self.net = decoder(config, z1, image)

    def mean(self, z1: Z1) -> Images:
        """Return the mean image μ(z_1) of one-hot or relaxed codes."""
        return torch.sigmoid(self.net(z1))

    def mean_of(self, pixels: Box, z1: Z1, cells: Box, grid: tuple[int, int]) -> Images:
        """Return some pixels of the mean image, from the `cells` of z_1's `grid` that they can depend on alone."""
        return torch.sigmoid(outputs_of(self.net, z1, cells, pixels, grid))

    def log_prob(self, images: Images, z1: Z1) -> Float[Tensor, " batch"]:
        """Return log p(x | z_1) in nats per image."""
        match self.pixels:
            case Gaussian(sigma=sigma):
                squared = (images - self.mean(z1)).square().flatten(1).sum(dim=1)
                pixels = images[0].numel()
                return -squared / (2 * sigma**2) - pixels * math.log(sigma * math.sqrt(2 * math.pi))
            case Bernoulli():
                cost = F.binary_cross_entropy_with_logits(self.net(z1), images, reduction="none")
                return -cost.flatten(1).sum(dim=1)
