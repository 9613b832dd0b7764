"""The lossless coder: round trips, sizes, and files that are refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_deep import KINDS, deep, few, small

from rgm.counting.coder import compress, decompress
from rgm.counting.model import CountingRGM
from rgm.counting.stepwise import StepwiseRecipe
from rgm.errors import RGMError
from rgm.training.fit import fit

pytest.importorskip("constriction", reason="the extra compress")


@pytest.fixture(scope="module", params=KINDS)
def fitted(request: pytest.FixtureRequest) -> CountingRGM:
    images, labels = few()
    model = small(request.param)
    fit(model, images, labels, recipe=StepwiseRecipe(passes=2, batch_size=40, cluster_passes=2), device="cpu")
    return model


def test_files_are_as_long_as_the_improbability(fitted: CountingRGM) -> None:
    images = torch.cat([few(seed)[0] for seed in range(1, 26)])
    content = compress(fitted, images)
    assert torch.equal(decompress(fitted, content), images)
    bits = -float(fitted.log_prob(images.double() / 255).sum()) / math.log(2)
    assert bits < 8 * len(content) < 1.01 * bits


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2**31), st.sampled_from(sorted(KINDS)), st.sampled_from([2, 3, 256]))
def test_round_trips(count: int, seed: int, kind: str, values: int) -> None:
    """Any images, however improbable, of any model: cells of unequal size, several channels."""
    model = deep(kind, image=(2, 3, 2), values=values, seed=seed % 7)
    numbers = torch.randint(0, values, (count, 2, 3, 2), generator=torch.Generator().manual_seed(seed))
    images = (numbers.double() / (values - 1) * 255).round().to(torch.uint8)
    if values != 3:  # 127.5 is no byte
        assert torch.equal(decompress(model, compress(model, images)), images)


def test_damaged_and_foreign_files_are_refused(fitted: CountingRGM) -> None:
    content = compress(fitted, few(1)[0][:3])
    for broken in (content[:-1], content[:40], content[:60] + b"\x00" + content[61:]):
        with pytest.raises(RGMError, match="truncated or damaged"):
            decompress(fitted, broken)
    with pytest.raises(RGMError, match="rgm compress"):
        decompress(fitted, b"\x89PNG" + content)
    with pytest.raises(RGMError, match="another model"):
        decompress(deep("forest", image=(1, 6, 6), values=256), content)


def test_images_that_would_change_are_refused(fitted: CountingRGM) -> None:
    with pytest.raises(RGMError, match="8-bit images of shape"):
        compress(fitted, torch.zeros(2, 1, 5, 6, dtype=torch.uint8))
    with pytest.raises(RGMError, match="2 grey values"):
        compress(deep("blocks", values=2), torch.full((1, 1, 3, 2), 100, dtype=torch.uint8))
