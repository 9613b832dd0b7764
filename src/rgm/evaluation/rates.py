"""What codes cost under the prior, in bits."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.model.generative import RGM

BATCH = 100
"""Images at once: the prior's activations of more do not fit a CPU's caches."""


@torch.no_grad()
def code_rate_bits(model: RGM, data: ImageSet, *, count: int | None = None) -> Float[Tensor, " n"]:
    """Return −log₂ p(z_1 | z_2) of the most probable codes of (the first `count`) images, in bits per image."""
    rates = []
    for batch in to_unit(data.images[:count]).split(BATCH):
        z1, z2, *_ = model.read(batch.to(model.device))
        rates.append(-model.log_prob_given(1, z1, z2) / math.log(2))
    return torch.cat(rates)


@torch.no_grad()
def level_rates_bits(model: RGM, codes: Sequence[Tensor]) -> Float[Tensor, "n levels"]:
    """Return −log₂ p(z_ℓ | z_{ℓ+1}) of every level's codes, the concept's last, in bits per image."""
    levels = [
        torch.cat(
            [
                -model.log_prob_given(level, *pair) / math.log(2)
                for pair in zip(child.split(BATCH), parent.split(BATCH), strict=True)
            ]
        )
        for level, (child, parent) in enumerate(pairwise(codes), start=1)
    ]
    return torch.stack([*levels, torch.full_like(levels[0], math.log2(model.num_classes))], dim=1)
