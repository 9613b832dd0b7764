"""`rgm cache`."""

import json
from pathlib import Path

from command_line import done, inside, refused
from PIL import Image


def test_a_cache_is_made_and_trained_on(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    for number in range(40):
        place = pictures / ("a" if number % 2 else "b") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20), 6 * number).save(place)
    out = tmp_path / "cached"
    assert f"Cache: {out}" in done("cache", pictures, "--out", out, "--size", 8)
    assert "holds images of 1 × 8 × 8" in refused("train", "--data", out, "--size", 16, "--out", tmp_path / "run")
    done("train", "--data", out, "--epochs", 0.5, "--precision", "bfloat16", "--out", tmp_path / "run", "--quiet")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["engine"] == {"precision": "bfloat16", "compile": False, "deterministic": False, "processes": 1}
    assert "no folder of images" in refused("cache", tmp_path / "nothing", "--out", tmp_path / "other")
    assert "pixels must lie in 4 … 4096, but is 2" in refused(
        "cache", pictures, "--out", tmp_path / "other", "--size", 2
    )


def test_its_former_name_still_works(tmp_path: Path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "cached"
    pictures.mkdir()
    for number in range(40):
        Image.new("L", (8, 8), 6 * number).save(pictures / f"{number}.png")
    assert f"Cache: {out}" in done("store", pictures, "--out", out)


def test_pictures_in_colour_are_taken_as_grey_and_others_in_their_place_are_noticed(tmp_path: Path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "run"
    for number in range(40):
        place = pictures / ("a" if number % 2 else "b") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (28, 28), (6 * number, 9, 200)).save(place)
    done("train", "--data", pictures, "--channels", 1, "--preset", "quick", "--epochs", 0.1, "--out", out, "--quiet")
    assert json.loads((out / "config.json").read_text())["model"]["image"] == [1, 28, 28]
    unchanged = inside("encode", out, "--out", tmp_path / "codes.npz")
    assert "checksum" not in unchanged.errors
    for picture in pictures.rglob("*.png"):
        Image.new("RGB", (28, 28), (250, 9, 200)).save(picture)
    changed = inside("encode", out, "--out", tmp_path / "codes.npz")
    assert changed.code == 0
    assert f"the test images of {pictures} are not those of the model's training run" in changed.errors
    for picture in pictures.rglob("*.png"):
        Image.new("RGB", (40, 30), (250, 9, 200)).save(picture)
    resized = inside("encode", out, "--data", pictures, "--out", tmp_path / "codes.npz")
    assert f"the images in {pictures} are resized to 28 × 28 pixels, the size of the model's images" in resized.errors


def test_what_stands_for_images_is_told_apart(tmp_path: Path) -> None:
    train = ("train", "--out", tmp_path / "run", "--epochs", 0.1, "--preset", "quick", "--quiet", "--data")
    Image.new("L", (28, 28)).save(tmp_path / "film.gif")
    assert "film.gif is a file: images are of a folder" in refused(*train, tmp_path / "film.gif")
    assert "unknown data set or folder 'nowhere'" in refused(*train, "nowhere")
    for number in range(60):
        place = tmp_path / "pictures" / "only" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize((28, 28)).rotate(6 * number).save(place)
    assert "has a single class, 'only', but a concept is one of two or more" in refused(*train, tmp_path / "pictures")
    flat = inside(*train, tmp_path / "pictures" / "only")
    assert "has no classes: the concepts are 10 clusters" in flat.errors
    (tmp_path / "run" / "model.safetensors").unlink()
    half = inside("sample", tmp_path / "run", "--count", 1, "--out", tmp_path / "a.png")
    assert f"the training of {tmp_path / 'run'} is not finished" in half.errors
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "model.safetensors").touch()
    assert f"name a run in it, such as {tmp_path / 'runs' / 'one'}" in refused("info", tmp_path / "runs")
