"""Relocation of hardly needed codes to badly quantised embeddings."""

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.measures import least_needed
from rgm.model.estimator import CodebookHead
from rgm.model.spatial import SpatialRGM

IMAGES = 128
"""Number of training images for the estimate of the least needed code."""


@torch.no_grad()
def relocate(model: SpatialRGM, images: Float[Tensor, "n channels rows columns"], need: float) -> int | None:
    """Mark the least needed code as unused, if it is hardly needed, and return it; the next step moves it."""
    head = model.recognition(1).head
    assert isinstance(head, CodebookHead)
    code, cost = least_needed(model.decode, model.read(images)[0], images, model.latent_dim)
    if cost >= need / (3 * model.latent_dim):
        return None
    head.usage[code] = 0.0
    return code
