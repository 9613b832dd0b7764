from dataclasses import replace

import torch

from rgm.data.images import ImageSet, one_of_each, to_unit
from rgm.evaluation.instantiation import instantiation
from rgm.evaluation.judge import Judge
from rgm.evaluation.measurements import measure
from rgm.model.spatial import SpatialRGM


def test_shares_are_the_judges(model: SpatialRGM, digits: ImageSet, test_digits: ImageSet, judge: Judge) -> None:
    measured = measure(model, digits, test_digits, judge, seed=3)
    result = measured.instantiation(measured.quality)
    generator = torch.Generator().manual_seed(3)
    for concept in range(10):
        images = model.sample(concept, 10, generator=generator).images
        torch.testing.assert_close(result.sheet[concept], images)
    samples = measured.quality.samples
    assert result.recognised is not None
    assert result.recognised.tolist() == [share.estimate for share in samples.recognised_by_concept]
    assert result.count == 3 * measured.quality.images
    assert result.measures()["samples_recognised"] == samples.recognised.estimate
    assert result.measures()["worst_concept_recognised"] == float(result.recognised.min())


def test_completions_keep_the_upper_cells_and_draw_the_others(model: SpatialRGM, few: ImageSet, judge: Judge) -> None:
    found = instantiation(model, few, judge, columns=4).completion
    assert found.keep.sum(dim=1).tolist() == [7] * 4 + [0] * 3
    assert found.completed.shape == (10, 4, 1, 28, 28)
    read = model.infer(to_unit(few.images[one_of_each(few)]))
    torch.testing.assert_close(found.reconstructed, read.reconstruction)
    far = 3 * 4  # rows of pixels that no cell below the fourth row reaches
    changed = (found.completed - found.reconstructed[:, None]).abs()
    assert changed[..., :far, :].max() < 1e-5
    assert changed[..., far:, :].max() > 1e-3
    assert found.count == 60
    assert found.recognised is not None
    assert 0 <= found.recognised <= 1


def test_without_a_judge_there_are_only_pictures(model: SpatialRGM, few: ImageSet) -> None:
    unlabelled = replace(few, labels=None)
    result = instantiation(model, unlabelled, None, columns=3)
    assert result.sheet.shape == (10, 3, 1, 28, 28)
    assert result.completion.completed.shape == (10, 4, 1, 28, 28)
    assert result.measures() == {}
