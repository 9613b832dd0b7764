"""The 1,797 handwritten digits embedded in scikit-learn."""

import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor

CLASSES = tuple("0123456789")
SHARES = (0.7, 0.1, 0.2)
"""Shares of training, validation and test."""


def read_digits() -> tuple[UInt8[Tensor, "n 1 28 28"], Int64[Tensor, " n"]]:
    """Return the digits, their 8 × 8 pixels of 0 … 16 scaled to 24 × 24 of 0 … 255 within a margin of 2 pixels."""
    from sklearn.datasets import load_digits  # slow to import

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] / 16
    large = F.interpolate(small, size=(24, 24), mode="bicubic", align_corners=False).clamp(0, 1)
    images = F.pad(large, (2, 2, 2, 2)).mul(255).round().to(torch.uint8)
    return images, torch.from_numpy(bunch.target).long()
