"""A small model that has learned the embedded digits, and their judge, for the tests of verdicts."""

from dataclasses import replace

import pytest
import torch

from rgm.data.images import ImageSet
from rgm.data.load import load_data
from rgm.judge import Judge, train_judge
from rgm.model.spatial import SpatialRGM
from rgm.training.loop import train
from rgm.training.recipe import Recipe, recipe


@pytest.fixture(scope="session")
def test_digits() -> ImageSet:
    return load_data("digits", "test")


@pytest.fixture(scope="session")
def digits_judge(digits: ImageSet) -> Judge:
    return train_judge(digits, seed=0)


@pytest.fixture(scope="session")
def learned(digits: ImageSet) -> SpatialRGM:
    torch.manual_seed(1)
    model = SpatialRGM.from_preset("standard")
    codes, prior = recipe("standard").stages
    stages = (replace(codes, least_steps=600), replace(prior, least_steps=400))
    return train(model, digits, Recipe(stages=stages), seed=1).model
