"""The small net of the benchmark that learns from samples alone."""

import importlib.util
from pathlib import Path

import pytest
import torch

from rgm.data.images import ImageSet, to_unit

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "small_net.py"


def stripes(generator: torch.Generator, count: int) -> ImageSet:
    """Return noise with a bright band, across or along by class."""
    images = torch.randint(100, (count, 1, 12, 12), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % 2
    images[labels == 0, :, 4:7] += 100
    images[labels == 1, :, :, 4:7] += 100
    return ImageSet(
        name="stripes", split="test", images=images, labels=labels, classes=("across", "along"), source="", sha256=""
    )


@torch.no_grad()
def test_a_net_learns_from_right_labels_and_not_from_shuffled_ones(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("small_net", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    small_net = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(small_net)
    monkeypatch.setattr(small_net, "NET_STEPS", 40)
    score = small_net.classification_accuracy_score
    train, test = stripes(generator, 200), stripes(generator, 400)
    assert train.labels is not None
    images = to_unit(train.images)
    state = torch.get_rng_state()
    right = score(images, train.labels, test, 0)
    assert torch.equal(state, torch.get_rng_state())
    assert right > 0.98
    assert right == score(images, train.labels, test, 0)
    shuffled = train.labels[torch.randperm(200, generator=generator)]
    assert score(images, shuffled, test, 0) < 0.8
