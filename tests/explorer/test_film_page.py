"""The page of films in a real browser."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from film_models import flow_explorer, forked, memory_explorer
from playwright.sync_api import Page, expect

from rgm.explorer.base import Service

SIDE = 8


@pytest.fixture(scope="module")
def memory_address(served: Callable[[Service], str]) -> str:
    return served(memory_explorer())


@pytest.fixture(scope="module")
def flow_address(served: Callable[[Service], str]) -> str:
    return served(flow_explorer())


def opened(page: Page, address: str) -> Page:
    page.goto(address)
    expect(page.locator("body")).to_have_attribute("data-ready", "yes", timeout=60_000)
    expect(page.locator("#choices button").first).to_be_visible()
    return page


def colours(page: Page, selector: str) -> np.ndarray:
    """Return a canvas as (8, 8, 3)."""
    flat = page.evaluate(
        """([selector, side]) => { const { width, height } = document.querySelector(selector);
        const context = new OffscreenCanvas(width, height).getContext("2d");
        context.drawImage(document.querySelector(selector), 0, 0);
        const { data } = context.getImageData(0, 0, width, height), step = width / side;
        return Array.from({ length: side * side }, (_, i) => {
          const [row, column] = [Math.floor(i / side), i % side].map((place) => Math.floor((place + 0.5) * step));
          const at = 4 * (width * row + column);
          return [...data.slice(at, at + 3)];
        }); }""",
        [selector, SIDE],
    )
    return np.array(flat).reshape(SIDE, SIDE, 3)


def wait(page: Page, seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < end, "timeout"
        page.wait_for_timeout(20)


def block(lane: int, step: int) -> str:
    return f'[data-lane="{lane}"][data-step="{step}"]'


def states(page: Page, lane: int) -> list[str]:
    found: list[str] = page.locator(f'[data-lane="{lane}"] span').evaluate_all(
        "all => all.map((one) => one.textContent)"
    )
    return found


def test_a_film_is_played_and_its_events_are_jumped_to(page: Page, memory_address: str) -> None:
    opened(page, memory_address)
    film = forked().numpy()
    assert np.array_equal(colours(page, "#seen canvas")[..., 0], film[0])
    expect(page.locator(".lane")).to_have_count(3)
    events = states(page, 0)
    assert len(events) == 24
    assert events[0] == events[2] != events[1] != events[3]
    assert len(states(page, 2)) == 48
    page.locator(block(0, 3)).click()
    expect(page.locator("#shown")).to_have_text("frame 7")
    assert np.array_equal(colours(page, "#seen canvas")[..., 0], film[6])
    expect(page.locator("#t-follow")).to_contain_text(f"event {events[3]} (frames 7 to 8)")
    page.locator("#play").click()
    wait(page, lambda: page.locator("#shown").inner_text() not in ("frame 7", "frame 8"))
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("Play")


def test_the_arrow_keys_move_between_events_and_levels(page: Page, memory_address: str) -> None:
    opened(page, memory_address)
    page.locator(block(0, 0)).click()
    page.keyboard.press("ArrowRight")
    expect(page.locator(block(0, 1))).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator(block(2, 2))).to_be_focused()
    expect(page.locator("#selected")).to_contain_text("Level 1: 4 × 4 cells, 1 frame: number")
    page.keyboard.press("Shift+ArrowRight")
    page.locator("#hide-span").click()
    expect(page.locator("#status")).to_contain_text(
        f"{2 * SIDE * SIDE} pixels are hidden; 32 of them (25.0 %)"
    )  # B or C


def test_hidden_pixels_are_painted_and_filled_in(page: Page, memory_address: str) -> None:
    opened(page, memory_address)
    before = colours(page, "#restored")
    page.locator("#hide").click()
    page.locator("#every").check()
    box = page.locator("#seen canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.2, steps=6)
    page.mouse.up()
    expect(page.locator("#status")).to_contain_text("0 of them (0.0 %)")
    seen = colours(page, "#seen canvas")
    orange = (seen[..., 0] > 200) & (seen[..., 2] < 120)
    assert orange[:3, :6].all()
    assert not orange[3:].any()
    assert np.array_equal(colours(page, "#restored"), before)
    page.locator("#reveal-all").click()
    expect(page.locator("#status")).to_contain_text("Nothing is hidden")


def test_the_keyboard_hides_pixels(page: Page, memory_address: str) -> None:
    opened(page, memory_address)
    page.locator("#hide").click()
    page.locator("#brush").select_option("1")
    page.locator("#seen").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("1 pixels are hidden")
    seen = colours(page, "#seen canvas")
    assert np.argwhere(seen[..., 0] != seen[..., 2]).tolist() == [[3, 4]]


def test_another_event_is_chosen_and_taken_back(page: Page, memory_address: str) -> None:
    opened(page, memory_address)
    events = states(page, 0)
    page.locator(block(0, 0)).click()
    choices = page.locator("#choices button")
    expect(choices.first).to_contain_text("50.0 %")
    other = choices.filter(has_text=f"event {events[3]},")
    other.click()
    expect(page.locator("#title")).to_have_text(f"after frame 2, event {events[3]} was chosen")
    wait(page, lambda: states(page, 0)[:2] == [events[0], events[3]])
    page.locator("#back").click()
    wait(page, lambda: states(page, 0) == events)
    expect(page.locator("#back")).to_be_disabled()
    page.locator("#other").fill(events[1])
    page.locator("#choose").click()
    expect(page.locator("#title")).to_have_text(f"after frame 2, event {events[1]} was chosen")
    page.locator("#draw").click()
    expect(page.locator("#title")).to_contain_text("drawn by the model")


def test_a_flow_shows_its_paths(page: Page, flow_address: str) -> None:
    opened(page, flow_address)
    expect(page.locator("#kind")).to_contain_text("Paths, each a rule")
    expect(page.locator(".lane")).to_have_count(1)
    arrows = states(page, 0)
    assert len(arrows) == 11
    assert set(arrows) <= set("•→↘↓↙←↖↑↗")
    page.locator("#index").fill("2")
    page.locator("#index").press("Enter")
    film = flow_explorer().films[1].numpy()
    wait(page, lambda: np.array_equal(colours(page, "#restored")[..., 0], film[1]))
    page.locator("#choices button").first.click()
    expect(page.locator("#title")).to_contain_text("path")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_in_either_language(page: Page, memory_address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, memory_address)
    for heading in ("Events over time", "시간에 따른 사건"):
        expect(page.locator("#t-events")).to_have_text(heading)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        unnamed = "all => all.filter((one) => !one.ariaLabel && !one.textContent.trim() && !one.labels?.length).length"
        assert page.locator("button, input, select, [role=group]").evaluate_all(unnamed) == 0
        page.locator("#language").click()
    page.locator("#language").click()
    expect(page.locator("html")).to_have_attribute("lang", "ko")


@pytest.mark.parametrize("words", ["film-words.js"])
def test_both_languages_have_all_texts(page: Page, memory_address: str, words: str) -> None:
    opened(page, memory_address)
    english, korean = page.evaluate(
        """async (words) => { const { WORDS } = await import(`./${words}`);
        const kind = ([key, value]) => `${key}:${typeof value}`;
        return ["en", "ko"].map((one) => Object.entries(WORDS[one]).map(kind)); }""",
        words,
    )
    assert sorted(english) == sorted(korean)
