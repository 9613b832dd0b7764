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
    with pytest.raises(RGMError, match="no PNG or JPEG"):
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
