import math
from dataclasses import replace

import pytest
import torch

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.evaluation.information import code_rate_bits, entropy_bits, lossless_bits
from rgm.evaluation.judge import Judge
from rgm.evaluation.levels import levels
from rgm.evaluation.split import infer_split
from rgm.evaluation.statistics import values
from rgm.measures import squared_error
from rgm.model.spatial import SpatialRGM


@pytest.mark.slow
def test_each_level_keeps_the_class_and_lets_go_of_the_pixels(
    learned: SpatialRGM, digits_judge: Judge, test_digits: ImageSet
) -> None:
    split = infer_split(learned, test_digits, digits_judge)
    found = levels(split, digits_judge)
    assert test_digits.labels is not None
    assert [level.name for level in found.levels] == ["pixels", "z1", "concept"]
    bits = [level.bits.estimate().estimate for level in found.levels]
    assert bits[0] == pytest.approx(lossless_bits(test_digits))
    assert bits[1] == pytest.approx(float(code_rate_bits(learned, test_digits).mean()) + math.log2(10), rel=1e-4)
    assert bits[2] == pytest.approx(math.log2(10))
    assert bits == sorted(bits, reverse=True)
    explained = [level.pixels_explained.estimate().estimate for level in found.levels]
    assert explained[0] == 1
    assert explained == sorted(explained, reverse=True)
    images = to_unit(test_digits.images)
    lost = squared_error(learned.infer(images).reconstruction, images)
    variance = float((images - images.mean(0)).square().mean())
    assert explained[1] == pytest.approx(1 - lost / variance, abs=1e-4)
    assert 0.1 < explained[2] < 0.6
    for level in found.levels:
        assert 0.8 < level.class_share.estimate().estimate <= 1.01
        assert float(level.class_share.wholes[0]) == pytest.approx(entropy_bits(test_digits.labels))
    (cells,) = found.cells
    assert cells.bits.shape == (7, 7)
    assert float(cells.bits.max()) < entropy_bits(test_digits.labels)
    assert float(cells.bits[2:5, 2:5].mean()) > float(cells.bits[0].mean())
    assert split.squared_error.value == pytest.approx(lost, rel=1e-4)


@pytest.mark.slow
def test_what_a_concept_says_of_the_pixels_is_its_mean_image(
    learned: SpatialRGM, digits_judge: Judge, test_digits: ImageSet
) -> None:
    """A draw of a concept misses twice the variance within it, the mean of all only once: no draw's noise is left."""
    seeds = [
        levels(infer_split(learned, test_digits, digits_judge), digits_judge, seed=seed)
        .levels[-1]
        .pixels_explained.estimate()
        for seed in (1, 2)
    ]
    assert seeds[0].estimate == pytest.approx(seeds[1].estimate, abs=0.01)
    images = to_unit(test_digits.images)
    concept = learned.infer(images).concept.argmax(1)
    within = torch.stack([(images[concept == c] - images[concept == c].mean(0)).square().sum() for c in range(10)])
    best = 1 - float(within.sum() / (images - images.mean(0)).square().sum())
    assert best - 0.2 < seeds[0].estimate <= best


def test_a_middle_level_is_told_by_what_is_drawn_beneath_it(digits_judge: Judge, test_digits: ImageSet) -> None:
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("three-level").eval()
    some = replace(
        test_digits,
        images=test_digits.images[:60],
        labels=test_digits.labels[:60] if test_digits.labels is not None else None,
    )
    found = levels(infer_split(model, some, digits_judge), digits_judge)
    assert [level.name for level in found.levels] == ["pixels", "z1", "z2", "concept"]
    assert len(found.cells) == 2
    pixels, z1, z2, concept = (level.bits.estimate().estimate for level in found.levels)
    numbers = values(found.findings())
    assert numbers["compression"] == pytest.approx(pixels / (z1 - concept))  # every grid's codes, given the concept
    assert numbers["z1_bits"] == pytest.approx(z1 - z2)
    for level in found.levels:
        for part in (level.bits, level.class_share, level.pixels_explained):
            assert math.isfinite(part.estimate().estimate)


def test_without_labels_there_is_no_class_to_keep(digits_judge: Judge, test_digits: ImageSet) -> None:
    model = SpatialRGM.from_preset("seed").eval()
    with pytest.raises(RGMError, match="needs labels"):
        levels(infer_split(model, replace(test_digits, labels=None, classes=()), digits_judge), digits_judge)
