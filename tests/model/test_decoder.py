import pytest
import torch
from torch import nn

from rgm.model.decoder import Upscaling


@pytest.mark.parametrize(("channels", "side", "padding"), [(1, 4, 0), (3, 4, 2), (2, 8, 4), (1, 2, 1)])
def test_blocks_are_the_transposed_convolution_with_its_gradients(
    channels: int, side: int, padding: int
) -> None:
    torch.manual_seed(0)
    plain = nn.ConvTranspose2d(6, channels, side, stride=side, padding=padding).double()
    blocks = Upscaling(6, channels, side, stride=side, padding=padding).double()
    blocks.load_state_dict(plain.state_dict())
    x = torch.randn(3, 6, 5, 4, dtype=torch.float64)
    weight = torch.randn_like(plain(x))
    found = []
    for layer in (plain, blocks):
        given = x.clone().requires_grad_()
        (layer(given) * weight).sum().backward()
        found.append([layer(given), given.grad, layer.weight.grad, layer.bias.grad])
    torch.testing.assert_close(found[1], found[0])
