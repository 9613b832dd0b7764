import base64
import functools
import io
import tempfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from made_results import HOSTILE, Results, pictures, results_of
from PIL import Image

from rgm.claims.claim import CLAIMS, Claim, Finding, Measure
from rgm.claims.threshold import MNIST
from rgm.evaluation.quantities import meaning_of, name_of, percent, value_of
from rgm.evaluation.statistics import Estimate, PerImage
from rgm.report.page import Report, write_report
from rgm.report.wording import reference_values, rows
from rgm.runtime.progress import EpochRecord

STAND_IN = "These are not MNIST's numbers."
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects what a page shows and fetches, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if tag == "img":
            self.images.append(found)
        if tag in ("td", "th"):
            self.cells.append("")
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        assert not any(name.startswith("on") for name in found)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open):
            self.text += data
            if self._open and self._open[-1] in ("td", "th"):
                self.cells[-1] += data


def claims_of(results: Results) -> list[Claim]:
    """Return claims of the model with all three verdicts and of two controls, or undecided ones without a judge."""
    share = Finding.of("concept_accuracy", PerImage.mean(torch.arange(200) < 199, "share"))
    wrong = Estimate(estimate=0.1, low=0.08, high=0.12, unit="share")
    right = Measure(name=share.name, found=share.found, images=share.images, threshold=MNIST[share.name])
    if not results.judged:
        return [Claim(claim=name, subject="model", measures=(), undecided="no <classes>") for name in CLAIMS]
    recall = Estimate(estimate=0.7, low=0.5, high=0.9, unit="ratio")
    return [
        Claim(
            claim="abstraction", subject="model", measures=(right,), context=(Finding(name="z1_bits", found=recall),)
        ),
        Claim(
            claim="instantiation",
            subject="model",
            measures=(Measure(name="recall_ratio", found=recall, threshold=MNIST["recall_ratio"]),),
        ),
        Claim(
            claim="locality",
            subject="model",
            measures=(
                Measure(name="changed_concept_recognised", found=wrong, threshold=MNIST["changed_concept_recognised"]),
            ),
        ),
        Claim(
            claim="abstraction",
            subject="untrained",
            measures=(Measure(name=share.name, found=wrong, threshold=MNIST[share.name]),),
        ),
        Claim(claim="abstraction", subject="memoriser", measures=(right,)),
    ]


def report_of(results: Results) -> Report:
    record = EpochRecord(stage="codes", epoch=1, step=9, loss=0.5, terms={}, validation={"squared_error": 0.02})
    return Report(
        data_source="noise <b>of all kinds</b>",
        fallback=False,
        sets=[("train", 12345, "ab" * 32), ("test", 678, "cd" * 32)],
        preset="standard",
        preset_summary="the default",
        command="rgm run --data '<noise>' --seed 7",
        facts={"seed": "7", "versions": "rgm 0.1.0, PyTorch 2.13.0"},
        history=(record,),
        claims=claims_of(results),
        abstraction=results.abstraction,
        instantiation=results.instantiation,
        locality=results.locality,
        judge_accuracy=0.9931 if results.judged else None,
        drawn=pictures(results),
    )


def written(tmp_path: Path, report: Report) -> str:
    path = write_report(tmp_path / "report.html", report)
    assert path == tmp_path / "report.html"
    return path.read_text(encoding="utf-8")


@functools.cache
def page_of(results: Results) -> str:
    """Return the page of some results."""
    with tempfile.TemporaryDirectory() as folder:
        return written(Path(folder), report_of(results))


