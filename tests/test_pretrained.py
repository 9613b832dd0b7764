"""The weights that ship: small, whole, and as good as they are said to be."""

import pytest
import torch

from rgm.data.images import to_unit
from rgm.data.load import load_data
from rgm.evaluation.information import code_rate_bits
from rgm.evaluation.judge import judge_of
from rgm.evaluation.locality import locality
from rgm.loading import load_checkpoint
from rgm.measures import accuracy, codebook_usage, needed_codes, squared_error
from rgm.model.spatial import SpatialRGM
from rgm.storage.checkpoint import packaged


@pytest.mark.parametrize(
    ("name", "preset", "image", "some"),
    [
        ("mnist", "pretrained", (1, 28, 28), "3"),
        ("fashion-mnist", "colour32-medium", (1, 28, 28), "boot"),
        ("cifar10", "colour32-large", (3, 32, 32), "horse"),
    ],
)
def test_they_are_small_and_know_where_they_come_from(
    name: str, preset: str, image: tuple[int, int, int], some: str
) -> None:
    assert packaged(name).stat().st_size <= 4_000_000
    found = load_checkpoint(name)
    assert (found.origin.preset, found.origin.data) == (preset, name)
    assert (len(found.origin.classes), some in found.origin.classes) == (10, True)
    assert found.unfinished is None
    assert not found.model.training
    assert found.model.config.image == image
    assert found.evidence is not None


def test_they_sample_what_is_asked_for_and_the_same_for_the_same_seed() -> None:
    model = SpatialRGM.from_pretrained("mnist")
    first, second = (model.sample(4, 3, generator=torch.Generator().manual_seed(0)).images for _ in range(2))
    assert first.shape == (3, 1, 28, 28)
    assert torch.equal(first, second)


@pytest.mark.slow
@pytest.mark.mnist
def test_they_hold_what_is_claimed_of_them_on_the_first_test_images() -> None:
    """On a fifth of the test images: far enough from the claims to hold for chance's sake, near enough to notice."""
    model = SpatialRGM.from_pretrained("mnist")
    train, test = (load_data("mnist", split) for split in ("train", "test"))
    judge = judge_of(train)
    assert test.labels is not None
    labels, images = test.labels[:2000], to_unit(test.images[:2000])
    read = model.infer(images)
    assert accuracy(read.concept, labels) > 0.985
    assert squared_error(read.reconstruction, images) < 0.0045
    assert codebook_usage(read.z1, model.latent_dim).in_use == 64
    assert needed_codes(model.decode, read.z1[:400], images[:400], model.latent_dim).count >= 58
    assert accuracy(judge.predict(read.reconstruction).probabilities, labels) > 0.983
    concepts = torch.arange(10).repeat_interleave(60)
    samples = model.sample(concepts, generator=torch.Generator().manual_seed(0)).images
    assert accuracy(judge.predict(samples).probabilities, concepts) > 0.96
    rates = [float(code_rate_bits(model, split, count=1000).mean()) for split in (test, train)]
    assert rates[0] < 1.06 * rates[1]
    cells = locality(model, test, judge, count=16, concepts=16)
    assert cells.measures()["own_patch_share"] > 0.8
    assert cells.measures()["patch_plus_2_share"] == pytest.approx(1)


@pytest.mark.mnist
def test_those_of_clothes_hold_what_is_claimed_of_them_on_the_first_test_images() -> None:
    model = SpatialRGM.from_pretrained("fashion-mnist")
    test = load_data("fashion-mnist", "test")
    assert test.labels is not None
    labels, images = test.labels[:1000], to_unit(test.images[:1000])
    read = model.infer(images)
    assert accuracy(read.concept, labels) > 0.86
    assert squared_error(read.reconstruction, images) < 0.0065
    samples = model.sample(torch.arange(10), 4, generator=torch.Generator().manual_seed(0))
    assert accuracy(model.infer(samples.images).concept, samples.concept) > 0.8
