"""What a person does on the page, in a real browser, with the page's server and without."""

import io
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page, Route, expect

from rgm.explorer.service import Explorer

SIDE = 28


@dataclass
class Hand:
    """What a person does and sees."""

    page: Page

    def open(self, address: str) -> "Hand":
        self.page.goto(address)
        return self.settled()

    def settled(self) -> "Hand":
        expect(self.page.locator("body")).to_have_attribute("data-ready", "yes", timeout=60_000)
        expect(self.page.locator("#samples button")).to_have_count(20, timeout=60_000)
        return self

    def cell(self, row: int, column: int) -> Any:
        return self.page.locator("#cells [role=row]").nth(row).locator("button").nth(column)

    def codes(self) -> np.ndarray:
        rows = self.page.locator("#cells [role=row]").count()
        flat = [int(text) for text in self.page.locator("#map span").all_inner_texts()]
        return np.array(flat).reshape(rows, -1)

    def pixels(self, selector: str = "#painted") -> np.ndarray:
        """Return a canvas as an image of the model's size."""
        flat = self.page.evaluate(
            """(selector) => { const canvas = document.querySelector(selector), { width, height } = canvas;
            const context = new OffscreenCanvas(width, height).getContext("2d");
            context.drawImage(canvas, 0, 0);
            return [...context.getImageData(0, 0, width, height).data]; }""",
            selector,
        )
        side = round((len(flat) / 4) ** 0.5)
        step = side // SIDE
        return np.array(flat).reshape(side, side, 4)[step // 2 :: step, step // 2 :: step, 0]

    def wait(self, seen: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not seen():
            assert time.monotonic() < end, "what was waited for did not come"
            self.page.wait_for_timeout(20)

    def changing(self, act: Callable[[], None]) -> None:
        """Do something and wait until the codes are others."""
        before = self.page.url
        act()
        self.wait(lambda: self.page.url != before)

    def choose_code(self, place: int) -> None:
        """Choose the palette's code at some place among those that the cell does not have."""
        others = self.page.locator("#palette [aria-selected=false]")
        expect(others.nth(place)).to_be_visible()
        self.changing(others.nth(place).click)

    def stroke(self, *points: tuple[float, float]) -> None:
        """Draw a line through points given as shares of the drawing's width and height."""
        box = self.page.locator("#drawing").bounding_box()
        assert box is not None
        mouse = self.page.mouse
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        mouse.move(*places[0])
        mouse.down()
        for place in places[1:]:
            mouse.move(*place, steps=8)
        mouse.up()

    def concept(self) -> int:
        shares = [float(text.split()[0]) for text in self.page.locator("#bars output").all_inner_texts()]
        return int(np.argmax(shares))


@pytest.fixture
def hand(page: Page, address: str) -> Hand:
    return Hand(page).open(address)


def test_what_is_drawn_is_read_while_it_is_drawn(hand: Hand) -> None:
    hand.page.locator("#clear").click()
    hand.changing(lambda: hand.stroke((0.5, 0.15), (0.5, 0.85)))
    hand.wait(lambda: hand.concept() == 1)
    hand.page.locator("#clear").click()
    hand.stroke((0.3, 0.2), (0.7, 0.2), (0.45, 0.85))
    hand.wait(lambda: hand.concept() == 7)
    seen = hand.pixels("#seen canvas")
    assert seen.max() > 200
    rows = np.flatnonzero(seen.max(1) > 100)
    assert 19 <= rows[-1] - rows[0] + 1 <= 20


def test_a_chosen_code_changes_its_place_alone(hand: Hand, explorer: Explorer) -> None:
    before = hand.pixels()
    hand.cell(3, 3).click()
    outline = hand.page.locator(".field").first
    expect(outline).to_be_visible()
    box, whole = outline.bounding_box(), hand.page.locator("#painted").bounding_box()
    assert box is not None
    assert whole is not None
    field = explorer.model.decoder_field(3, 3)
    assert (box["y"] - whole["y"]) / whole["height"] * SIDE == pytest.approx(field.top, abs=0.3)
    assert box["width"] / whole["width"] * SIDE == pytest.approx(field.right - field.left, abs=0.3)
    hand.choose_code(3)
    changed = np.abs(hand.pixels().astype(int) - before) > 0
    assert changed.any()
    changed[field.slices] = False
    assert not changed.any()
    expect(hand.page.locator("#report")).to_have_text(re.compile(r"\d+\.\d % of the change lies in the cell"))
    assert (hand.pixels("#difference") < 255).any()


def test_the_palette_is_in_the_order_of_the_prior(hand: Hand, explorer: Explorer) -> None:
    hand.cell(2, 3).click()
    expect(hand.page.locator("#palette button")).to_have_count(32)
    shown = [
        int(tile.get_attribute("data-code") or -1) for tile in hand.page.locator("#palette button").all()
    ]
    z1 = torch.from_numpy(hand.codes())[None]
    chosen = int(
        hand.page.locator("#bars button").evaluate_all("all => all.findIndex(b => b.ariaPressed === 'true')")
    )
    log_probs = explorer.model.cell_log_probs(z1, chosen, 2, 3)[0]
    assert shown[:5] == log_probs.argsort(descending=True)[:5].tolist()


def test_another_concept_is_instantiated(hand: Hand) -> None:
    before = hand.codes()
    hand.changing(hand.page.locator("#bars button").nth(8).click)
    expect(hand.page.locator("#bars button").nth(8)).to_have_attribute("aria-pressed", "true")
    assert (hand.codes() != before).sum() > 5
    hand.wait(lambda: hand.concept() == 8)


def test_a_selection_is_drawn_anew_and_the_rest_stays(hand: Hand) -> None:
    before = hand.codes()
    hand.cell(3, 3).click()
    hand.cell(3, 4).click(modifiers=["Shift"])
    hand.page.locator("#several").click()
    hand.cell(4, 3).click()
    hand.cell(4, 4).click()
    chosen = {(3, 3), (3, 4), (4, 3), (4, 4)}
    for _ in range(12):  # what is drawn may be what was there
        hand.page.locator("#complete").click()
        hand.page.wait_for_timeout(200)
        different = {(int(row), int(column)) for row, column in np.argwhere(hand.codes() != before)}
        assert different <= chosen
        if different:
            break
    assert different


def test_undo_and_redo(hand: Hand) -> None:
    first, picture = hand.page.url, hand.pixels()
    hand.cell(2, 2).click()
    hand.choose_code(1)
    second = hand.page.url
    hand.changing(hand.page.locator("#undo").click)
    assert hand.page.url == first
    assert np.array_equal(hand.pixels(), picture)
    hand.changing(lambda: hand.page.keyboard.press("Control+Shift+z"))
    assert hand.page.url == second
    hand.changing(lambda: hand.page.keyboard.press("Control+z"))
    assert hand.page.url == first
    expect(hand.page.locator("#undo")).to_be_disabled()


def test_a_link_brings_everything_back(hand: Hand) -> None:
    hand.cell(1, 3).click()
    hand.choose_code(2)
    hand.page.locator("#sample-concept").select_option("5")
    hand.page.locator("#temperature").fill("0.5")
    hand.page.locator("#temperature").dispatch_event("change")
    hand.wait(lambda: re.search(r"samples=5\.\d+\.5$", hand.page.url) is not None)
    hand.page.wait_for_timeout(1500)
    link, codes, painted = hand.page.url, hand.codes(), hand.pixels()
    sheet = hand.pixels("#samples canvas")
    hand.page.reload()
    hand.settled()
    assert hand.page.url == link
    assert np.array_equal(hand.codes(), codes)
    assert np.array_equal(hand.pixels(), painted)
    assert np.array_equal(hand.pixels("#samples canvas"), sheet)
    assert hand.page.locator("#temperature").input_value() == "0.5"


@pytest.mark.parametrize(
    "link",
    [
        "model=another&concept=1&z1=1.2.3",
        "model=a+model&concept=99&z1=" + ".".join("0" * 49),
        "z1=x",
        "z1=" + "9." * 60,
    ],
)
def test_a_link_of_another_model_is_said_and_left(page: Page, address: str, link: str) -> None:
    Hand(page).open(f"{address}#{link}")
    expect(page.locator("#report")).to_have_text(
        "The link does not fit this model, so the page starts afresh."
    )


@pytest.mark.parametrize("width", [360, 1300, 2560])
def test_no_width_is_too_narrow_and_every_word_is_there(hand: Hand, width: int) -> None:
    hand.page.set_viewport_size({"width": width, "height": 800})
    hand.cell(3, 3).click()
    hand.choose_code(0)
    hand.page.locator("#morph").click()
    expect(hand.page.locator("#frames button")).to_have_count(11, timeout=20_000)
    for _ in range(2):  # both languages
        assert hand.page.evaluate("document.documentElement.scrollWidth") <= width
        nameless = hand.page.locator("button, select, input, section > canvas, [role]").evaluate_all(
            """(all) => all.filter((part) => !part.ariaLabel && !part.innerText && !part.labels?.length)
            .map((part) => part.outerHTML)"""
        )
        assert [part for part in nameless if 'role="row"' not in part] == []
        assert "undefined" not in hand.page.inner_text("body")
        assert "98.7" in hand.page.inner_text("[data-claim=locality]")
        hand.page.locator("#language").click()


def test_the_keyboard_is_enough(hand: Hand) -> None:
    hand.cell(0, 0).focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        hand.page.keyboard.press(key)
    expect(hand.cell(0, 2)).to_be_focused()
    hand.page.keyboard.press("Enter")
    expect(hand.cell(0, 2)).to_have_attribute("aria-selected", "true")
    hand.page.keyboard.press("ArrowDown")
    hand.page.keyboard.press("Shift+Enter")
    expect(hand.cell(0, 2)).to_have_attribute("aria-selected", "true")
    expect(hand.cell(1, 2)).to_have_attribute("aria-selected", "true")
    hand.page.keyboard.press("Escape")
    expect(hand.page.locator("#cells [aria-selected=true]")).to_have_count(0)
    hand.page.keyboard.press("Enter")
    tile = hand.page.locator("#palette [aria-selected=false]").first
    tile.focus()
    code = tile.get_attribute("data-code")
    hand.changing(lambda: hand.page.keyboard.press("Enter"))
    expect(hand.page.locator(f"#palette [data-code='{code}']")).to_be_focused()
    assert hand.codes()[1, 2] == int(code or -1)


def test_what_is_kept_can_be_read_elsewhere(hand: Hand, explorer: Explorer, tmp_path: Path) -> None:
    def kept(name: str) -> bytes:
        with hand.page.expect_download() as download:
            hand.page.locator(f"#save-{name}").click()
        download.value.save_as(tmp_path / name)
        return (tmp_path / name).read_bytes()

    with np.load(io.BytesIO(kept("codes"))) as arrays:
        assert np.array_equal(arrays["z1"][0], hand.codes())
        assert arrays["z1"].dtype == np.int64
        assert arrays["concept"].shape == (1, 10)
        assert float(arrays["concept"].sum()) == pytest.approx(1, abs=1e-4)
        painted = explorer.model.decode(torch.from_numpy(arrays["z1"]))
        np.testing.assert_allclose(arrays["reconstruction"], painted.numpy(), atol=0.003)
    with Image.open(io.BytesIO(kept("image"))) as picture:
        assert picture.size == (224, 224)
        assert np.array_equal(np.asarray(picture.convert("L"))[4::8, 4::8], hand.pixels())
    drawn = ElementTree.fromstring(kept("figure"))
    words = ["".join(part.itertext()) for part in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "rgm: a model" in words
    assert [int(word) for word in words[4:53]] == hand.codes().flatten().tolist()


def test_a_picture_is_read_and_what_is_none_is_refused(hand: Hand, tmp_path: Path) -> None:
    paper = np.full((300, 200), 240, dtype=np.uint8)
    paper[40:260, 90:115] = 10
    Image.fromarray(paper).save(tmp_path / "one.png")
    (tmp_path / "none.png").write_bytes(b"no picture")
    (tmp_path / "heavy.png").write_bytes(b"\0" * 5_100_000)
    Image.new("L", (8001, 2)).save(tmp_path / "wide.png")
    before = hand.page.url
    report, upload = hand.page.locator("#report"), hand.page.locator("#upload")
    for name, reason in (
        ("none", "no picture that can be read"),
        ("heavy", "5 MB at most, but this has 5.1"),
        ("wide", "8,000 pixels a side at most, but this has 8001 × 2"),
    ):
        upload.set_input_files(tmp_path / f"{name}.png")
        expect(report).to_contain_text(reason)
        assert hand.page.url == before
    upload.set_input_files(tmp_path / "one.png")
    hand.wait(lambda: hand.concept() == 1)
    seen = hand.pixels("#seen canvas")
    assert seen[13, 13] > 200
    assert seen[2, 2] == 0


def test_samples_and_morphs_become_the_image(hand: Hand) -> None:
    hand.page.locator("#morph-concept").select_option("6")
    hand.page.locator("#sample-concept").select_option("0")
    hand.page.locator("#morph").click()
    frames = hand.page.locator("#frames button")
    expect(frames).to_have_count(11, timeout=20_000)
    hand.changing(frames.last.click)
    hand.wait(lambda: hand.concept() == 6)
    assert np.abs(hand.pixels().astype(int) - hand.pixels("#frames button:last-child canvas")).max() <= 1
    hand.changing(hand.page.locator("#samples button").first.click)
    expect(hand.page.locator("#bars button").nth(0)).to_have_attribute("aria-pressed", "true")


def test_both_engines_say_the_same(page: Page, served: str, alone: str) -> None:
    """Codes to the letter, probabilities and greys as far as rounding goes."""
    script = """async () => { const { engine } = await import("./engine.js");
        const { image, z1 } = await engine.pick(3), found = await engine.read(image);
        const { codes, probabilities } = await engine.palette({ z1, concept: 4, cell: [3, 2] });
        const seen = await engine.paint(z1);
        return { z1: found.z1, concept: found.concept, painted: [...seen.painted], again: seen.z1,
                 codes: codes.slice(0, 6), probabilities: probabilities.slice(0, 6) }; }"""
    answers = []
    for place in (served, alone):
        Hand(page).open(place)
        answers.append(page.evaluate(script))
    one, two = answers
    assert one["z1"] == two["z1"] == one["again"] == two["again"]
    assert one["codes"] == two["codes"]
    np.testing.assert_allclose(one["concept"], two["concept"], atol=1e-5)
    np.testing.assert_allclose(one["probabilities"], two["probabilities"], atol=1e-5)
    assert np.abs(np.array(one["painted"]) - two["painted"]).max() <= 1


def test_what_the_engine_without_a_server_draws_is_what_the_server_would(
    page: Page, served: str, alone: str
) -> None:
    """Noise is each engine's own; what is drawn is painted, kept and read the same, and a sure draw is the same."""
    draw = """async () => { const { engine } = await import("./engine.js");
        const about = await engine.about(), ask = { concept: 6, count: 4, seed: 5, temperature: 0.5 };
        const { z1: first } = await engine.pick(3);
        const cold = { z1: first, concept: 4, drawn: [[3, 2]], seed: 1, temperature: 0.001 };
        const plain = (found) => ({ ...found, painted: [...found.painted] });
        const all = (found) => ({ ...found, painted: found.painted.map((one) => [...one]) });
        return { about: { ...about, codes: about.codes.map((one) => [...one]) }, first,
                 sample: all(await engine.sample(ask)), again: all(await engine.sample(ask)),
                 morph: all(await engine.morph({ start: 1, end: 8, count: 3, seed: 2, temperature: 0.5 })),
                 some: plain(await engine.complete({ ...cold, drawn: [[0, 0], [6, 6]], temperature: 1 })),
                 cold: plain(await engine.complete(cold)) }; }"""
    look = """async (grids) => { const { engine } = await import("./engine.js"), seen = [];
        for (const z1 of grids) { const found = await engine.paint(z1); seen.push([...found.painted]); }
        return seen; }"""
    answers = []
    for place in (served, alone):
        page.goto(place)
        answers.append(page.evaluate(draw))
    theirs, ours = answers
    for name in ("image", "grid", "states", "patch", "fields", "classes", "name", "measured"):
        assert ours["about"].get(name) == theirs["about"].get(name), name
    assert np.abs(np.array(ours["about"]["codes"]) - theirs["about"]["codes"]).max() <= 1
    assert ours["sample"] == ours["again"]
    assert ours["cold"]["z1"] == theirs["cold"]["z1"]
    assert np.abs(np.array(ours["cold"]["painted"]) - theirs["cold"]["painted"]).max() <= 1
    changed = np.argwhere(np.array(ours["some"]["z1"]) != ours["first"]).tolist()
    assert all(place in ([0, 0], [6, 6]) for place in changed)
    grids = [*ours["sample"]["z1"], *ours["morph"]["z1"], ours["some"]["z1"]]
    painted = [*ours["sample"]["painted"], *ours["morph"]["painted"], ours["some"]["painted"]]
    assert len(grids) == 4 + 3 + 1
    page.goto(served)
    assert np.abs(np.array(page.evaluate(look, grids)) - painted).max() <= 1


def test_the_page_alone_can_be_used(page: Page, alone: str) -> None:
    """The shortest way through it; in the whole suite everything else is done on it, too."""
    hand = Hand(page).open(alone)
    page.locator("#clear").click()
    hand.changing(lambda: hand.stroke((0.5, 0.15), (0.5, 0.85)))
    hand.wait(lambda: hand.concept() == 1)
    link, before = page.url, hand.codes()
    hand.cell(3, 3).click()
    hand.choose_code(3)
    assert np.argwhere(hand.codes() != before).tolist() == [[3, 3]]
    hand.changing(lambda: page.keyboard.press("Control+z"))
    assert page.url == link


def test_a_deep_models_levels_show_their_children(page: Page, deep_address: str) -> None:
    hand = Hand(page).open(deep_address)
    assert page.locator("#pick").is_hidden()
    level = page.locator("#levels .grid button")
    expect(level).to_have_count(49)
    level.nth(9).click()  # row 2, column 3
    children = page.locator("#map span").evaluate_all(
        "all => all.map((tile, i) => tile.classList.contains('child') ? i : -1).filter((i) => i >= 0)"
    )
    assert children == [2 * 14 + 4, 2 * 14 + 5, 3 * 14 + 4, 3 * 14 + 5]
    expect(page.locator("#report")).to_contain_text("row 2, column 3 of level 2")
    before = hand.codes()
    hand.cell(5, 5).click()
    hand.page.locator("#several").click()
    hand.cell(5, 6).click()
    hand.changing(hand.page.locator("#complete").click)
    assert {tuple(place) for place in np.argwhere(hand.codes() != before).tolist()} <= {(5, 5), (5, 6)}
    page.locator("#morph").click()
    expect(page.locator("#frames button")).to_have_count(11, timeout=30_000)


def test_the_page_never_falls_behind_by_more_than_one_request(page: Page, served: str) -> None:
    hand, asked = Hand(page).open(served), []

    def slowly(route: Route) -> None:
        asked.append(route.request.post_data_json["z1"][3][3])
        page.wait_for_timeout(300)
        route.continue_()

    hand.cell(3, 3).click()
    tiles = page.locator("#palette button")
    expect(tiles).to_have_count(32)
    codes = [int(tile.get_attribute("data-code") or -1) for tile in tiles.all()]
    page.route("**/api/paint", slowly)
    tiles.evaluate_all("(all) => all.slice(1, 11).forEach((tile) => tile.click())")
    hand.wait(lambda: hand.codes()[3, 3] == codes[10])
    assert asked == [codes[1], codes[10]]


def test_a_program_that_is_gone_is_said(page: Page, served: str, said: list[str]) -> None:
    hand = Hand(page).open(served)
    page.route("**/api/**", lambda route: route.fulfill(status=500, json={"error": "this is our fault"}))
    hand.page.locator("#bars button").nth(2).click()
    expect(page.locator("#report")).to_have_text("this is our fault")
    page.unroute("**/api/**")
    assert "500" in said.pop()


@pytest.mark.parametrize(
    ("top", "left", "tall", "wide"), [(5, 90, 60, 10), (70, 8, 16, 60), (0, 0, 100, 100), (50, 50, 2, 1)]
)
def test_a_drawing_is_scaled_into_mnists_box_and_centred_by_its_mass(
    page: Page, served: str, top: int, left: int, tall: int, wide: int
) -> None:
    page.goto(served)
    flat = page.evaluate(
        """async ([top, left, tall, wide]) => { const { asDigit } = await import("./strokes.js");
        const grey = new Float32Array(10000);
        for (let y = top; y < top + tall; y++) grey.fill(1, 100 * y + left, 100 * y + left + wide);
        return [...asDigit(grey, 100, 100, [28, 28])]; }""",
        [top, left, tall, wide],
    )
    digit = np.array(flat).reshape(28, 28) / 255
    assert max((digit.max(1) > 0.5).sum(), (digit.max(0) > 0.5).sum()) == 20
    for axis in (0, 1):
        centre = (digit.sum(1 - axis) * (np.arange(28) + 0.5)).sum() / digit.sum()
        assert centre == pytest.approx(14, abs=0.6)


def test_both_languages_have_every_word(page: Page, served: str) -> None:
    page.goto(served)
    english, korean = page.evaluate(
        """async () => { const { WORDS } = await import("./words.js");
        const kind = ([key, value]) => `${key}:${typeof value}:${value.length > 0}`;
        return ["en", "ko"].map((one) => Object.entries(WORDS[one]).map(kind)); }"""
    )
    assert sorted(english) == sorted(korean)
