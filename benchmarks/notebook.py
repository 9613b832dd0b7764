"""The notebook's way, as its text has it: a DataLoader over PIL images, batches of 64, one eager step after another.

torchvision's `MNIST` and `ToTensor` are written out, since rgm does without torchvision: an image is a PIL image made
of its bytes at every look, and becomes a float tensor in [0, 1] of shape (1, 28, 28).
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rgm.data.images import ImageSet
from rgm.model.spatial import SpatialRGM


class Pictures(Dataset[tuple[Tensor, int]]):
    """A set as torchvision's `MNIST(transform=ToTensor())` gives it."""

    def __init__(self, data: ImageSet) -> None:
        assert data.labels is not None
        self.images, self.labels = data.images[:, 0], data.labels

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an image and its label."""
        picture = Image.fromarray(self.images[index].numpy(), mode=None)
        pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True)).view(28, 28, 1)
        return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255), int(self.labels[index])


def loader(data: ImageSet, seed: int) -> DataLoader[tuple[Tensor, int]]:
    """Return the notebook's loader."""
    return DataLoader(Pictures(data), batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(seed))


def steps(model: SpatialRGM, batches: DataLoader[tuple[Tensor, int]], epochs: int) -> Iterator[float]:
    """Train as the notebook does, and yield each step's loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for x, y in batches:
            optimizer.zero_grad()
            h1 = model.enc1(x)
            z1_logits = model.z1_proj(h1)
            z1_sample = model.reparameterize_gumbel(z1_logits)
            z2_logits = model.enc2(z1_sample)
            z2_sample = model.reparameterize_gumbel(z2_logits)
            z1_prior_logits = model.dec2(z2_sample).view(-1, model.latent_dim, 7, 7)
            recon = model.dec1(z1_sample)
            recon_loss = F.mse_loss(recon, x)
            cls_loss = F.cross_entropy(z2_logits, y)
            p = F.softmax(z1_logits, dim=1)
            q = F.softmax(z1_prior_logits, dim=1)
            prior_loss = torch.sum(p * (torch.log(p + 1e-8) - torch.log(q + 1e-8))) / (x.size(0) * 49)
            loss = recon_loss + 1.0 * cls_loss + 0.1 * prior_loss
            loss.backward()
            optimizer.step()
            yield loss.item()
