"""Results in a line."""

import torch

import rgm
from rgm.data.load import load_data
from rgm.runtime.brief import brief


def test_results_print_shapes_in_place_of_numbers() -> None:
    model = rgm.SpatialRGM.from_preset("seed", seed=1).eval()
    said = repr(model.infer(torch.rand(2, 1, 28, 28)))
    assert said == (
        "Inference(codes=(int64 (2, 7, 7),), concept=float32 (2, 10), reconstruction=float32 (2, 1, 28, 28))"
    )
    digits = repr(load_data("digits", "test"))
    assert "images=uint8 (359, 1, 28, 28), labels=int64 (359,), classes=('0', '1'" in digits
    assert len(digits) < 400
    assert brief(tuple(range(20))) == "(20 of int)"
    assert brief(model) == "SpatialRGM(…)"
