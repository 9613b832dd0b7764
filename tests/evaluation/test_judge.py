from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rgm.data.images import ImageSet, to_unit
from rgm.data.jitter import jitter
from rgm.data.load import from_arrays, load_data
from rgm.errors import RGMError
from rgm.evaluation.judge import Judge, JudgeConfig, judge_accuracy, judge_of, load_judge, save_judge, train_judge


def test_learns_the_embedded_digits(digits_judge: Judge) -> None:
    assert judge_accuracy(digits_judge, load_data("digits", "test")) > 0.93


def test_equal_seeds_train_equal_judges(digits: ImageSet) -> None:
    few = replace(digits, images=digits.images[:64], labels=digits.labels[:64])  # type: ignore[index]
    one, two = (train_judge(few, epochs=1, seed=3) for _ in range(2))
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_round_trip(tmp_path: Path, digits: ImageSet) -> None:
    judge = Judge(JudgeConfig(channels=1, classes=10, width=4)).eval()
    save_judge(tmp_path / "judge.safetensors", judge)
    found = load_judge(tmp_path / "judge.safetensors")
    images = to_unit(digits.images[:5])
    assert torch.equal(found.predict(images).probabilities, judge.predict(images).probabilities)


def test_a_kept_judge_serves_the_same_images_alone(tmp_path: Path, digits: ImageSet) -> None:
    few = replace(digits, images=digits.images[:64], labels=digits.labels[:64], sha256="few")  # type: ignore[index]
    kept = tmp_path / "judge.safetensors"
    save_judge(kept, Judge(JudgeConfig(channels=1, classes=10, width=4, trained_on="few")))
    assert judge_of(few, kept=kept).config.width == 4
    assert judge_of(replace(few, sha256="other"), kept=kept).config.width == 24
    assert load_judge(kept).config.trained_on == "other"


def test_a_set_of_ones_own_called_mnist_gets_its_own_judge(digits: ImageSet) -> None:
    assert digits.labels is not None
    own = from_arrays(digits.images[:64], digits.labels[:64], name="mnist")
    assert judge_of(own).config.trained_on == own.sha256


def test_jitter_keeps_the_range_and_moves_the_pixels(digits: ImageSet, generator: torch.Generator) -> None:
    images = to_unit(digits.images[:20])
    moved = jitter(images, generator)
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1 + 1e-6
    assert float((moved - images).abs().amax(dim=(1, 2, 3)).min()) > 0.05
    torch.testing.assert_close(moved.sum(), images.sum(), rtol=0.1, atol=0)


def test_unlabelled_images_train_no_judge(digits: ImageSet) -> None:
    with pytest.raises(RGMError, match="learns from labels"):
        train_judge(replace(digits, labels=None, classes=()))


@pytest.mark.mnist
def test_the_packaged_judge_is_right_on_mnist() -> None:
    train = load_data("mnist", "train")
    judge = judge_of(replace(train, name="by another name"))
    assert judge.config.trained_on == train.sha256
    assert judge_accuracy(judge, load_data("mnist", "test")) >= 0.993
