"""The page in a real browser, with its server and exported."""

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
class User:
    """Actions and views of a user."""

    page: Page

    def open(self, address: str) -> "User":
        self.page.goto(address)
        return self.settled()

    def settled(self) -> "User":
        expect(self.page.locator("body")).to_have_attribute("data-ready", "yes", timeout=60_000)
        expect(self.page.locator("#samples button")).to_have_count(20, timeout=60_000)
        return self

    def cell(self, row: int, column: int) -> Any:
        return self.page.locator("#cells [role=row]").nth(row).locator("button").nth(column)

    def codes(self) -> np.ndarray:
        rows = self.page.locator("#cells [role=row]").count()
        flat = [int(text) for text in self.page.locator("#map span").all_inner_texts()]
        return np.array(flat).reshape(rows, -1)

    def pixels(self, selector: str = "#reconstruction") -> np.ndarray:
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
            assert time.monotonic() < end, "timeout"
            self.page.wait_for_timeout(50)

    def changing(self, act: Callable[[], None]) -> None:
        """Perform an action and wait until the codes differ."""
        before = self.page.url
        act()
        self.wait(lambda: self.page.url != before)

    def choose_code(self, place: int) -> None:
        """Click the code at some place of the palette, not counting the cell's current code."""
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
def user(page: Page, http_address: str) -> User:
    return User(page).open(http_address)


@pytest.fixture
def user_of_either(page: Page, either_address: str) -> User:
    return User(page).open(either_address)


def test_a_drawing_is_encoded_while_it_is_drawn(user: User) -> None:
    user.page.locator("#clear").click()
    user.changing(lambda: user.stroke((0.5, 0.15), (0.5, 0.85)))
    user.wait(lambda: user.concept() == 1)
    user.page.locator("#clear").click()
    user.stroke((0.3, 0.2), (0.7, 0.2), (0.45, 0.85))
    user.wait(lambda: user.concept() == 7)
    assert user.pixels("#input canvas").max() > 200

    def height() -> int:
        rows = np.flatnonzero(user.pixels("#input canvas").max(1) > 100)
        return int(rows[-1] - rows[0] + 1)

    user.wait(lambda: 19 <= height() <= 20)  # the whole stroke is encoded, and not the part that made it a seven


def test_a_changed_code_changes_only_its_place(user: User, explorer: Explorer) -> None:
    before = user.pixels()
    user.cell(3, 3).click()
    outline = user.page.locator(".field").first
    expect(outline).to_be_visible()
    box, whole = outline.bounding_box(), user.page.locator("#reconstruction").bounding_box()
    assert box is not None
    assert whole is not None
    field = explorer.model.decoder_field(3, 3)
    assert (box["y"] - whole["y"]) / whole["height"] * SIDE == pytest.approx(field.top, abs=0.3)
    assert box["width"] / whole["width"] * SIDE == pytest.approx(field.right - field.left, abs=0.3)
    user.choose_code(3)
    changed = np.abs(user.pixels().astype(int) - before) > 0
    assert changed.any()
    changed[field.slices] = False
    assert not changed.any()
    expect(user.page.locator("#status")).to_have_text(re.compile(r"\d+\.\d % of the change lies in the cell"))
    assert (user.pixels("#difference") < 255).any()


def test_the_palette_is_in_the_order_of_the_prior(user: User, explorer: Explorer) -> None:
    user.cell(2, 3).click()
    expect(user.page.locator("#palette button")).to_have_count(64)
    shown = [int(tile.get_attribute("data-code") or -1) for tile in user.page.locator("#palette button").all()]
    z1 = torch.from_numpy(user.codes())[None]
    chosen = int(user.page.locator("#bars button").evaluate_all("all => all.findIndex(b => b.ariaPressed === 'true')"))
    log_probs = explorer.model.cell_log_probs(z1, chosen, 2, 3)[0]
    assert shown[:5] == log_probs.argsort(descending=True)[:5].tolist()


