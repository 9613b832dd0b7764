"""The classification accuracy score of samples: what a small net learns from them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgm.data.images import ImageSet, to_unit

NET_STEPS = 600


@torch.enable_grad()
def classification_accuracy_score(images: Tensor, labels: Tensor, test: ImageSet, seed: int) -> float:
    """Return the share of real test images that a small net is right on, having learned from `images` alone.

    Ravuri and Vinyals 2019, with a net of two convolutions: 600 steps of Adam on 128 images each, whatever their
    number. `seed` is that of its first weights and of the order of the images.
    """
    assert test.labels is not None
    channels, height, width = test.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # the layers' initial weights have no other way to be seeded
        net = nn.Sequential(
            *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            nn.Linear(32 * (height // 4) * (width // 4), len(test.classes)),
        )
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=NET_STEPS)
    size = min(128, len(images))
    per_epoch = len(images) // size
    epochs = -(-NET_STEPS // per_epoch)
    order = torch.cat([torch.randperm(len(images), generator=generator)[: per_epoch * size] for _ in range(epochs)])
    for index in order.split(size)[:NET_STEPS]:
        cost = F.cross_entropy(net(images[index]), labels[index])
        optimizer.zero_grad(set_to_none=True)
        cost.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        said = torch.cat([net(batch).argmax(dim=1) for batch in to_unit(test.images).split(500)])
    return float((said == test.labels).double().mean())
