"""The report: one self-contained page, made from results alone."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from rgm.experiments.abstraction import Abstraction
from rgm.experiments.instantiation import Instantiation
from rgm.experiments.locality import Locality
from rgm.files import write_text
from rgm.report.curve import curve_figure
from rgm.report.figures import experiment_figures, png
from rgm.training.loop import EpochRecord


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the page tells.

    `data_source` is a line for people, `fallback` whether the data stand in for MNIST, which could not be had;
    `sets` holds (split, images, sha256); `facts` are further rows of how it was run.
    """

    data_source: str
    fallback: bool
    sets: Sequence[tuple[str, int, str]]
    preset: str
    preset_summary: str
    command: str
    facts: Mapping[str, str]
    history: tuple[EpochRecord, ...]
    abstraction: Abstraction
    instantiation: Instantiation
    locality: Locality
    judge_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table of results: a measure, its value, and what it means."""

    name: str
    value: str
    meaning: str


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


_ROWS: dict[str, tuple[str, str]] = {
    "concept_accuracy": ("concept right", "test images whose most probable concept is their class"),
    "squared_error": ("squared error", "of images rebuilt from their codes; the grey range is 0 to 1"),
    "codes_in_use": ("codes in use", "of the codebook, over all test images"),
    "perplexity": ("codebook perplexity", "how many equally used codes would be as varied"),
    "reconstructions_recognised": ("rebuilt images recognised", "by the judge, as their own class"),
    "samples_recognised": ("samples recognised", "by the judge, as the concept they were drawn from"),
    "worst_concept_recognised": ("… of the worst concept", "the concept that the judge recognises least"),
    "own_patch_share": (
        "change in the own patch",
        "share of the squared change that stays under the changed cell",
    ),
    "patch_plus_2_share": ("change in the patch + 2 pixels", "the same, with two pixels around"),
    "receptive_field_share": (
        "change in the receptive field",
        "must be 100 %: nothing may leave the pixels that the architecture lets a cell reach",
    ),
    "local_extent": ("pixels moved by one cell", "by more than 5 % of the grey range"),
    "global_extent": ("pixels moved by another concept", "the same, when the concept is exchanged"),
    "changed_concept_recognised": ("changed concept recognised", "by the judge, as the new one"),
}
_PLAIN = {"squared_error": "{:.4f}", "codes_in_use": "{:.0f}", "perplexity": "{:.1f}"}


def rows(measures: Mapping[str, float]) -> list[Row]:
    """Return the measures as lines for people, in their own order."""
    lines = []
    for name, value in measures.items():
        title, meaning = _ROWS[name]
        shown = _PLAIN[name].format(value) if name in _PLAIN else _percent(value)
        lines.append(Row(name=title, value=shown, meaning=meaning))
    return lines


def _embedded(figure: Figure) -> Markup:
    return Markup("data:image/png;base64," + base64.b64encode(png(figure)).decode())


def write_report(path: Path, report: Report) -> Path:
    """Write the page as one file that needs no network, and return its path."""
    environment = Environment(
        loader=PackageLoader("rgm.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    results = (report.abstraction, report.instantiation, report.locality)
    figures = {
        stem.replace("-", "_"): _embedded(figure)
        for result in results
        for stem, figure in experiment_figures(result).items()
    }
    page = environment.get_template("page.html.jinja").render(
        report=report,
        figures=figures,
        curve=_embedded(curve_figure(report.history)),
        tables={
            "abstraction": rows(report.abstraction.measures()),
            "instantiation": rows(report.instantiation.measures()),
            "locality": rows(report.locality.measures()),
        },
        classes=report.abstraction.classes,
        grid=tuple(report.abstraction.inference.z1.shape[1:]),
        states=len(report.abstraction.usage.counts),
    )
    write_text(path, page)
    return path
