import pytest
import torch
from torch import nn

from rgm.model.decoder import Upscaling


@pytest.mark.parametrize(
    ("channels", "kernel", "side", "padding"),
    [(1, 4, 4, 0), (3, 4, 4, 2), (2, 8, 8, 4), (1, 2, 2, 1), (1, 4, 2, 1), (3, 6, 2, 2), (2, 1, 1, 0), (2, 6, 3, 0)],
)
def test_upscaling_is_the_transposed_convolution_with_its_gradients(
    channels: int, kernel: int, side: int, padding: int
) -> None:
    torch.manual_seed(0)
    plain = nn.ConvTranspose2d(6, channels, kernel, stride=side, padding=padding).double()
    upscaling = Upscaling(6, channels, kernel, stride=side, padding=padding).double()
    upscaling.load_state_dict(plain.state_dict())
    x = torch.randn(3, 6, 5, 4, dtype=torch.float64)
    weight = torch.randn_like(plain(x))
    found = []
    for layer in (plain, upscaling):
        given = x.clone().requires_grad_()
        (layer(given) * weight).sum().backward()
        found.append([layer(given), given.grad, layer.weight.grad, layer.bias.grad])
    torch.testing.assert_close(found[1], found[0])
