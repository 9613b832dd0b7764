import torch
from torch import Tensor

from rgm.distributions.noise import fixed_bernoulli


def grey(generator: torch.Generator) -> Tensor:
    return torch.randint(256, (400, 1, 12, 12), generator=generator) / 255


def test_a_row_is_binarised_alike_wherever_it_is(generator: torch.Generator) -> None:
    images = grey(generator)
    found = fixed_bernoulli(images)
    order = torch.randperm(400, generator=generator)
    assert torch.equal(fixed_bernoulli(images[order]), found[order])
    assert torch.equal(fixed_bernoulli(images[7:8]), found[7:8])
    assert torch.equal(fixed_bernoulli(images.double()), found.double())
    assert torch.equal(fixed_bernoulli(found), found)


def test_pixels_are_independent_with_their_grey_values_as_probabilities(generator: torch.Generator) -> None:
    """Rows that differ in one pixel alone have other thresholds in all of them."""
    images = torch.full((4000, 1, 5, 5), 77 / 255)
    images[:, 0, 0, 0] = torch.randint(256, (4000,), generator=generator) / 255
    images[:, 0, 0, 1] = torch.randint(256, (4000,), generator=generator) / 255
    found = fixed_bernoulli(images).flatten(1)[:, 2:]
    one = images.flatten(1).unique(dim=0, return_inverse=True)[1].unique().numel()  # distinct rows
    error = (0.302 * 0.698 / one) ** 0.5
    assert float((found.mean(0) - 77 / 255).abs().max()) < 4 * error
    correlations = torch.corrcoef(found.T).fill_diagonal_(0)
    assert float(correlations.abs().max()) < 4.5 / one**0.5
    values = torch.tensor([0.0, 1.0]).repeat(50, 18).view(50, 1, 6, 6)
    assert torch.equal(fixed_bernoulli(values), values)
