"""Figures and page for every kind of data that a result may come from."""

import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image

from rgm.data.images import ImageSet
from rgm.experiments.abstraction import Abstraction, abstraction
from rgm.experiments.instantiation import Instantiation, instantiation
from rgm.experiments.locality import Locality, locality
from rgm.judge import Judge, JudgeConfig
from rgm.model.spatial import SpatialRGM
from rgm.report.figures import experiment_figures, png
from rgm.report.page import Report, rows, write_report
from rgm.training.loop import EpochRecord

KINDS = {
    "grey": ((1, 28, 28), tuple("0123456789")),
    "colour": ((3, 16, 24), ("a long name of a class indeed", "<script>alert(1)</script>", "$x_1$")),
}
Results = tuple[Abstraction, Instantiation, Locality]


@cache
def results(kind: str, *, judged: bool = True) -> Results:
    shape, classes = KINDS[kind]
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("seed", image=shape, classes=len(classes)).eval()
    images = torch.randint(256, (12, *shape), dtype=torch.uint8)
    labels = torch.arange(12) % len(classes)
    data = ImageSet(
        name="made", split="test", images=images, labels=labels, classes=classes, source="made", sha256="0"
    )
    judge = Judge(JudgeConfig(channels=shape[0], classes=len(classes), width=4)).eval() if judged else None
    return (
        abstraction(model, data, judge),
        instantiation(model, classes, judge, count=4, columns=4),
        locality(model, data, judge, count=2),
    )


@pytest.mark.parametrize(("kind", "judged"), [("grey", True), ("grey", False), ("colour", True)])
def test_every_figure_is_a_picture(kind: str, judged: bool) -> None:
    for result in results(kind, judged=judged):
        figures = experiment_figures(result)
        assert len(figures) == 2
        for figure in figures.values():
            picture = Image.open(io.BytesIO(png(figure)))
            assert min(picture.size) > 200
            assert len(picture.convert("L").getcolors() or range(300)) > 10, "not blank"


def test_abstraction_without_labels() -> None:
    result = results("grey")[0]
    unlabelled = replace(result, labels=None, classes=(), concept_accuracy=None)
    assert len(experiment_figures(unlabelled)) == 2


def test_equal_results_give_equal_pictures() -> None:
    one, two = (png(experiment_figures(results("grey")[2])["locality"]) for _ in range(2))
    assert one == two


def test_the_page_says_what_the_results_hold_and_escapes(tmp_path: Path) -> None:
    found = results("colour")
    report = Report(
        data_source="the folder <b>bold</b>",
        fallback=True,
        sets=[("test", 12, "abc")],
        preset="seed",
        preset_summary="a summary",
        command="rgm run --data '<i>'",
        facts={"seed": "0"},
        history=(EpochRecord(stage="s", epoch=1, step=1, loss=1.0, terms={}, validation={}),),
        abstraction=found[0],
        instantiation=found[1],
        locality=found[2],
        judge_accuracy=0.5,
    )
    text = write_report(tmp_path / "report.html", report).read_text()
    assert "These are not MNIST's numbers" in text
    assert "<script>" not in text
    assert "<b>bold</b>" not in text
    assert "<i>" not in text
    for result in found:
        for row in rows(result.measures()):
            assert row.value in text
            assert row.name in text
