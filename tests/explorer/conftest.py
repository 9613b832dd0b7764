"""A real browser on the page, with each of its two engines: over HTTP, and ONNX in the browser.

Every call of the two engines is compared; the page itself is tested with the first, and in a few sessions with the
second.
"""

import functools
import http.server
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from rgm.data.images import ImageSet
from rgm.errors import RGMError
from rgm.explorer.base import Service
from rgm.explorer.server import HOST, application, free_port
from rgm.explorer.service import Explorer
from rgm.explorer.static import find_runtime, write_page
from rgm.model.spatial import SpatialRGM


def without(what: str) -> None:
    """Fail in CI, skip elsewhere."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI needs {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        without("Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def measured() -> dict[str, dict[str, float]]:
    return {"locality": {"receptive_field_share": 1.0, "patch_plus_2_share": 0.987}}


@pytest.fixture(scope="module")
def explorer(shipped: SpatialRGM, digits: ImageSet) -> Explorer:
    """The packaged weights, with a few similar images."""
    some = replace(digits, images=digits.images[:20], labels=None)
    return Explorer(shipped, tuple("0123456789"), "a model", some, measured())


@pytest.fixture(scope="module")
def deep() -> Explorer:
    """An untrained model of three levels, without test images."""
    torch.manual_seed(0)
    return Explorer(SpatialRGM.from_preset("three-level").eval(), tuple("0123456789"), "deep")


class Served:
    """The page with its server at an address, until stopped."""

    def __init__(self, service: Service) -> None:
        port = free_port(0)
        self.address = f"http://{HOST}:{port}/"
        self.server = uvicorn.Server(uvicorn.Config(application(service), host=HOST, port=port, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class Exported:
    """The exported page on a plain file server at an address, until stopped."""

    def __init__(self, folder: Path) -> None:
        handler = functools.partial(_Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer((HOST, 0), handler)
        self.address = f"http://{HOST}:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def write(explorer: Explorer, folder: Path, graphs: Path) -> None:
    """Export the page with a model's graphs that are there already."""
    try:
        find_runtime(None)
    except RGMError:
        without("the npm package onnxruntime-web")

    def copied(_: SpatialRGM, to: Path) -> list[Path]:
        return [Path(shutil.copy(path, to)) for path in graphs.glob("*.onnx")]

    with patch("rgm.explorer.static.export", copied):
        write_page(explorer, folder)


@pytest.fixture(scope="module")
def served() -> Iterator[Callable[[Service], str]]:
    """Return what serves a page until the module's tests are done, and returns its address."""
    running: list[Served] = []

    def start(service: Service) -> str:
        running.append(Served(service))
        return running[-1].address

    yield start
    for one in running:
        one.stop()


@pytest.fixture(scope="module")
def http_address(explorer: Explorer) -> Iterator[str]:
    running = Served(explorer)
    yield running.address
    running.stop()


@pytest.fixture(scope="module")
def onnx_address(
    explorer: Explorer, once: Callable[..., Path], exported: Callable[[str], tuple[SpatialRGM, Path]]
) -> Iterator[str]:
    graphs = exported("pretrained")[1]
    running = Exported(once("page", lambda folder: write(explorer, folder, graphs)))
    yield running.address
    running.stop()


ENGINES = ["http_address", pytest.param("onnx_address", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=ENGINES)
def either_address(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module", params=ENGINES)
def deep_address(
    request: pytest.FixtureRequest,
    deep: Explorer,
    once: Callable[..., Path],
    exported: Callable[[str], tuple[SpatialRGM, Path]],
) -> Iterator[str]:
    running: Served | Exported
    if request.param == "http_address":
        running = Served(deep)
    else:
        graphs = exported("three-level")[1]
        running = Exported(once("deep", lambda folder: write(deep, folder, graphs)))
    yield running.address
    running.stop()


@pytest.fixture
def console() -> list[str]:
    """Console messages of the page; the list must be empty at the end of a test."""
    return []


@pytest.fixture
def page(browser: Browser, console: list[str]) -> Iterator[Page]:
    """A page in English."""
    context = browser.new_context(viewport={"width": 1300, "height": 900}, locale="en-GB", accept_downloads=True)
    page = context.new_page()
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    yield page
    context.close()
    assert console == []
