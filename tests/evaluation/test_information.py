import math

import pytest
import torch

from rgm.data.images import ImageSet
from rgm.errors import RGMError
from rgm.evaluation.information import class_share, entropy_bits, lossless_bits, mutual_information
from rgm.evaluation.statistics import PerImage


def test_a_copy_of_the_class_tells_its_entropy_and_a_constant_nothing() -> None:
    labels = torch.arange(4).repeat(500)
    codes = torch.stack([labels, torch.zeros_like(labels), labels // 2], dim=1)
    found = mutual_information(codes, labels, 4, 4)
    assert entropy_bits(labels) == pytest.approx(2)
    # The bias of a copy: (4 − 4 − 4 + 1) / 2n nats below its entropy is what is added.
    assert float(found.bits[0]) == pytest.approx(2 + 3 / 4000 / math.log(2))
    assert float(found.bits[1]) == pytest.approx(0, abs=1e-12)
    assert float(found.bits[2]) == pytest.approx(1 + 1 / 4000 / math.log(2))
    alone = class_share(labels, labels, 4).estimate()
    assert alone.estimate == pytest.approx(float(found.bits[0]) / 2)
    assert alone.low <= alone.estimate <= alone.high


def test_a_noisy_channel_tells_what_the_closed_form_says(generator: torch.Generator) -> None:
    """A binary symmetric channel that errs one time in ten: 1 − H(0.1) bits."""
    expected = 1 + 0.1 * math.log2(0.1) + 0.9 * math.log2(0.9)
    estimates = []
    for _ in range(200):
        labels = torch.randint(2, (400,), generator=generator)
        wrong = (torch.rand(400, generator=generator) < 0.1).long()
        estimates.append(mutual_information((labels + wrong) % 2, labels, 2, 2))
    inside = sum(bool(one.low <= expected <= one.high) for one in estimates)
    assert inside >= 180
    assert sum(float(one.bits) for one in estimates) / 200 == pytest.approx(expected, abs=0.01)


def test_information_over_images_is_the_same_number_with_nearly_the_same_interval(generator: torch.Generator) -> None:
    labels = torch.randint(4, (3000,), generator=generator)
    said = torch.where(
        torch.rand(3000, generator=generator) < 0.8, labels, torch.randint(4, (3000,), generator=generator)
    )
    shares, expected = class_share(said, labels, 4), mutual_information(said, labels, 4, 4)
    found = PerImage.mean(shares.parts, "bits").estimate()
    assert found.estimate == pytest.approx(float(expected.bits))
    reach = float(expected.high - expected.low)
    assert found.low == pytest.approx(float(expected.low), abs=0.1 * reach)
    assert found.high == pytest.approx(float(expected.high), abs=0.1 * reach)


def test_independent_codes_tell_nothing_on_average(generator: torch.Generator) -> None:
    labels = torch.randint(10, (2000,), generator=generator)
    codes = torch.randint(32, (2000, 7, 7), generator=generator)
    found = mutual_information(codes, labels, 32, 10)
    assert found.bits.shape == (7, 7)
    plug_in = 9 * 31 / 4000 / math.log(2)  # what it would be without the correction
    assert float(found.bits.mean()) < 0.15 * plug_in


def test_fewer_images_than_classes() -> None:
    with pytest.raises(RGMError, match="needs at least as many images"):
        mutual_information(torch.zeros(3, dtype=torch.int64), torch.arange(3), 2, 10)


def images(pixels: torch.Tensor) -> ImageSet:
    return ImageSet(name="", split="test", images=pixels, labels=None, classes=(), source="", sha256="")


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_costs_its_bits_and_a_constant_next_to_none(generator: torch.Generator, channels: int) -> None:
    noise = torch.randint(256, (70, channels, 16, 20), generator=generator, dtype=torch.uint8)
    assert lossless_bits(images(noise)) == pytest.approx(8 * channels * 320, rel=0.02)
    assert lossless_bits(images(torch.full_like(noise, 7))) < 20
