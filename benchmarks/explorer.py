"""How fast the explorer answers, in a real browser: a click on the palette, and a drawing that is followed.

    python benchmarks/explorer.py
    python benchmarks/explorer.py picture docs/images/explorer.png

Times run from the click to the first animation frame after the picture has changed, everything on one machine.
`picture` writes the page as documents show it: a test image, one cell changed, samples and a morph.
"""

import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from playwright.sync_api import Page, sync_playwright

app = App(help=__doc__)

CLICKS = """async (count) => {
  const frame = () => new Promise(requestAnimationFrame), times = [];
  for (let n = 0; n < count; n++) {
    const tiles = [...document.querySelectorAll("#palette [aria-selected=false]")], before = location.hash;
    const start = performance.now();
    tiles[n % tiles.length].click();
    while (location.hash === before) await new Promise((go) => setTimeout(go));
    await frame();
    times.push(performance.now() - start);
    await new Promise((go) => setTimeout(go, 300));  // the palette, asked for anew
  }
  return times;
}"""
WATCH = """() => {
  window.followed = [];
  const replace = history.replaceState.bind(history);
  history.replaceState = (...all) => { window.followed.push(performance.now()); replace(...all); };
}"""


def clicks(page: Page, count: int) -> list[float]:
    """Return milliseconds from a click on the palette to the changed picture."""
    page.locator("#cells button").nth(24).click()
    page.locator("#palette button").first.wait_for()
    times: list[float] = page.evaluate(CLICKS, count)
    return times


def followed(page: Page, seconds: float) -> float:
    """Return how many pictures a second follow a drawing."""
    box = page.locator("#drawing").bounding_box()
    assert box is not None
    page.locator("#clear").click()
    page.evaluate(WATCH)
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    for step in range(int(60 * seconds)):
        page.mouse.move(box["x"] + 100 + 60 * (step % 3) / 2, box["y"] + 60 + 160 * (step % 60) / 60)
        page.wait_for_timeout(1000 / 60)
    page.mouse.up()
    times: list[float] = page.evaluate("window.followed")
    return (len(times) - 1) / (times[-1] - times[0]) * 1000


@contextmanager
def opened(model: str) -> Iterator[Page]:
    """Open the explorer's page of a model in Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("Chromium is needed")
    command = [sys.executable, "-m", "rgm", "explore", model, "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program, sync_playwright() as playwright:
        assert program.stdout is not None
        address = program.stdout.readline().split()[0]
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1300, "height": 900})
        for _ in range(50):
            try:
                page.goto(address)
                break
            except Exception:
                page.wait_for_timeout(200)
        page.locator("body[data-ready=yes]").wait_for()
        page.locator("#samples button").first.wait_for()
        yield page
        program.terminate()


@app.default
def main(model: Annotated[str, Parameter(help="The model to open.")] = "mnist", *, count: int = 60) -> None:
    """Measure, and print what was seen."""
    with opened(model) as page:
        times = clicks(page, count)
        frames = followed(page, 4)
    cuts = statistics.quantiles(times, n=20)
    print(f"palette click to changed picture: median {statistics.median(times):.0f} ms, 95 % within {cuts[-1]:.0f} ms")
    print(f"pictures a second that follow a drawing: {frames:.0f}")


@app.command
def picture(out: Path, *, model: str = "mnist", cell: int = 17) -> None:
    """Write the page with the ninth of the codes of a cell, numbered row by row, and a morph."""
    with opened(model) as page:
        page.locator("#cells button").nth(cell).click()
        page.locator("#palette button").nth(8).click()
        page.locator("#morph").click()
        page.locator("#frames button").nth(10).wait_for()
        page.wait_for_timeout(1500)  # the palette, asked for anew
        page.screenshot(path=str(out), full_page=True)


if __name__ == "__main__":
    app()
