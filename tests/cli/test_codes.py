"""`rgm encode`, `rgm decode`, `rgm sample` and `rgm complete`."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import arrays, done, outside, refused, refused_outside
from PIL import Image


def test_encode_then_decode(run: Path, tmp_path: Path) -> None:
    done("encode", run, "--split", "test", "--out", tmp_path / "codes.npz")
    done("decode", run, tmp_path / "codes.npz", "--out", tmp_path / "images.npz")
    codes, images = arrays(tmp_path / "codes.npz"), arrays(tmp_path / "images.npz")["images"]
    n = len(codes["labels"])
    assert codes["z1"].shape == (n, 7, 7)
    assert codes["z1"].dtype == np.int64
    assert codes["concept"].shape == (n, 10)
    assert codes["concept"].dtype == np.float32
    np.testing.assert_allclose(codes["concept"].sum(1), 1, atol=1e-5)
    assert codes["labels"].dtype == np.int64
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, codes["reconstruction"], atol=1e-6)
    accuracy = (codes["concept"].argmax(1) == codes["labels"]).mean()
    metrics = json.loads((run / "metrics.json").read_text())["test"]
    assert accuracy == pytest.approx(metrics["concept_accuracy"])


def test_sample_one_concept_and_all(run: Path, tmp_path: Path) -> None:
    done("sample", run, "--concept", 3, "--count", 4, "--seed", 1, "--out", tmp_path / "a.npz")
    done("sample", run, "--concept", 3, "--count", 4, "--seed", 1, "--out", tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = arrays(tmp_path / "a.npz")
    assert found["images"].shape == (4, 1, 28, 28)
    assert found["concept"].tolist() == [3] * 4
    done("sample", run, "--concept", "all", "--count", 2, "--out", tmp_path / "all.npz")
    assert arrays(tmp_path / "all.npz")["concept"].tolist() == [c for c in range(10) for _ in range(2)]


def test_samples_as_a_picture(run: Path, tmp_path: Path) -> None:
    """A row for each concept, every pixel twice as large, a white line between: the same images as in the arrays."""
    asked = ("sample", run, "--count", 3, "--seed", 1, "--out")
    assert done(*asked, tmp_path / "all.png") == f"{tmp_path / 'all.png'}: 10 rows of 3 samples\n"
    done(*asked, tmp_path / "all.npz")
    with Image.open(tmp_path / "all.png") as opened:
        found = np.asarray(opened)
    assert found.shape == ((10 * 29 - 1) * 2, (3 * 29 - 1) * 2)
    expected = np.round(255 * arrays(tmp_path / "all.npz")["images"][3 * 4 + 2, 0])
    np.testing.assert_array_equal(found[4 * 58 : 4 * 58 + 56 : 2, 2 * 58 :: 2], expected)
    assert (found[56:58] == 255).all()
    done(*asked, tmp_path / "all.png")  # its own picture is replaced, and no other
    Image.new("L", (4, 4)).save(tmp_path / "mine.png")
    before = (tmp_path / "mine.png").read_bytes()
    assert "mine.png holds something else than a picture by rgm" in refused(*asked, tmp_path / "mine.png")
    assert (tmp_path / "mine.png").read_bytes() == before


def test_complete_keeps_what_it_is_told(run: Path, tmp_path: Path) -> None:
    done("encode", run, "--out", tmp_path / "codes.npz")
    codes = arrays(tmp_path / "codes.npz")
    keep = np.zeros((7, 7), dtype=bool)
    keep[:4] = True
    np.savez(tmp_path / "half.npz", z1=codes["z1"][:5], concept=codes["concept"][:5], keep=keep)
    done("complete", run, tmp_path / "half.npz", "--out", tmp_path / "a.npz")
    found = arrays(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["z1"][:, :4], codes["z1"][:5, :4])
    np.testing.assert_array_equal(found["concept"], codes["concept"][:5].argmax(1))
    done("complete", run, tmp_path / "half.npz", "--concept", 7, "--out", tmp_path / "b.npz")
    assert arrays(tmp_path / "b.npz")["concept"].tolist() == [7] * 5
    np.savez(tmp_path / "bad.npz", z1=codes["z1"][:5], concept=codes["concept"][:5], keep=keep[:3])
    assert "must be a mask of shape (5, 7, 7)" in refused_outside(
        "complete", run, tmp_path / "bad.npz", "--out", tmp_path / "c.npz"
    )


def test_packaged_weights_sample_by_their_name(tmp_path: Path) -> None:
    said = outside("sample", "mnist", "--concept", "3", "--count", 2, "--out", tmp_path / "threes.npz").stdout
    assert said == f"{tmp_path / 'threes.npz'}: images 2 × 1 × 28 × 28, concept 2, z1 2 × 7 × 7\n"
    assert done("sample", "mnist", "--count", 1, "--out", tmp_path / "all.npz", "--quiet") == ""
    assert arrays(tmp_path / "threes.npz")["images"].shape == (2, 1, 28, 28)
    assert "pretrained" in done("info", "mnist")


def test_wrong_requests_of_a_model(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    assert "known are 0, 1" in refused("sample", run, "--concept", "eleven", "--out", out)
    assert "number of samples must lie in 1" in refused("sample", run, "--count", 0, "--out", out)
    assert "number of samples must lie in 1" in refused("sample", run, "--count", 10**15, "--out", out)
    assert "it is a folder" in refused("decode", run, tmp_path / "bad.npz", "--out", tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"PK not a zip")
    assert "not a whole .npz" in refused("decode", run, tmp_path / "bad.npz", "--out", out)
    np.savez(tmp_path / "range.npz", z1=np.full((1, 7, 7), 99))
    assert "0 … 63" in refused("decode", run, tmp_path / "range.npz", "--out", out)
    np.savez(tmp_path / "float.npz", z1=np.zeros((1, 7, 7)))
    assert "whole numbers" in refused("decode", run, tmp_path / "float.npz", "--out", out)
    np.savez(tmp_path / "other.npz", z2=np.zeros((1, 7, 7), dtype=int))
    assert "no array `z1`, only z2" in refused("decode", run, tmp_path / "other.npz", "--out", out)
    np.save(tmp_path / "single.npy", np.zeros((1, 7, 7), dtype=int))
    assert "a single array" in refused("decode", run, tmp_path / "single.npy", "--out", out)
    keep = np.ones((7, 7), dtype=bool)
    for wrong in (np.array(["a"]), np.array([1.5]), np.ones((1, 3)), np.array(1), np.array([1j])):
        np.savez(tmp_path / "concept.npz", z1=np.zeros((1, 7, 7), dtype=int), keep=keep, concept=wrong)
        line = refused("complete", run, tmp_path / "concept.npz", "--out", out)
        assert "`concept` in" in line
        assert "probabilities of shape (n, 10)" in line
    np.savez(tmp_path / "keep.npz", z1=np.zeros((1, 7, 7), dtype=int), keep=np.array(["a"]), concept=[1])
    assert "true or false for each cell" in refused("complete", run, tmp_path / "keep.npz", "--out", out)
    assert not out.exists()


def test_every_command_takes_a_counted_model(counted: Path, tmp_path: Path) -> None:
    assert "7 × 7 grid of 128 states, fitted in closed form" in done("info", counted)
    codes, images = tmp_path / "codes.npz", tmp_path / "images.npz"
    done("encode", counted, "--out", codes)
    with np.load(codes) as read:
        count, z1, labels = len(read["labels"]), read["z1"], read["labels"]
        assert (read["concept"].argmax(axis=1) == labels).mean() > 0.95
        assert read["z2"].shape == (count, 1, 1)
        again = read["reconstruction"]
    assert z1.shape == (count, 7, 7)
    done("decode", counted, codes, "--out", images)
    with np.load(images) as read:
        np.testing.assert_allclose(read["images"], again, atol=1e-6)
    done("sample", counted, "--concept", "3", "--count", 5, "--seed", 2, "--out", images)
    with np.load(images) as read:
        assert read["images"].shape == (5, 1, 28, 28)
    keep = np.zeros((7, 7), dtype=bool)
    keep[:4] = True
    np.savez(codes, z1=z1[:6], keep=keep, concept=labels[:6])
    done("complete", counted, codes, "--out", images)
    with np.load(images) as read:
        assert (read["z1"][:, :4] == z1[:6, :4]).all()
        assert (read["z1"][:, 4:] != z1[:6, 4:]).any()


def test_no_file_of_another_kind_is_replaced_nor_one_that_is_read(tmp_path: Path) -> None:
    photo, codes, packed = tmp_path / "photo.png", tmp_path / "codes.npz", tmp_path / "small.safetensors"
    photo.write_bytes(b"\x89PNG mine")
    for command in (("sample", "mnist"), ("pack", "mnist"), ("judge",), ("encode", "mnist")):
        assert "photo.png holds something else than" in refused(*command, "--out", photo)
    assert photo.read_bytes() == b"\x89PNG mine"
    for _ in range(2):  # its own files are replaced
        done("sample", "mnist", "--concept", 3, "--count", 1, "--out", codes)
        done("pack", "mnist", "--out", packed)
    before = codes.read_bytes()
    assert "codes.npz is read by this command" in refused("decode", "mnist", codes, "--out", codes)
    assert "small.safetensors is read by this command" in refused("pack", packed, "--out", packed)
    assert codes.read_bytes() == before


def test_files_are_named_by_what_they_hold(tmp_path: Path) -> None:
    said = refused("sample", "mnist", "--count", 1, "--out", tmp_path / "a.jpg")
    assert f"a.jpg would hold arrays: name it {tmp_path / 'a.npz'}" in " ".join(said.split())
    assert "would hold a model: name it" in refused("pack", "mnist", "--out", tmp_path / "packed.txt")
    assert not list(tmp_path.iterdir())