def test_a_click_on_a_concept_samples_it(user: User) -> None:
    before = user.codes()
    user.changing(user.page.locator("#bars button").nth(8).click)
    expect(user.page.locator("#bars button").nth(8)).to_have_attribute("aria-pressed", "true")
    assert (user.codes() != before).sum() > 5
    user.wait(lambda: user.concept() == 8)


def test_a_selection_is_resampled_and_the_rest_stays(user_of_either: User) -> None:
    user = user_of_either
    before = user.codes()
    user.cell(3, 3).click()
    user.cell(3, 4).click(modifiers=["Shift"])
    user.page.locator("#several").click()
    user.cell(4, 3).click()
    user.cell(4, 4).click()
    chosen = {(3, 3), (3, 4), (4, 3), (4, 4)}
    for _ in range(12):  # the resampled codes may equal the old ones
        user.page.locator("#complete").click()
        user.page.wait_for_timeout(200)
        different = {(int(row), int(column)) for row, column in np.argwhere(user.codes() != before)}
        assert different <= chosen
        if different:
            break
    assert different


def test_undo_and_redo(user: User) -> None:
    first, picture = user.page.url, user.pixels()
    user.cell(2, 2).click()
    user.choose_code(1)
    second = user.page.url
    user.changing(user.page.locator("#undo").click)
    assert user.page.url == first
    assert np.array_equal(user.pixels(), picture)
    user.changing(lambda: user.page.keyboard.press("Control+Shift+z"))
    assert user.page.url == second
    user.changing(lambda: user.page.keyboard.press("Control+z"))
    assert user.page.url == first
    expect(user.page.locator("#undo")).to_be_disabled()


def test_a_link_restores_the_state(user_of_either: User) -> None:
    user = user_of_either
    user.cell(1, 3).click()
    user.choose_code(2)
    user.page.locator("#sample-concept").select_option("5")
    user.page.locator("#temperature").fill("0.5")
    user.page.locator("#temperature").dispatch_event("change")
    user.wait(lambda: re.search(r"samples=5\.\d+\.5$", user.page.url) is not None)
    user.page.wait_for_timeout(1500)
    link, codes, reconstruction = user.page.url, user.codes(), user.pixels()
    sheet = user.pixels("#samples canvas")
    user.page.reload()
    user.settled()
    assert user.page.url == link
    assert np.array_equal(user.codes(), codes)
    assert np.array_equal(user.pixels(), reconstruction)
    assert np.array_equal(user.pixels("#samples canvas"), sheet)
    assert user.page.locator("#temperature").input_value() == "0.5"


@pytest.mark.parametrize(
    "link",
    [
        "model=another&concept=1&z1=1.2.3",
        "model=a+model&concept=99&z1=" + ".".join("0" * 49),
        "z1=x",
        "z1=" + "9." * 60,
    ],
)
def test_a_link_of_another_model_is_reported_and_ignored(page: Page, http_address: str, link: str) -> None:
    User(page).open(f"{http_address}#{link}")
    expect(page.locator("#status")).to_have_text(
        "The link is not valid for this model. The page shows its initial state instead."
    )


@pytest.mark.parametrize("width", [360, 1300, 2560])
def test_nothing_overflows_and_no_text_is_missing(user: User, width: int) -> None:
    user.page.set_viewport_size({"width": width, "height": 800})
    user.cell(3, 3).click()
    user.choose_code(0)
    user.page.locator("#morph").click()
    expect(user.page.locator("#frames button")).to_have_count(11, timeout=20_000)
    for _ in range(2):  # both languages
        assert user.page.evaluate("document.documentElement.scrollWidth") <= width
        nameless = user.page.locator("button, select, input, section > canvas, [role]").evaluate_all(
            """(all) => all.filter((part) => !part.ariaLabel && !part.innerText && !part.labels?.length)
            .map((part) => part.outerHTML)"""
        )
        assert [part for part in nameless if 'role="row"' not in part] == []
        assert "undefined" not in user.page.inner_text("body")
        assert "98.7" in user.page.inner_text("[data-claim=locality]")
        user.page.locator("#language").click()


