"""The report of a run and the comparison of models: self-contained pages, made from results alone."""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.figure import Figure

from rgm.claims.claim import CLAIMS, Claim
from rgm.claims.comparison import Comparison
from rgm.evaluation.abstraction import Abstraction
from rgm.evaluation.exactness import Exactness
from rgm.evaluation.instantiation import Instantiation
from rgm.evaluation.levels import Levels
from rgm.evaluation.locality import Locality
from rgm.evaluation.quantities import interval_of, meaning_of, name_of, subscript, value_of
from rgm.report.canvas import drawable
from rgm.report.curve import curve_figure
from rgm.report.figures import experiment_drawings, png
from rgm.report.samples import LONGEST, strip_concept
from rgm.report.verdicts import controls, evidence_rows, of_the_model, reason_of
from rgm.report.wording import findings, reference_values, rows
from rgm.runtime.progress import EpochRecord
from rgm.storage.files import write_text


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the page reports.

    `data_source` is a line for people, `fallback` whether the data stand in for MNIST, which could not be had;
    `sets` holds (split, images, sha256); `facts` are further rows of how it was run, such as seed, epochs,
    versions and time; `claims` are those about the model and the controls; `judge_accuracy` is the judge's share of
    real test images right, None without a judge; `drawn` holds figures of the results as PNG by file stem, which are
    not drawn anew.
    """

    data_source: str
    fallback: bool
    sets: Sequence[tuple[str, int, str]]
    preset: str
    preset_summary: str
    command: str
    facts: Mapping[str, str]
    history: tuple[EpochRecord, ...]
    claims: Sequence[Claim]
    abstraction: Abstraction
    levels: Levels | None = None
    instantiation: Instantiation
    locality: Locality
    judge_accuracy: float | None
    exactness: Exactness | None = None
    drawn: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure inside the page: its data URI, its size in pixels so that nothing jumps while it loads.

    `widest` is the width in CSS pixels beyond which it is not stretched, so that the font size is equal in all figures.
    """

    uri: str
    width: int
    height: int
    widest: int


def template(name: str) -> Template:
    """Return a page's template; what is put into it is text, never markup."""
    environment = Environment(
        loader=PackageLoader("rgm.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["subscript"] = subscript
    environment.globals.update(
        {function.__name__: function for function in (name_of, value_of, interval_of, meaning_of)}
    )
    return environment.get_template(name)


def picture(figure: Figure) -> Picture:
    """Return a figure as the page embeds it."""
    return embedded(png(figure))


def embedded(content: bytes) -> Picture:
    """Return a PNG as the page embeds it."""
    width, height = struct.unpack(">II", content[16:24])  # the first chunk of every PNG
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    return Picture(uri=uri, width=width, height=height, widest=round(0.6 * width))  # a full width fills the column


def write_comparison(path: Path, result: Comparison, *, command: str) -> Path:
    """Write the page that compares models as one file, and return its path; raise RGMError where that fails."""
    write_text(path, template("comparison.html.jinja").render(comparison=result, command=command))
    return path


def write_report(path: Path, report: Report) -> Path:
    """Write the page as one file that needs no network, and return its path; raise RGMError where that fails."""
    results = (report.abstraction, report.instantiation, report.locality)
    held = reference_values(*results, report.judge_accuracy)
    measured = (report.abstraction.measures(), report.instantiation.measures(), report.locality.measures())
    tables = {
        name: evidence_rows(report.claims, name, measures, held)
        for name, measures in zip(CLAIMS, measured, strict=True)
    }
    mine = of_the_model(report.claims)
    figures = {
        stem.replace("-", "_"): embedded(report.drawn[stem] if stem in report.drawn else png(draw()))
        for result in filter(None, (*results, report.levels, report.exactness))
        for stem, draw in experiment_drawings(result).items()
    }
    concepts = len(report.instantiation.sheet)
    full = list(report.instantiation.classes) or [str(index) for index in range(concepts)]
    page = template("page.html.jinja").render(
        report=report,
        figures=figures,
        curve=picture(curve_figure(report.history)) if report.history else None,
        tables=tables,
        verdicts=[(mine[name], reason_of(mine[name])) for name in CLAIMS if name in mine],
        controls=controls(report.claims),
        claim_names=CLAIMS,
        findings=findings(*results, report.judge_accuracy),
        exact=rows(report.exactness.estimates(), {}) if report.exactness else None,
        concepts=full,
        names_cut=drawable(report.instantiation.classes, concepts, LONGEST) != full,
        strip=full[strip_concept(report.instantiation)],
        image=tuple(report.abstraction.images.shape[1:]),
        grids=[tuple(codes.shape[1:]) for codes in report.abstraction.inference.codes],
        states=len(report.abstraction.split.usage[0].counts),
    )
    write_text(path, page)
    return path
