"""The critic: what it sees, its loss, and whose weights each loss moves."""

import pytest
import torch
from torch import nn

from rgm.distributions.noise import seeded
from rgm.training.critic import Critic


@pytest.fixture
def critic() -> Critic:
    with seeded(0):
        return Critic(3, width=4).double()


def noise(seed: int, side: int = 32) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_score_depends_on_22_pixels_on_either_axis(critic: Critic) -> None:
    images = noise(0).requires_grad_()
    scores = critic(images)
    assert scores.shape == (2, 1, 8, 8)
    scores[0, 0, 4, 4].backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    seen = images.grad[0].abs().sum(dim=0).nonzero()
    assert (seen.amax(dim=0) - seen.amin(dim=0) + 1).tolist() == [22, 22]
    assert not images.grad[1].any()


def test_every_layer_stretches_by_at_most_one(critic: Critic) -> None:
    """The largest singular value of each kernel as a matrix, after many steps of power iteration."""
    for _ in range(200):
        critic(noise(0))
    kernels = [layer.weight for layer in critic.eval().requires_grad_(False).layers if isinstance(layer, nn.Conv2d)]
    assert len(kernels) == 5
    for kernel in kernels:
        assert float(torch.linalg.matrix_norm(kernel.flatten(1), 2)) == pytest.approx(1.0, abs=1e-3)


def test_the_loss_is_the_hinge_of_the_scores(critic: Critic) -> None:
    critic.eval().requires_grad_(False)  # without power iteration, equal scores for equal images
    real, decoded = noise(0), noise(1)
    expected = (1 - critic(real)).clamp_min(0).mean() + (1 + critic(decoded)).clamp_min(0).mean()
    assert float(critic.cost(real, decoded)) == pytest.approx(float(expected), abs=1e-12)
    assert float(critic.fooled(decoded)) == pytest.approx(-float(critic(decoded).mean()), abs=1e-12)


def test_its_own_loss_moves_the_critic_alone_and_the_other_the_images_alone(critic: Critic) -> None:
    real, decoded = noise(0).requires_grad_(), noise(1).requires_grad_()
    critic.fooled(decoded).backward()  # type: ignore[no-untyped-call]
    assert decoded.grad is not None
    assert decoded.grad.abs().amax() > 0
    assert all(weight.grad is None for weight in critic.parameters())
    decoded.grad = None
    critic.cost(real, decoded).backward()  # type: ignore[no-untyped-call]
    assert decoded.grad is None
    assert real.grad is None
    kernels = [weight.grad for weight in critic.parameters() if weight.ndim == 4]
    assert len(kernels) == 5
    assert all(gradient is not None and gradient.abs().amax() > 0 for gradient in kernels)