def test_the_page_can_be_used_with_the_keyboard(user: User) -> None:
    user.cell(0, 0).focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"):
        user.page.keyboard.press(key)
    expect(user.cell(0, 2)).to_be_focused()
    user.page.keyboard.press("Enter")
    expect(user.cell(0, 2)).to_have_attribute("aria-selected", "true")
    user.page.keyboard.press("ArrowDown")
    user.page.keyboard.press("Shift+Enter")
    expect(user.cell(0, 2)).to_have_attribute("aria-selected", "true")
    expect(user.cell(1, 2)).to_have_attribute("aria-selected", "true")
    user.page.keyboard.press("Escape")
    expect(user.page.locator("#cells [aria-selected=true]")).to_have_count(0)
    user.page.keyboard.press("Enter")
    tile = user.page.locator("#palette [aria-selected=false]").first
    tile.focus()
    code = tile.get_attribute("data-code")
    user.changing(lambda: user.page.keyboard.press("Enter"))
    expect(user.page.locator(f"#palette [data-code='{code}']")).to_be_focused()
    assert user.codes()[1, 2] == int(code or -1)


def test_saved_files_can_be_read(user_of_either: User, explorer: Explorer, tmp_path: Path) -> None:
    user = user_of_either

    def saved(name: str) -> bytes:
        with user.page.expect_download() as download:
            user.page.locator(f"#save-{name}").click()
        download.value.save_as(tmp_path / name)
        return (tmp_path / name).read_bytes()

    with np.load(io.BytesIO(saved("codes"))) as arrays:
        assert np.array_equal(arrays["z1"][0], user.codes())
        assert arrays["z1"].dtype == np.int64
        assert arrays["concept"].shape == (1, 10)
        assert float(arrays["concept"].sum()) == pytest.approx(1, abs=1e-4)
        decoded = explorer.model.decode(torch.from_numpy(arrays["z1"]))
        np.testing.assert_allclose(arrays["reconstruction"], decoded.numpy(), atol=0.003)
    with Image.open(io.BytesIO(saved("image"))) as picture:
        assert picture.size == (224, 224)
        assert np.array_equal(np.asarray(picture.convert("L"))[4::8, 4::8], user.pixels())
    drawn = ElementTree.fromstring(saved("figure"))
    words = ["".join(part.itertext()) for part in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "rgm: a model" in words
    assert [int(word) for word in words[4:53]] == user.codes().flatten().tolist()


def test_an_uploaded_image_is_encoded_and_other_files_are_refused(user: User, tmp_path: Path) -> None:
    paper = np.full((300, 200), 240, dtype=np.uint8)
    paper[40:260, 90:115] = 10
    Image.fromarray(paper).save(tmp_path / "one.png")
    (tmp_path / "none.png").write_bytes(b"no picture")
    (tmp_path / "heavy.png").write_bytes(b"\0" * 5_100_000)
    Image.new("L", (8001, 2)).save(tmp_path / "wide.png")
    before = user.page.url
    report, upload = user.page.locator("#status"), user.page.locator("#upload")
    for name, reason in (
        ("none", "not a readable image"),
        ("heavy", "at most 5 MB, but this one has 5.1 MB"),
        ("wide", "at most 8,000 pixels on a side, but this one has 8001 × 2"),
    ):
        upload.set_input_files(tmp_path / f"{name}.png")
        expect(report).to_contain_text(reason)
        assert user.page.url == before
    upload.set_input_files(tmp_path / "one.png")
    user.wait(lambda: user.concept() == 1)
    seen = user.pixels("#input canvas")
    assert seen[13, 13] > 200
    assert seen[2, 2] == 0


def test_a_click_on_a_sample_or_a_morph_opens_it(user: User) -> None:
    user.page.locator("#morph-concept").select_option("6")
    user.page.locator("#sample-concept").select_option("0")
    user.page.locator("#morph").click()
    frames = user.page.locator("#frames button")
    expect(frames).to_have_count(11, timeout=20_000)
    user.changing(frames.last.click)
    user.wait(lambda: user.concept() == 6)
    assert np.abs(user.pixels().astype(int) - user.pixels("#frames button:last-child canvas")).max() <= 1
    user.changing(user.page.locator("#samples button").first.click)
    expect(user.page.locator("#bars button").nth(0)).to_have_attribute("aria-pressed", "true")


def test_both_engines_agree(page: Page, http_address: str, onnx_address: str) -> None:
    """Codes are equal; probabilities and grey values are equal up to rounding."""
    script = """async () => { const { engine } = await import("./engine.js");
        const { image, z1 } = await engine.testImage(3), found = await engine.encode(image);
        const { codes, probabilities } = await engine.palette({ z1, concept: 4, cell: [3, 2] });
        const decoded = await engine.decode(z1);
        return { z1: found.z1, concept: found.concept, reconstruction: [...decoded.reconstruction], again: decoded.z1,
                 codes: codes.slice(0, 6), probabilities: probabilities.slice(0, 6) }; }"""
    answers = []
    for place in (http_address, onnx_address):
        User(page).open(place)
        answers.append(page.evaluate(script))
    one, two = answers
    assert one["z1"] == two["z1"] == one["again"] == two["again"]
    assert one["codes"] == two["codes"]
    np.testing.assert_allclose(one["concept"], two["concept"], atol=1e-5)
    np.testing.assert_allclose(one["probabilities"], two["probabilities"], atol=1e-5)
    assert np.abs(np.array(one["reconstruction"]) - two["reconstruction"]).max() <= 1


def test_samples_of_the_onnx_engine_are_decoded_as_by_the_server(
    page: Page, http_address: str, onnx_address: str
) -> None:
    """The engines differ in their random noise only: decoding agrees, and so do samples at a temperature near 0."""
    draw = """async () => { const { engine } = await import("./engine.js");
        const about = await engine.about(), ask = { concept: 6, count: 4, seed: 5, temperature: 0.5 };
        const { z1: first } = await engine.testImage(3);
        const cold = { z1: first, concept: 4, resampled: [[3, 2]], seed: 1, temperature: 0.001 };
        const plain = (found) => ({ ...found, reconstruction: [...found.reconstruction] });
        const all = (found) => ({ ...found, images: found.images.map((one) => [...one]) });
        return { about: { ...about, codes: about.codes.map((one) => [...one]) }, first,
                 sample: all(await engine.sample(ask)), again: all(await engine.sample(ask)),
                 morph: all(await engine.morph({ start: 1, end: 8, count: 3, seed: 2, temperature: 0.5 })),
                 some: plain(await engine.complete({ ...cold, resampled: [[0, 0], [6, 6]], temperature: 1 })),
                 cold: plain(await engine.complete(cold)) }; }"""
    decode = """async (grids) => { const { engine } = await import("./engine.js"), images = [];
        for (const z1 of grids) images.push([...(await engine.decode(z1)).reconstruction]);
        return images; }"""
    answers = []
    for place in (http_address, onnx_address):
        page.goto(place)
        answers.append(page.evaluate(draw))
    theirs, ours = answers
    for name in ("image", "grid", "states", "patch", "fields", "classes", "name", "measured"):
        assert ours["about"].get(name) == theirs["about"].get(name), name
    assert np.abs(np.array(ours["about"]["codes"]) - theirs["about"]["codes"]).max() <= 1
    assert ours["sample"] == ours["again"]
    assert ours["cold"]["z1"] == theirs["cold"]["z1"]
    assert np.abs(np.array(ours["cold"]["reconstruction"]) - theirs["cold"]["reconstruction"]).max() <= 1
    changed = np.argwhere(np.array(ours["some"]["z1"]) != ours["first"]).tolist()
    assert all(place in ([0, 0], [6, 6]) for place in changed)
    grids = [*ours["sample"]["z1"], *ours["morph"]["z1"], ours["some"]["z1"]]
    images = [*ours["sample"]["images"], *ours["morph"]["images"], ours["some"]["reconstruction"]]
    assert len(grids) == 4 + 3 + 1
    page.goto(http_address)
    assert np.abs(np.array(page.evaluate(decode, grids)) - images).max() <= 1


def test_the_exported_page_can_be_used(page: Page, onnx_address: str) -> None:
    """A short session; with those of both engines, the whole suite has each of the engine's calls made by the page."""
    user = User(page).open(onnx_address)
    page.locator("#clear").click()
    user.changing(lambda: user.stroke((0.5, 0.15), (0.5, 0.85)))
    user.wait(lambda: user.concept() == 1)
    link, before = page.url, user.codes()
    user.cell(3, 3).click()
    user.choose_code(3)
    assert np.argwhere(user.codes() != before).tolist() == [[3, 3]]
    user.changing(lambda: page.keyboard.press("Control+z"))
    assert page.url == link


def test_a_deep_models_levels_show_their_children(page: Page, deep_address: str) -> None:
    user = User(page).open(deep_address)
    assert page.locator("#test-image").is_hidden()
    level = page.locator("#levels .grid button")
    expect(level).to_have_count(49)
    level.nth(9).click()  # row 2, column 3
    children = page.locator("#map span").evaluate_all(
        "all => all.map((tile, i) => tile.classList.contains('child') ? i : -1).filter((i) => i >= 0)"
    )
    assert children == [2 * 14 + 4, 2 * 14 + 5, 3 * 14 + 4, 3 * 14 + 5]
    expect(page.locator("#status")).to_contain_text("row 2, column 3 of level 2")
    before = user.codes()
    user.cell(5, 5).click()
    user.page.locator("#several").click()
    user.cell(5, 6).click()
    user.changing(user.page.locator("#complete").click)
    assert {tuple(place) for place in np.argwhere(user.codes() != before).tolist()} <= {(5, 5), (5, 6)}
    page.locator("#morph").click()
    expect(page.locator("#frames button")).to_have_count(11, timeout=30_000)


def test_at_most_one_request_of_a_kind_waits(page: Page, http_address: str) -> None:
    user, asked = User(page).open(http_address), []

    def slowly(route: Route) -> None:
        asked.append(route.request.post_data_json["z1"][3][3])
        page.wait_for_timeout(300)
        route.continue_()

    user.cell(3, 3).click()
    tiles = page.locator("#palette button")
    expect(tiles).to_have_count(64)
    codes = [int(tile.get_attribute("data-code") or -1) for tile in tiles.all()]
    page.route("**/api/decode", slowly)
    tiles.evaluate_all("(all) => all.slice(1, 11).forEach((tile) => tile.click())")
    user.wait(lambda: user.codes()[3, 3] == codes[10])
    assert asked == [codes[1], codes[10]]


def test_an_error_of_the_server_is_shown(page: Page, http_address: str, console: list[str]) -> None:
    user = User(page).open(http_address)
    page.route("**/api/**", lambda route: route.fulfill(status=500, json={"error": "internal error"}))
    user.page.locator("#bars button").nth(2).click()
    expect(page.locator("#status")).to_have_text("internal error")
    page.unroute("**/api/**")
    assert "500" in console.pop()


@pytest.mark.parametrize(
    ("top", "left", "tall", "wide"), [(5, 90, 60, 10), (70, 8, 16, 60), (0, 0, 100, 100), (50, 50, 2, 1)]
)
def test_a_drawing_is_scaled_into_mnists_box_and_centred_by_its_mass(
    page: Page, http_address: str, top: int, left: int, tall: int, wide: int
) -> None:
    page.goto(http_address)
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


def test_both_languages_have_all_texts(page: Page, http_address: str) -> None:
    page.goto(http_address)
    english, korean = page.evaluate(
        """async () => { const { WORDS } = await import("./words.js");
        const kind = ([key, value]) => `${key}:${typeof value}:${value.length > 0}`;
        return ["en", "ko"].map((one) => Object.entries(WORDS[one]).map(kind)); }"""
    )
    assert sorted(english) == sorted(korean)
