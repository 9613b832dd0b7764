"""Hidden pixels of a model that answers for single pixels: requests, and the page in a real browser."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, expect
from pydantic import ValidationError

from rgm.counting.config import exact
from rgm.counting.model import CountingRGM
from rgm.errors import RGMError
from rgm.explorer.base import Service
from rgm.explorer.hidden import DRAWS, SURPRISED, HideRequest, PixelExplorer

SIDE, CLASSES = 8, ("one", "two", "three")


@pytest.fixture(scope="module")
def model() -> CountingRGM:
    torch.manual_seed(0)
    return CountingRGM(exact((1, SIDE, SIDE), len(CLASSES), images=100)).eval()


@pytest.fixture(scope="module")
def explorer(model: CountingRGM) -> PixelExplorer:
    return PixelExplorer(model, CLASSES, "exact")


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randint(256, (1, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(1)) / 255


def coded(content: np.ndarray) -> str:
    return base64.b64encode(content.tobytes()).decode()


def asked(image: torch.Tensor, hidden: torch.Tensor | None = None, **more: Any) -> HideRequest:
    bits = "" if hidden is None else coded(np.packbits(hidden.numpy()))
    return HideRequest(pixels=coded((image * 255).round().byte().numpy()), hidden=bits, **more)


def pixels(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8).view(SIDE, SIDE).float() / 255


def test_answers_are_those_of_the_model(explorer: PixelExplorer, model: CountingRGM, image: torch.Tensor) -> None:
    hidden = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    hidden[SIDE // 2 :] = True
    found, visible = explorer.hide(asked(image, hidden)), ~hidden[None]
    assert found["bits"] == pytest.approx(-float(model.log_prob(image, visible)) / np.log(2), rel=1e-5)
    assert sum(found["concept"]) == pytest.approx(1, abs=1e-5)
    assert len(found["draws"]) == DRAWS
    for name in ("mean", "best"):
        torch.testing.assert_close(pixels(found[name])[~hidden], image[0, 0][~hidden])
    for text in found["draws"]:
        torch.testing.assert_close(pixels(text)[~hidden], image[0, 0][~hidden])
    assert len(set(found["draws"])) > 1
    mean = model.posterior_mean(image, visible)[0, 0]
    torch.testing.assert_close(pixels(found["mean"]), mean, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(
        pixels(found["best"]), model.most_probable(image, visible).images[0, 0], atol=1e-6, rtol=0
    )
    assert found == explorer.hide(asked(image, hidden))
    assert found["draws"] != explorer.hide(asked(image, hidden, seed=1))["draws"]


def test_the_class_is_that_of_the_visible_pixels(
    explorer: PixelExplorer, model: CountingRGM, image: torch.Tensor
) -> None:
    everything = torch.ones(SIDE, SIDE, dtype=torch.bool)
    assert explorer.hide(asked(image, everything))["concept"] == pytest.approx([1 / 3] * 3, abs=1e-5)
    all_seen = explorer.hide(asked(image))["concept"]
    assert all_seen == pytest.approx(model.log_evidence(image)[0].softmax(dim=0).tolist(), abs=1e-5)


def test_surprise_is_that_of_visible_pixels_given_the_others(
    explorer: PixelExplorer, model: CountingRGM, image: torch.Tensor
) -> None:
    hidden = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    hidden[0, :4] = True
    found = pixels(explorer.hide(asked(image, hidden))["surprise"])
    assert not found[hidden].any()
    without = ~hidden[None]
    without[0, 5, 5] = False
    bits = (model.log_prob(image, without) - model.log_prob(image, ~hidden[None])) / np.log(2)
    assert float(found[5, 5]) == pytest.approx(min(1.0, float(bits) / SURPRISED), abs=0.5 / 255 + 1e-4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden": "AAAA"}, "a bit for each of 64 pixels"),
        ({"pixels": "AAAA"}, "an image has 8 × 8 pixels"),
        ({"hidden": "?"}, "base64"),
    ],
)
def test_other_requests_are_refused(
    explorer: PixelExplorer, image: torch.Tensor, change: dict[str, str], named: str
) -> None:
    with pytest.raises(RGMError, match=named):
        explorer.hide(asked(image).model_copy(update=change))
    with pytest.raises(ValidationError):
        HideRequest.model_validate({"pixels": "", "seed": -1})


def test_the_page_hides_pixels(browser: Browser, served: Callable[[Service], str], explorer: PixelExplorer) -> None:
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(served(explorer))
    expect(page.locator("#draws canvas")).to_have_count(DRAWS, timeout=60_000)
    expect(page.locator("#visible-bits")).to_contain_text("a pixel")
    before = page.locator("#visible-bits").text_content()
    page.locator("#hide-half").click()
    expect(page.locator("#visible-bits")).not_to_have_text(before or "")
    page.locator("#reveal-all").click()
    expect(page.locator("#visible-bits")).to_have_text(before or "")
    page.locator("#seen").click()  # the brush hides nine pixels
    expect(page.locator("#visible-bits")).not_to_have_text(before or "")
    expect(page.locator("#visible-concept")).to_contain_text("%")
    page.locator("#reveal").click()
    page.locator("#seen").press("Enter")
    expect(page.locator("#visible-bits")).to_have_text(before or "")
    assert not errors
    page.close()