def test_the_page_is_self_contained_and_holds_the_numbers_of_the_results(results: Results) -> None:
    text = page_of(results)
    page = Page(text)
    assert len(text.encode()) < 6_000_000
    assert len(page.images) == 10
    for image in page.images:
        assert (image["alt"] or "").strip()
        kind, content = (image["src"] or "").split(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert (str(picture.width), str(picture.height)) == (image["width"], image["height"])
    assert all(value.startswith("data:image/png;base64,") for value in page.fetched)
    assert "http" not in text
    assert page.tags.count("script") == 1
    cells = {cell.strip() for cell in page.cells}
    for result in results.all():
        for row in rows(result.measures(), {}):
            assert name_of(row.name) in cells
            if not results.judged:  # else some stand there with their intervals, from the claims
                assert value_of(row.name, row.found.estimate) in cells
    for word in ("ab" * 32, "12,345", "rgm run --data '<noise>' --seed 7", "rgm 0.1.0, PyTorch 2.13.0"):
        assert word in page.text
    assert ("judge" in page.text) == results.judged
    assert STAND_IN not in page.text


def test_verdicts_come_first_with_their_measures_and_controls(grey: Results) -> None:
    text = Page(page_of(grey)).text
    assert text.index("Verdicts on the three claims") < text.index("Experiment 1")
    assert "The measure lies on the right side of its threshold" in text
    assert "Too close to call: recall relative to real images." in text
    assert "On the wrong side, with the whole interval: changed concept recognised." in text
    assert "the same network before it has learned anything" in text
    assert "untrained: 10.0 % ✗" in text
    assert "at least 98.0 %" in text
    assert "98.5 % to 100.0 %" in text  # the interval of 199 right of 200
    assert "The control “memoriser” passed" in text
    assert "The control “untrained” passed" not in text


def test_an_undecided_claim_gives_its_reason() -> None:
    text = Page(page_of(results_of("unlabelled"))).text
    assert text.count("Nothing can be said: no <classes>.") == 3
    assert "passed" not in text


def test_text_from_outside_is_escaped(hostile: Results) -> None:
    text = page_of(hostile)
    page = Page(text)
    assert text.count("<script>") == 1
    assert "alert(1)" not in text.split("<script>")[1]
    assert "<b>" not in text
    assert all(name in page.text for name in HOSTILE), "names that a figure had to cut are given in full on the page"
    assert "noise <b>of all kinds</b>" in page.text


def test_a_page_about_stand_in_data_has_a_notice_and_without_history_no_curve(hostile: Results, tmp_path: Path) -> None:
    page = Page(written(tmp_path, replace(report_of(hostile), fallback=True, history=())))
    assert STAND_IN in page.text
    assert len(page.images) == 9


def test_equal_reports_give_equal_pages_whoever_has_drawn_the_figures(hostile: Results, tmp_path: Path) -> None:
    assert written(tmp_path, replace(report_of(hostile), drawn={})) == page_of(hostile)


def test_every_measure_is_explained(grey: Results) -> None:
    for result in grey.all():
        for row in rows(result.measures(), {}):
            assert "_" not in name_of(row.name)
            assert meaning_of(row.name).endswith(".")


def test_a_measure_without_a_text_is_still_shown() -> None:
    (row,) = rows({"mutual_information_bits": 2.71828}, {"mutual_information_bits": "at most 3.3"})
    texts = name_of(row.name), value_of(row.name, row.found.estimate), row.reference
    assert texts == ("mutual information bits", "2.718", "at most 3.3")


def test_measures_are_compared_with_real_images_guessing_and_the_area(grey: Results) -> None:
    found = reference_values(*grey.all(), 0.995)
    assert found["samples_recognised"] == "real images: 99.5 %"
    assert found["concept_accuracy"] == "guessing: 10.0 %"
    assert found["own_patch_share"] == "its share of the area: 2.0 %"
    assert "samples_recognised" not in reference_values(*grey.all(), None)


def test_the_equations_are_typeset(grey: Results) -> None:
    text = page_of(grey)
    assert text.count('<div class="equation" tabindex="0"') == 3
    assert "&lt;mi" not in text
    shown = "".join(Page(text).text.split())
    assert "p(x,z)=p(zL)∏ℓ=1L−1p(zℓ∣zℓ+1)p(x∣z1)" in shown
    assert "q(z∣x)=q(z1∣x)∏ℓ=1L−1q(zℓ+1∣zℓ)" in shown
    assert "F(x)=𝔼q[−logp(x∣z1)+∑ℓ=1L(logq(zℓ∣zℓ−1)−logp(zℓ∣zℓ+1))]≥−logp(x)" in shown


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100.0 %"),
        (0.99999, "99.999 %"),
        (0.9994, "99.9 %"),
        (0.5, "50.0 %"),
        (0.0004, "0.04 %"),
        (0.0, "0.0 %"),
        (1 - 1e-9, "100.0 %"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(share: float, text: str) -> None:
    assert percent(share) == text
