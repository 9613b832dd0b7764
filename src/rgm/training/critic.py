"""The critic of adversarial training: a network that tells decoded images from real ones, patch by patch."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from rgm.runtime.device import multiplies_bfloat16

Images = Float[Tensor, "batch channels height width"]
Scores = Float[Tensor, "batch 1 rows columns"]

WIDTH = 48
"""Channels of the first layer."""
SLOPE = 0.2
"""The slope of the activations for negative inputs."""


class Critic(nn.Module):
    """Five convolutions that score overlapping patches of 22 × 22 pixels: positive for real ones.

    A patch discriminator (Isola et al. 2017) with spectral normalisation (Miyato et al. 2018); its products are in
    bfloat16 where that is faster.
    """

    def __init__(self, channels: int, width: int = WIDTH) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for outputs, kernel, stride in ((width, 4, 2), (2 * width, 3, 1), (2 * width, 4, 2), (4 * width, 3, 1)):
            layers += [
                spectral_norm(nn.Conv2d(channels, outputs, kernel, stride=stride, padding=1)),
                nn.LeakyReLU(SLOPE),
            ]
            channels = outputs
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels, 1, 1)))

    def forward(self, images: Images) -> Scores:
        """Return the scores of patches, one for every 4 × 4 pixels."""
        device = images.device
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=multiplies_bfloat16(device)):
            return self.layers(images).to(images.dtype)

    def cost(self, real: Images, decoded: Images) -> Float[Tensor, ""]:
        """Return the hinge loss E[max(0, 1 − D(x))] + E[max(0, 1 + D(x̂))], without gradient to the images."""
        scores = self(torch.cat([real, decoded]).detach())
        return F.relu(1 - scores[: len(real)]).mean() + F.relu(1 + scores[len(real) :]).mean()

    def fooled(self, decoded: Images) -> Float[Tensor, ""]:
        """Return −E[D(x̂)], with gradient to the images alone."""
        fixed = {name: weight.detach() for name, weight in self.named_parameters()}
        return -functional_call(self, fixed, (decoded,)).mean()
