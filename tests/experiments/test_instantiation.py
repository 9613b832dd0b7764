import torch

from rgm.experiments.instantiation import instantiation
from rgm.judge import Judge
from rgm.model.spatial import SpatialRGM


def test_shares_are_the_judges(model: SpatialRGM, judge: Judge) -> None:
    classes = tuple("0123456789")
    result = instantiation(model, classes, judge, count=12, columns=4, seed=3)
    generator = torch.Generator().manual_seed(3)
    assert result.recognised is not None
    for concept in range(10):
        images = model.sample(concept, 12, generator=generator).images
        torch.testing.assert_close(result.sheet[concept], images[:4])
        share = (judge.look(images).label == concept).float().mean()
        torch.testing.assert_close(result.recognised[concept], share)
    measures = result.measures()
    assert measures["worst_concept_recognised"] <= measures["samples_recognised"]


def test_without_a_judge_there_is_only_the_sheet(model: SpatialRGM) -> None:
    result = instantiation(model, tuple("0123456789"), None, count=3, columns=3)
    assert result.sheet.shape == (10, 3, 1, 28, 28)
    assert result.measures() == {}
