from dataclasses import replace

import torch

from rgm.data.images import ImageSet, to_unit
from rgm.evaluation.abstraction import abstraction, code_atlas
from rgm.evaluation.judge import Judge
from rgm.evaluation.split import infer_split
from rgm.evaluation.statistics import calibration_error
from rgm.measures import needed_codes
from rgm.model.spatial import SpatialRGM


def test_measures_are_those_of_a_plain_loop(model: SpatialRGM, few: ImageSet, judge: Judge) -> None:
    result = abstraction(infer_split(model, few, judge))
    assert few.labels is not None
    images = to_unit(few.images)
    inference = model.infer(images)
    right = [int(p.argmax()) == int(y) for p, y in zip(inference.concept, few.labels, strict=True)]
    seen = judge.predict(inference.reconstruction).label
    errors = ((inference.reconstruction - images) ** 2).flatten().double()
    frequency = torch.bincount(inference.z1.flatten(), minlength=32) / inference.z1.numel()
    perplexity = float(torch.exp(-(frequency * frequency.clamp_min(1e-30).log()).sum()))
    some = torch.randperm(len(few), generator=torch.Generator().manual_seed(0))  # as `codes_needed` takes them
    expected = {
        "squared_error": float(errors.mean()),
        "codes_in_use": float((frequency > 0).sum()),
        "perplexity": perplexity,
        **needed_codes(model.decode, inference.z1[some], images[some], 32).measures(),
        "concept_accuracy": sum(right) / len(right),
        "calibration_error": calibration_error(inference.concept, few.labels).estimate,
        "reconstructions_recognised": float((seen == few.labels).double().mean()),
    }
    assert result.measures().keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(result.measures()[name], value, atol=1e-5, rtol=1e-4)


def test_one_example_of_each_class(model: SpatialRGM, few: ImageSet, judge: Judge) -> None:
    result = abstraction(infer_split(model, few, judge))
    assert result.labels is not None
    assert result.labels.tolist() == list(range(10))
    assert len(result.inference.concept) == 10


def test_without_labels_and_judge(model: SpatialRGM, few: ImageSet) -> None:
    result = abstraction(infer_split(model, replace(few, labels=None, classes=()), None))
    assert result.split.concept_right is None
    assert result.split.reconstructions_recognised is None
    assert set(result.measures()) == {
        "squared_error",
        "codes_in_use",
        "perplexity",
        "needed_codes",
        "needed_perplexity",
    }


def test_the_atlas_averages_the_patches_of_a_code(model: SpatialRGM) -> None:
    images = torch.zeros(2, 1, 28, 28)
    images[0, 0, 4:8, 8:12] = 0.5  # the patch of cell (1, 2)
    images[1, 0, 4:8, 8:12] = 1.0
    z1 = torch.zeros(2, 7, 7, dtype=torch.int64)
    z1[:, 1, 2] = 9
    atlas = code_atlas(model, images, z1)
    torch.testing.assert_close(atlas.encoded[9], torch.full((1, 4, 4), 0.75))
    torch.testing.assert_close(atlas.encoded[0], torch.zeros(1, 4, 4))
    assert atlas.counts[9] == 2
    assert atlas.counts.sum() == 98
    everywhere = model.decode(torch.full((1, 7, 7), 9))
    torch.testing.assert_close(atlas.decoded[9], everywhere[0, :, 12:16, 12:16])
