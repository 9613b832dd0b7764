from dataclasses import replace

import pytest
import torch

from rgm.data.images import ImageSet
from rgm.evaluation.judge import Judge, JudgeConfig
from rgm.model.config import preset
from rgm.model.recognition import ConvRecognition
from rgm.model.spatial import SpatialRGM


@pytest.fixture(scope="session")
def few(digits: ImageSet) -> ImageSet:
    assert digits.labels is not None
    return replace(digits, images=digits.images[:60], labels=digits.labels[:60])


@pytest.fixture(scope="session")
def judge() -> Judge:
    torch.manual_seed(1)
    return Judge(JudgeConfig(channels=1, classes=10, width=4)).eval()


@pytest.fixture(params=["seed", "quick"])
def model(request: pytest.FixtureRequest) -> SpatialRGM:
    """A model of 32 codes, which depend on more than their patch."""
    torch.manual_seed(0)
    config = preset(request.param, (1, 28, 28), 10)
    grid, concept = config.levels
    assert isinstance(grid.recognition, ConvRecognition)
    wide = replace(grid, states=32, recognition=replace(grid.recognition, patches=False))
    return SpatialRGM(config=replace(config, levels=(wide, concept))).eval()
