import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rgm.data.load import load_data
from rgm.errors import RGMError


def write(path: Path, value: int = 100, *, mode: str = "L", size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, tuple([value] * len(mode)) if len(mode) > 1 else value).save(path)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for number, name in enumerate(("cat", "dog")):
        for i in range(20):
            write(tmp_path / name / f"{i:02d}.png", 10 * i + number)
    return tmp_path


def test_one_subfolder_a_class(classes: Path) -> None:
    parts = [load_data(str(classes), split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [28, 4, 8]
    assert all(part.classes == ("cat", "dog") for part in parts)
    train = parts[0]
    assert train.labels is not None
    # The pixel value names the image: order is by class, then by name, and labels go with their images.
    values = train.images[:, 0, 0, 0]
    assert torch.equal(values % 10, train.labels)
    assert torch.equal(values, values[torch.argsort(train.labels * 1000 + values)])
    everything = torch.cat([part.images[:, 0, 0, 0] for part in parts])
    assert len(everything.unique()) == 40


def test_train_and_test_folders(tmp_path: Path) -> None:
    for split, count in (("train", 20), ("test", 3)):
        for name in ("a", "b"):
            for i in range(count):
                write(tmp_path / split / name / f"{i}.png", i)
    sizes = [len(load_data(str(tmp_path), split)) for split in ("train", "validation", "test")]
    assert sizes == [36, 4, 6]
    write(tmp_path / "validation" / "a" / "x.png")
    write(tmp_path / "validation" / "b" / "x.png")
    sizes = [len(load_data(str(tmp_path), split)) for split in ("train", "validation", "test")]
    assert sizes == [40, 2, 6]


def test_without_a_test_folder_the_training_images_are_divided(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(20):
            write(tmp_path / "train" / name / f"{i}.png", 10 * i)
    parts = [load_data(str(tmp_path), split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [28, 4, 8]
    values = [torch.stack([part.images[:, 0, 0, 0].long(), part.labels], dim=1) for part in parts]
    assert len(torch.cat(values).unique(dim=0)) == 40
    for name in ("a", "b"):
        write(tmp_path / "validation" / name / "x.png")
    sizes = [len(load_data(str(tmp_path), split)) for split in ("train", "validation", "test")]
    assert sizes == [32, 2, 8]


def test_train_may_be_a_class(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        for i in range(5):
            write(tmp_path / name / f"{i}.png")
    assert load_data(str(tmp_path)).classes == ("bus", "train")


def test_no_subfolders_is_unlabelled(tmp_path: Path) -> None:
    for i in range(20):
        write(tmp_path / f"{i}.jpg", i)
    data = load_data(str(tmp_path), "test")
    assert data.labels is None
    assert data.classes == ()
    assert len(data) == 4


def test_colour_size_and_channels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(5):
            write(tmp_path / name / f"{i}.png", 50 * i, mode="RGB", size=(10, 6))
    assert load_data(str(tmp_path)).shape == (3, 6, 10)
    assert load_data(str(tmp_path), size=8).shape == (3, 8, 8)
    assert load_data(str(tmp_path), channels=1).shape == (1, 6, 10)


def test_transparency_is_laid_on_black(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[..., :3] = 200
    pixels[:4, :, 3] = 255
    for name in ("a", "b"):
        for i in range(4):
            path = tmp_path / name / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
    image = load_data(str(tmp_path)).images[0]
    assert image[:, :4].unique().tolist() == [200]
    assert image[:, 4:].unique().tolist() == [0]


def test_an_unreadable_image_is_named(classes: Path) -> None:
    (classes / "cat" / "05.png").write_bytes(b"not an image")
    for name in ("a.png", "b.png"):
        write(classes / "train" / name.removesuffix(".png") / name)
    (classes / "train" / "a" / "05.png").write_bytes(b"not an image")
    with pytest.raises(RGMError, match=r"05\.png cannot be read"):
        load_data(str(classes / "train"))


def test_a_truncated_image_is_named(classes: Path) -> None:
    for path in (classes / "dog").iterdir():
        path.write_bytes(path.read_bytes()[:45])
    with pytest.raises(RGMError, match=r"dog.*cannot be read"):
        load_data(str(classes))


@pytest.mark.parametrize("limit", [300, 100], ids=["where Pillow warns", "where it refuses"])
def test_an_image_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    for i in range(3):
        write(tmp_path / "test" / f"{i}.png")
        write(tmp_path / "train" / f"{i}.png")
    write(tmp_path / "test" / "1.png", size=(20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(RGMError, match=r"1\.png claims to be larger"):
        load_data(str(tmp_path), "test", size=8)


def test_threads_leave_the_filters_of_warnings_alone(tmp_path: Path) -> None:
    for i in range(300):
        write(tmp_path / f"{i:03d}.png")
    before = list(warnings.filters)
    for _ in range(5):
        load_data(str(tmp_path))
        assert warnings.filters == before


def test_damaged_exif_does_not_hide_a_sound_image(tmp_path: Path) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0"  # claims five tags, has none
    for i in range(10):
        Image.new("L", (8, 8), 100).save(tmp_path / f"{i}.jpg", exif=exif)
    assert int(load_data(str(tmp_path)).images.float().mean()) == 100


def test_a_folder_that_cannot_be_listed(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(RGMError, match=r"cannot read the folder .*: Permission denied"):
        load_data(str(classes))


def test_the_folder_one_is_in_has_a_name(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(classes)
    assert load_data(".").name == classes.name


def test_images_that_differ_in_size_name_the_way_out(classes: Path) -> None:
    for path in (classes / "dog").iterdir():
        write(path, size=(9, 8))
    with pytest.raises(RGMError, match=r"8 × 9 pixels.*--size"):
        load_data(str(classes))
    assert load_data(str(classes), size=8).shape == (1, 8, 8)


def test_empty_or_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(RGMError, match="holds no images"):
        load_data(str(tmp_path))
    write(tmp_path / "a" / "0.png")
    (tmp_path / "b").mkdir()
    with pytest.raises(RGMError, match=r"class folder .*b holds no"):
        load_data(str(tmp_path))
    with pytest.raises(RGMError, match="no folder of images"):
        load_data(str(tmp_path / "c"))


def test_classes_must_agree_between_splits(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a" / "0.png")
    write(tmp_path / "train" / "b" / "0.png")
    write(tmp_path / "test" / "a" / "0.png")
    with pytest.raises(RGMError, match="differ in their classes: b"):
        load_data(str(tmp_path), "test")


def test_hidden_files_are_not_images(classes: Path) -> None:
    (classes / ".hidden").mkdir()
    (classes / "cat" / ".DS_Store.png").write_bytes(b"x")
    assert load_data(str(classes)).classes == ("cat", "dog")


def test_dark_ink_on_a_transparent_ground_shows(tmp_path: Path) -> None:
    ink = np.zeros((8, 8, 4), dtype=np.uint8)
    ink[:4, :, 3] = 255
    for i in range(8):
        path = tmp_path / "a" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(ink).save(path)
    image = load_data(str(tmp_path)).images[0]
    assert image[:, :4].unique().tolist() == [0]
    assert image[:, 4:].unique().tolist() == [255]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev"])
def test_the_validation_split_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    for split, count in (("train", 12), (name, 5)):
        for label in ("a", "b"):
            for i in range(count):
                write(tmp_path / split / label / f"{i}.png", i)
    assert len(load_data(str(tmp_path), "validation")) == 10
    assert load_data(str(tmp_path), "train").classes == ("a", "b")
    write(tmp_path / "validation" / "a" / "0.png")
    (tmp_path / "dev").mkdir(exist_ok=True)
    write(tmp_path / "dev" / "a" / "0.png")
    with pytest.raises(RGMError, match="are both the validation split"):
        load_data(str(tmp_path))


def test_every_format_is_read_and_what_is_not_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for label in ("a", "b"):
        for i, suffix in enumerate(("png", "jpg", "webp", "bmp", "tiff", "gif", "PNG", "jpeg")):
            write(tmp_path / label / f"{i}.{suffix}", 20 * i)
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / "deeper").mkdir()
    write(tmp_path / "loose.png")
    parts = [load_data(str(tmp_path), split) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 16
    assert "1 .txt file" in caplog.text
    assert "1 folder" in caplog.text
    assert "1 loose .png image" in caplog.text
    assert caplog.text.count("left out of") == 1


def test_a_class_in_another_format_is_not_said_to_be_empty(tmp_path: Path) -> None:
    write(tmp_path / "a" / "0.png")
    (tmp_path / "b").mkdir()
    for i in range(3):
        (tmp_path / "b" / f"{i}.heic").write_bytes(b"x")
    with pytest.raises(RGMError, match=r"holds no images, but 3 \.heic files: .*convert"):
        load_data(str(tmp_path))


def test_numbered_classes_keep_their_numbers_order(tmp_path: Path) -> None:
    for label in range(12):
        for i in range(10):
            write(tmp_path / str(label) / f"{i}.png", label)
    data = load_data(str(tmp_path))
    assert data.classes == tuple(map(str, range(12)))
    assert data.labels is not None
    assert torch.equal(data.images[:, 0, 0, 0].long(), data.labels)


def test_what_rgm_wrote_is_no_class(classes: Path) -> None:
    (classes / "runs" / "latest" / "figures").mkdir(parents=True)
    (classes / "runs" / "latest" / ".rgm").write_text("a run")
    write(classes / "copy" / "figures" / "0.png")
    (classes / "copy" / "model.safetensors").write_bytes(b"x")
    assert load_data(str(classes)).classes == ("cat", "dog")


def test_a_pipe_is_no_image(classes: Path) -> None:
    os.mkfifo(classes / "cat" / "pipe.png")
    assert len(load_data(str(classes))) == 28


def test_grey_or_colour_is_decided_for_the_whole_folder(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for i in range(20):
            write(tmp_path / label / f"{i:02}.png", i)
    write(tmp_path / "a" / "00.png", 9, mode="RGB")
    assert {load_data(str(tmp_path), split).shape for split in ("train", "validation", "test")} == {(3, 8, 8)}


def test_small_classes_are_divided_as_a_whole(tmp_path: Path) -> None:
    for label in range(100):
        for i in range(4):
            write(tmp_path / f"c{label:03}" / f"{i}.png", label)
    parts = [load_data(str(tmp_path), split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [280, 40, 80]
    assert parts[0].labels is not None
    assert len(parts[0].labels.unique()) == 100


def test_images_of_one_flat_colour_are_said_to_be_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(10):
        write(tmp_path / f"{i}.png", 0)
    load_data(str(tmp_path))
    assert "of one flat colour" in caplog.text


def test_the_ground_under_transparent_images_is_one_for_the_whole_folder(tmp_path: Path) -> None:
    for i in range(20):
        ink = np.zeros((8, 8, 4), dtype=np.uint8)
        ink[:4] = (200, 200, 200, 255) if i == 5 else (10, 10, 10, 255)
        Image.fromarray(ink).save(tmp_path / f"{i:02}.png")
    for split in ("train", "validation", "test"):
        assert load_data(str(tmp_path), split).images[:, :, 4:].unique().tolist() == [255]


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev"])
def test_a_validation_folder_is_never_a_class(tmp_path: Path, name: str) -> None:
    """Neither beside images nor beside class folders."""
    for i in range(20):
        write(tmp_path / "flat" / f"{i}.png", i)
        write(tmp_path / "classes" / "ab"[i % 2] / f"{i}.png", i)
    write(tmp_path / "flat" / name / "0.png")
    for label in ("a", "b"):
        write(tmp_path / "classes" / name / label / "0.png")
    for kind, classes, sizes in (("flat", (), [16, 1, 4]), ("classes", ("a", "b"), [16, 2, 4])):
        parts = [load_data(tmp_path / kind, split) for split in ("train", "validation", "test")]
        assert [len(part) for part in parts] == sizes
        assert all(part.classes == classes for part in parts)


def test_splits_in_capitals_and_what_lies_beside_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("Training", "Test"):
        for label in ("a", "b"):
            for i in range(5):
                write(tmp_path / split / label / f"{i}.png")
    (tmp_path / "labels.csv").touch()
    assert [len(load_data(tmp_path, split)) for split in ("train", "test")] == [9, 10]
    assert "1 .csv file" in caplog.text


def test_a_test_folder_among_classes(tmp_path: Path) -> None:
    """Of images it is a class, of folders a split."""
    for label in ("bus", "test"):
        for i in range(5):
            write(tmp_path / label / f"{i}.png")
    assert load_data(tmp_path).classes == ("bus", "test")
    for label in ("bus", "car"):
        write(tmp_path / "other" / label / "0.png")
        write(tmp_path / "other" / "test" / label / "0.png")
    assert load_data(tmp_path / "other", "test").classes == ("bus", "car")


def test_floats_and_sixteen_bits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(10):
        tmp_path.joinpath("ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "ab"[i % 2] / f"{i}.tif")
    assert load_data(tmp_path).images.unique().tolist() == [128]
    Image.fromarray(np.full((8, 8), 70000, np.int32)).save(tmp_path / "a" / "0.tif")
    with pytest.raises(RGMError, match=r"a/0\.tif has values of 70000 … 70000: grey values lie in 0 … 65535"):
        load_data(tmp_path)
    for i in range(10):
        Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 64).save(tmp_path / "ab"[i % 2] / f"{i}.tif")
    caplog.clear()
    assert load_data(tmp_path).images.max() == 15
    assert "is above 15 of 255" in caplog.text


def test_class_folders_a_level_deeper(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a" / "0.png")
    with pytest.raises(RGMError, match="holds no images, but 1 folder: name the folder whose folders are the classes"):
        load_data(tmp_path)
