"""The page about an agent that plays, in a real browser."""

import re
from collections.abc import Callable

import pytest
from play_agents import play_service
from playwright.sync_api import Page, expect

from rgm.explorer.base import Service


@pytest.fixture(scope="module")
def address(served: Callable[[Service], str]) -> str:
    return served(play_service())


def opened(page: Page, address: str) -> Page:
    page.goto(address)
    expect(page.locator("body")).to_have_attribute("data-ready", "yes", timeout=60_000)
    return page


def steps(page: Page) -> int:
    found = re.match(r"step (\d+),", page.locator("#score").inner_text())
    assert found
    return int(found[1])


def test_the_agent_plays_step_by_step_and_by_itself(page: Page, address: str) -> None:
    opened(page, address)
    expect(page.locator("#knows")).to_contain_text("It learned catch from 4,000 frames")
    expect(page.locator("#expected-note")).to_have_text("An episode begins: nothing was expected.")
    plan = page.locator("#plan li")
    expect(plan.first).to_contain_text("now: event")
    expect(page.locator("#plan .goal")).to_have_count(1)
    ahead = plan.count()
    page.locator("#step").click()
    expect(page.locator("#score")).to_contain_text("step 1,")
    expect(page.locator("#expected-note")).to_have_text("It came as expected.")
    expect(page.locator("#status")).to_contain_text("The agent: ")
    expect(plan).to_have_count(ahead - 1)
    page.locator("#speed").fill("30")
    page.locator("#play").click()
    expect(page.locator("#score")).to_contain_text(re.compile(r"step [2-9]\d,"), timeout=20_000)
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_text("Start")
    expect(page.locator("#score")).to_contain_text(" 0 misses")
    page.locator("#again").click()
    expect(page.locator("#score")).to_contain_text("step 0,")


def test_the_arrow_keys_take_over(page: Page, address: str) -> None:
    opened(page, address)
    expect(page.locator("#actions .next")).to_have_count(1)
    for n, (key, action) in enumerate((("ArrowLeft", "left"), ("ArrowDown", "stay"), ("ArrowRight", "right")), start=1):
        page.keyboard.press(key)
        expect(page.locator("#score")).to_contain_text(f"step {n},")
        expect(page.locator("#status")).to_contain_text(f"You: {action}.")
    expect(page.locator("#you")).to_have_attribute("aria-pressed", "true")
    page.locator("#agent").click()
    page.locator("#step").click()
    expect(page.locator("#status")).to_contain_text("The agent:")
    page.locator("#actions button").nth(2).click()
    expect(page.locator("#status")).to_contain_text("You: right.")


def test_cells_are_hidden_from_the_agent(page: Page, address: str) -> None:
    opened(page, address)
    page.locator("#brush").select_option("5")
    page.locator("#game").focus()
    page.keyboard.press("Enter")
    page.locator("#step").click()
    expect(page.locator("#belief-note")).to_contain_text("never seen like this")
    assert steps(page) == 1
    page.locator("#reveal-all").click()
    page.locator("#step").click()
    expect(page.locator("#belief-note")).not_to_contain_text("never seen like this")


def test_a_game_in_two_windows_is_said(page: Page, address: str, console: list[str]) -> None:
    opened(page, address)
    other = page.context.new_page()
    opened(other, address)

    page.locator("#step").click()
    expect(page.locator("#status")).to_contain_text("begin a new one")
    page.locator("#again").click()
    expect(page.locator("#status")).to_contain_text("A new game")
    other.close()
    assert "422" in console.pop()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_in_either_language(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, address)
    page.locator("#step").click()
    for heading in ("Its plan", "계획"):
        expect(page.locator("#t-plan")).to_have_text(heading)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        unnamed = "all => all.filter((one) => !one.ariaLabel && !one.textContent.trim() && !one.labels?.length).length"
        assert page.locator("button, input, select, [role=group]").evaluate_all(unnamed) == 0
        assert "undefined" not in page.locator("main").inner_text()
        page.locator("#language").click()
    english, korean = page.evaluate(
        """async () => { const { WORDS } = await import("./play-words.js");
        const kind = ([key, value]) => `${key}:${typeof value}`;
        return ["en", "ko"].map((one) => Object.entries(WORDS[one]).map(kind)); }"""
    )
    assert sorted(english) == sorted(korean)
