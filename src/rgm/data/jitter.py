"""Augmentation: small random rotations, scalings and shifts."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rgm.distributions.noise import Source, uniform

Images = Float[Tensor, "n channels height width"]
Pose = Float[Tensor, "batch 4"]
"""The rotation, scaling and shift of an image; zero for none."""


def jitter(images: Images, generator: Source, *, strength: float = 1.0) -> Images:
    """Return each image rotated by up to 12°, scaled by 12 % and shifted by 8 % of its side, all times `strength`."""
    return affine(images, strength * random_affine(len(images), generator, images.device))


def random_affine(count: int, generator: Source, device: torch.device) -> Pose:
    """Return rotations, scalings and shifts to the right and down, uniform in [−1, 1], in units of `affine`."""
    drawn = [uniform((count,), generator, device) for _ in range(4)]
    return 2 * torch.stack(drawn, dim=1) - 1


def affine(images: Images, pose: Pose) -> Images:
    """Return each image rotated (in units of 12°), scaled (of 12 %) and shifted (of 8 % of its side, twice).

    What comes into view is black in grey images; those in colour have their edges replicated.
    """
    pose = pose.to(images.dtype)
    angle, scale = pose[:, 0] * math.radians(12), 1 + 0.12 * pose[:, 1]
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    across, down = 0.16 * pose[:, 2], 0.16 * pose[:, 3]
    rows = (torch.stack([cos, -sin, across], dim=1), torch.stack([sin, cos, down], dim=1))
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    beyond = "border" if images.shape[1] == 3 else "zeros"
    return F.grid_sample(images, grid, padding_mode=beyond, align_corners=False)
