"""`rgm compress` and `rgm decompress`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import arrays, done, refused

from rgm.counting.config import CountingConfig, PixelValues
from rgm.counting.model import CountingRGM
from rgm.loading import save_model
from rgm.model.stored import Level
from rgm.storage.checkpoint import Origin

pytest.importorskip("constriction", reason="the extra compress")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model that has learned nothing, and images."""
    place = tmp_path_factory.mktemp("compress")
    for seed, name in enumerate(("model", "other")):
        torch.manual_seed(seed)
        levels = (Level(grid=(4, 5), states=3), *(Level(grid=(1, 1), states=2) for _ in range(2)))
        config = CountingConfig(image=(1, 4, 5), symbols=PixelValues(), levels=levels, structure="chow-liu")
        origin = Origin(preset="exact", data="digits", classes=("a", "b"), seed=seed)
        save_model(place / f"{name}.safetensors", CountingRGM(config), origin)
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 4, 5), dtype=np.uint8)
    np.savez(place / "images.npz", images=images)
    np.savez(place / "grey.npz", images=images / 255)
    return place


def test_images_come_back_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    model, file, out = folder / "model.safetensors", tmp_path / "some.rgmz", tmp_path / "out.npz"
    said = done("compress", model, "--images", folder / "images.npz", "--out", file)
    assert said.startswith("7 images, ")
    done("decompress", model, file, "--out", out)
    found = arrays(out)["images"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, arrays(folder / "images.npz")["images"])


def test_what_cannot_be_is_refused_and_nothing_written(folder: Path, tmp_path: Path) -> None:
    model, file, out = folder / "model.safetensors", tmp_path / "some.rgmz", tmp_path / "out.npz"
    done("compress", model, "--images", folder / "images.npz", "--out", file)
    assert "another model" in refused("decompress", folder / "other.safetensors", file, "--out", out)
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    assert "truncated or damaged" in refused("decompress", model, file, "--out", out)
    assert "rgm compress" in refused("decompress", model, tmp_path / "none", "--out", out)
    assert "must be 8-bit" in refused("compress", model, "--images", folder / "grey.npz", "--out", out)
    assert "give one of them" in refused(
        "compress", model, "--images", folder / "images.npz", "--data", "digits", "--out", out
    )
    assert "neural networks" in refused("compress", "mnist", "--images", folder / "images.npz", "--out", out)
    assert not out.exists()
