"""Exact questions about pixels, against sums and maxima over every image and every state."""

import math

import pytest
import torch
from jaxtyping import config
from test_deep import KINDS, deep, every_image
from torch import Tensor
from toys import assert_drawn_from, toy

from rgm.counting.model import CountingRGM
from rgm.errors import RGMError

SHAPE, VALUES = (1, 3, 2), 3
ALL = every_image(SHAPE, VALUES)
VISIBLE = torch.tensor([[[True, False], [True, True], [False, True]]])
DRAWS = 5_000


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> CountingRGM:
    return deep(request.param, values=VALUES, seed=1)


def chances(model: CountingRGM) -> Tensor:
    """Return p of every image."""
    return model.log_evidence(ALL).exp().mean(dim=1)


def agreeing(image: Tensor, visible: Tensor) -> Tensor:
    return ((image == ALL) | ~visible[0]).flatten(1).all(dim=1)


def test_log_prob_sums_hidden_pixels_out(model: CountingRGM) -> None:
    image = ALL[100:101]
    found = model.log_prob(image, VISIBLE)
    torch.testing.assert_close(found.exp()[0], chances(model)[agreeing(image, VISIBLE)].sum())
    torch.testing.assert_close(model.log_prob(ALL).exp(), chances(model))
    by_class = model.log_evidence(image, visible=VISIBLE).exp()[0]
    torch.testing.assert_close(by_class, model.log_evidence(ALL).exp()[agreeing(image, VISIBLE)].sum(dim=0))
    nothing = torch.zeros_like(VISIBLE)
    torch.testing.assert_close(model.log_prob(image, nothing), torch.zeros(1, dtype=torch.float64))


def test_marginals_are_given_all_other_visible_pixels(model: CountingRGM) -> None:
    image, p = ALL[400:401], chances(model)
    found = model.marginals(image, VISIBLE)[0, 0]
    assert found.shape == (3, 2, VALUES)
    for row in range(3):
        for column in range(2):
            others = VISIBLE.clone()
            others[0, row, column] = False
            agree = agreeing(image, others)
            number = (ALL[:, 0, row, column] * (VALUES - 1)).round().long()
            expected = torch.zeros(VALUES, dtype=torch.float64).index_add_(0, number[agree], p[agree])
            torch.testing.assert_close(found[row, column], expected / expected.sum())


def test_means_of_hidden_pixels_and_of_noisy_ones(model: CountingRGM) -> None:
    image, p = ALL[400:401], chances(model)
    agree = agreeing(image, VISIBLE)
    mean = (p[agree, None, None, None] * ALL[agree]).sum(dim=0) / p[agree].sum()
    torch.testing.assert_close(model.posterior_mean(image, VISIBLE)[0], mean)
    observed = torch.tensor([[[[0.1, 0.4], [0.9, 0.6], [0.5, 0.2]]]], dtype=torch.float64)
    weight = p * (-((observed - ALL) / 0.3).square() / 2).flatten(1).sum(dim=1).exp()
    expected = (weight[:, None, None, None] * ALL).sum(dim=0) / weight.sum()
    torch.testing.assert_close(model.posterior_mean(observed, noise=0.3)[0], expected)


def test_the_most_probable_explanation_is_the_largest_of_all(model: CountingRGM) -> None:
    """The joint of images, codes and concept is largest at it: over every hidden image, by trying codes of each."""
    image = ALL[100:103]
    found = model.most_probable(image, VISIBLE)
    assert ((found.images == image) | ~VISIBLE[:, None]).all()
    filled = agreeing(image[:1], VISIBLE)
    hidden = torch.zeros_like(VISIBLE)
    for one, best in zip(image, found.log_joint, strict=True):
        every = [model.most_probable(other[None], ~hidden).log_joint[0] for other in ALL[agreeing(one[None], VISIBLE)]]
        torch.testing.assert_close(best, torch.stack(every).max())
    assert filled.any()
    # and it is the joint of what it returns
    joint = torch.full((3,), -math.log(model.num_classes), dtype=torch.float64)
    for level, codes in enumerate(found.codes, start=1):
        above = found.concept[:, None, None] if level == len(found.codes) else found.codes[level]
        joint += model.log_prob_given(level, codes, above)
    read = model.symbols(found.images)
    cells = model.tables().likelihood.log_prob(read).gather(2, found.codes[0].flatten(1).T[..., None])
    torch.testing.assert_close(joint + cells.sum(dim=(0, 2)), found.log_joint)


def test_draws_of_hidden_pixels_have_the_conditional(model: CountingRGM) -> None:
    image = ALL[400:401]
    generator = torch.Generator().manual_seed(0)
    drawn = model.sample_given(image.expand(DRAWS, -1, -1, -1), VISIBLE, generator=generator).images
    assert ((drawn == image) | ~VISIBLE[:, None]).all()
    numbers = (drawn.flatten(1) * (VALUES - 1)).round().long()
    place = (numbers * VALUES ** torch.arange(6).flip(0)).sum(dim=1)
    assert_drawn_from(place, chances(model) * agreeing(image, VISIBLE))


def test_black_and_white_cells_refuse_single_pixels() -> None:
    model = toy()
    images = torch.rand(2, *model.config.image, dtype=torch.float64)
    visible = torch.ones(1, *model.config.image[1:], dtype=torch.bool)
    for ask in (model.log_prob, model.marginals, model.posterior_mean, model.sample_given, model.most_probable):
        with pytest.raises(RGMError, match="--preset exact"):
            ask(images, visible)


def test_masks_of_another_shape_are_refused(model: CountingRGM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as outside of tests
    for mask in (VISIBLE[:, :2], VISIBLE.float(), VISIBLE.expand(3, -1, -1)):
        with pytest.raises(RGMError, match=r"mask of shape \(2, 3, 2\)"):
            model.log_prob(ALL[:2], mask)
    with pytest.raises(RGMError, match="standard deviation"):
        model.posterior_mean(ALL[:2], noise=0.0)
