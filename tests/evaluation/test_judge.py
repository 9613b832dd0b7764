from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rgm.data.images import ImageSet, to_unit
from rgm.data.jitter import jitter
from rgm.data.load import from_arrays, load_data
from rgm.errors import RGMError
from rgm.evaluation.judge import (
    FILTERS,
    Judge,
    JudgeConfig,
    given_judge,
    judge_accuracy,
    judge_of,
    load_judge,
    save_judge,
    train_judge,
)


def test_the_packaged_judge_knows_the_embedded_digits(digits_judge: Judge) -> None:
    assert judge_accuracy(digits_judge, load_data("digits", "test")) > 0.98


@pytest.mark.slow
def test_learns_the_embedded_digits(digits: ImageSet) -> None:
    assert judge_accuracy(train_judge(digits, epochs=3), load_data("digits", "test")) > 0.93


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
    # Kernels and matrices are kept in half precision: once rounded, they stay as they are.
    torch.testing.assert_close(
        found.predict(images).probabilities, judge.predict(images).probabilities, atol=1e-3, rtol=0
    )
    save_judge(tmp_path / "again.safetensors", found)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "judge.safetensors").read_bytes()


def small(shape: tuple[int, int, int], count: int = 40) -> ImageSet:
    """Noise of two classes, which differ in brightness."""
    pixels = np.random.default_rng(0).random((count, *shape)) * 0.5
    labels = np.arange(count) % 2
    return from_arrays(pixels + labels[:, None, None, None] * 0.5, labels)


@pytest.mark.parametrize(("shape", "shrink"), [((1, 1, 1), 1), ((3, 5, 4), 1), ((1, 64, 66), 2)])
def test_judges_images_of_any_size(tmp_path: Path, shape: tuple[int, int, int], shrink: int) -> None:
    data = small(shape, count=8)
    judge = train_judge(data, epochs=1)
    assert judge.config.shrink == shrink
    images = to_unit(data.images)
    save_judge(tmp_path / "judge.safetensors", judge)
    again = load_judge(tmp_path / "judge.safetensors").predict(images)
    assert torch.equal(again.probabilities, judge.predict(images).probabilities)


@pytest.mark.parametrize(("sides", "epochs"), [((5, 4), 40), ((24, 25), 25)])
def test_learns_from_few_images_in_colour(sides: tuple[int, int], epochs: int) -> None:
    data = small((3, *sides))
    assert judge_accuracy(train_judge(data, epochs=epochs), data) > 0.9


@pytest.mark.parametrize(("instructions", "width"), [({"avx512_bf16": True}, 48), ({"avx512_bf16": False}, 24)])
def test_is_narrow_without_instructions_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch, instructions: dict[str, bool], width: int
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert train_judge(small((3, 5, 4)), epochs=1).config.width == width


def test_mirror_images_are_alike_where_there_are_colours() -> None:
    coloured, grey = small((3, 12, 12)), small((1, 12, 12))
    without_colour = from_arrays(grey.images.expand(-1, 3, -1, -1), grey.labels)
    for data, alike in ((coloured, True), (grey, False), (without_colour, False)):
        judge = train_judge(data, epochs=1)
        images = to_unit(data.images)
        assert judge.config.mirrored == alike
        features = (judge.predict(images).features, judge.predict(images.flip(3)).features)
        assert torch.allclose(*features, atol=1e-5) == alike


def test_the_first_layer_whitens_patches() -> None:
    data = small((3, 16, 16), count=400)
    patches = train_judge(data, epochs=1).body[0](to_unit(data.images)).detach()[:, :, ::2, ::2].movedim(1, -1)
    plus, minus = patches.flatten(0, 2).chunk(2, dim=1)
    torch.testing.assert_close(plus, -minus)
    torch.testing.assert_close(plus.T.cov(), torch.eye(FILTERS), atol=0.02, rtol=0)
    assert plus.mean(dim=0).abs().max() < 0.02


def test_a_kept_judge_serves_the_same_images_alone(tmp_path: Path, digits: ImageSet) -> None:
    few = replace(digits, images=digits.images[:64], labels=digits.labels[:64], sha256="few")  # type: ignore[index]
    kept = tmp_path / "judge.safetensors"
    save_judge(kept, Judge(JudgeConfig(channels=1, classes=10, width=4, trained_on="few")))
    assert judge_of(few, kept=kept).config.width == 4
    assert judge_of(replace(few, sha256="other"), kept=kept).config.width > 4
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


def linear_graph(path: Path, weights: np.ndarray) -> None:
    """Write a graph that flattens images and multiplies them by (pixels, classes) weights."""
    side = round(len(weights) ** 0.5)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"], axis=1), helper.make_node("MatMul", ["flat", "w"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_a_classifier_of_the_users_own(tmp_path: Path, digits: ImageSet) -> None:
    weights = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)
    linear_graph(tmp_path / "own.onnx", weights)
    images = to_unit(digits.images[:150])
    found = given_judge(tmp_path / "own.onnx", digits).predict(images)
    logits = images.flatten(1) @ torch.from_numpy(weights)
    torch.testing.assert_close(found.probabilities, logits.softmax(dim=1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.features, logits, rtol=1e-4, atol=1e-4)
    save_judge(tmp_path / "own.safetensors", Judge(JudgeConfig(channels=1, classes=10, width=4)))
    assert given_judge(tmp_path / "own.safetensors", digits).predict(images).probabilities.shape == (150, 10)


def test_a_classifier_that_does_not_fit_is_refused(tmp_path: Path, digits: ImageSet) -> None:
    linear_graph(tmp_path / "few.onnx", np.zeros((784, 3), dtype=np.float32))
    linear_graph(tmp_path / "small.onnx", np.zeros((100, 10), dtype=np.float32))
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    save_judge(tmp_path / "colour.safetensors", Judge(JudgeConfig(channels=3, classes=10, width=4)))
    for name, message in (
        ("few.onnx", r"outputs of shape \(3,\), but .* 10 classes"),
        ("small.onnx", r"does not take images of shape \(1, 28, 28\)"),
        ("colour.safetensors", r"does not take images of shape \(1, 28, 28\)"),
        ("broken.onnx", "cannot be read as an ONNX graph"),
        ("absent.onnx", "no judge at"),
    ):
        with pytest.raises(RGMError, match=message) as refused:
            given_judge(tmp_path / name, digits)
        assert "\n" not in str(refused.value)
