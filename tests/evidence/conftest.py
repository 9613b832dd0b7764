"""A small model that has learned the embedded digits, for the tests of verdicts; and one that need not be trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rgm.checkpoint import FILE, Origin, load_checkpoint, save_model
from rgm.data.images import ImageSet
from rgm.data.load import load_data
from rgm.model.spatial import SpatialRGM
from rgm.training.loop import train
from rgm.training.recipe import Recipe, recipe


@pytest.fixture(scope="session")
def test_digits() -> ImageSet:
    return load_data("digits", "test")


@pytest.fixture(scope="session")
def learned(once: Callable[..., Path], digits: ImageSet) -> SpatialRGM:
    """Trained as is usual, but for a prior of half the batch, without Muon: enough for every claim to hold."""

    def make(folder: Path) -> None:
        torch.manual_seed(1)
        model = SpatialRGM.from_preset("standard")
        codes, prior, *_ = recipe("standard").stages
        short = (
            replace(codes, epochs=1),
            replace(prior, least_steps=300, batch_size=32, muon=0.0),
        )
        trained = train(model, digits, Recipe(stages=short), seed=1).model
        save_model(
            folder / FILE, trained, Origin(preset="standard", data="digits", classes=digits.classes, seed=1)
        )

    found = load_checkpoint(once("learned", make)).model
    assert isinstance(found, SpatialRGM)
    return found


@pytest.fixture(scope="session")
def shipped() -> SpatialRGM:
    """The packaged weights: for what holds of any model."""
    return SpatialRGM.from_pretrained("mnist")
