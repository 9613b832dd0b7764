"""Codes that earn their place: a code that is hardly needed is moved to where the codes serve badly."""

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.measures import least_needed
from rgm.model.estimator import CodebookHead
from rgm.model.spatial import SpatialRGM

IMAGES = 128
"""Training images on which it is measured which code is needed least."""


@torch.no_grad()
def relocate(model: SpatialRGM, images: Float[Tensor, "n channels rows columns"], need: float) -> int | None:
    """Give up the code of z_1 that is needed least, if it hardly is, and return it: see `Relocation`.

    The next step of training moves it, as it moves codes that are no longer used: see `CodebookHead`.
    """
    head = model.recognition(1).head
    assert isinstance(head, CodebookHead)
    code, cost = least_needed(model.decode, model.read(images)[0], images, model.latent_dim)
    if cost >= need / (3 * model.latent_dim):
        return None
    head.usage[code] = 0.0
    return code
