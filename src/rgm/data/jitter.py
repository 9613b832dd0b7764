"""Small random rotations, scalings and shifts: other looks at the same image."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "n channels height width"]


def jitter(images: Images, generator: torch.Generator, *, strength: float = 1.0) -> Images:
    """Return each image turned by up to 12°, scaled by up to 12 %, and shifted by up to 8 % of its side.

    `strength` multiplies all three.
    """
    count = len(images)

    def uniform(reach: float) -> Tensor:
        return (2 * torch.rand(count, generator=generator, device=images.device) - 1) * reach * strength

    angle, scale = uniform(math.radians(12)), 1 + uniform(0.12)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = (torch.stack([cos, -sin, uniform(0.16)], dim=1), torch.stack([sin, cos, uniform(0.16)], dim=1))
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
