"""The report: one self-contained page, made from results alone."""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.figure import Figure

from rgm.experiments.abstraction import Abstraction
from rgm.experiments.instantiation import Instantiation
from rgm.experiments.locality import Locality
from rgm.files import write_text
from rgm.report.canvas import drawable, subscript
from rgm.report.curve import curve_figure
from rgm.report.figures import experiment_figures, png
from rgm.report.samples import LONGEST, strip_concept
from rgm.report.wording import Row, beside, findings, rows
from rgm.training.loop import EpochRecord

GLANCE = (
    "concept_accuracy",
    "reconstructions_recognised",
    "codes_in_use",
    "samples_recognised",
    "own_patch_share",
    "patch_plus_2_share",
    "local_extent",
    "global_extent",
)
"""Measures in the table at the top, where there are such."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the page tells.

    `data_source` is a line for people, `fallback` whether the data stand in for MNIST, which could not be had;
    `sets` holds (split, images, sha256); `facts` are further rows of how it was run, such as seed, epochs,
    versions and time; `judge_accuracy` is the judge's share of real test images right, None without a judge.
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
class Picture:
    """A figure inside the page: its data URI, its size in pixels so that nothing jumps while it loads.

    `widest` is the width in CSS pixels beyond which it is not stretched, so that type looks equal in all figures.
    """

    uri: str
    width: int
    height: int

    @property
    def widest(self) -> int:
        """Three fifths of its pixels: a full width fills the page's column."""
        return round(0.6 * self.width)


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
    return environment.get_template(name)


def picture(figure: Figure) -> Picture:
    """Return a figure as the page embeds it."""
    content = png(figure)
    width, height = struct.unpack(">II", content[16:24])  # the first chunk of every PNG
    return Picture(
        uri="data:image/png;base64," + base64.b64encode(content).decode(), width=width, height=height
    )


def write_report(path: Path, report: Report) -> Path:
    """Write the page as one file that needs no network, and return its path.

    Raises RGMError where the folder cannot be written.
    """
    results = (report.abstraction, report.instantiation, report.locality)
    values = {name: value for result in results for name, value in result.measures().items()}
    held = beside(*results, report.judge_accuracy)
    tables: dict[str, list[Row]] = {
        "glance": rows({name: values[name] for name in GLANCE if name in values}, held),
        "abstraction": rows(report.abstraction.measures(), held),
        "instantiation": rows(report.instantiation.measures(), held),
        "locality": rows(report.locality.measures(), held),
    }
    figures = {
        stem.replace("-", "_"): picture(figure)
        for result in results
        for stem, figure in experiment_figures(result).items()
    }
    concepts = len(report.instantiation.sheet)
    full = list(report.instantiation.classes) or [str(index) for index in range(concepts)]
    page = template("page.html.jinja").render(
        report=report,
        figures=figures,
        curve=picture(curve_figure(report.history)) if report.history else None,
        tables=tables,
        findings=findings(*results, report.judge_accuracy),
        concepts=full,
        names_cut=drawable(report.instantiation.classes, concepts, LONGEST) != full,
        strip=full[strip_concept(report.instantiation)],
        image=tuple(report.abstraction.images.shape[1:]),
        grids=[tuple(codes.shape[1:]) for codes in report.abstraction.inference.codes],
        states=len(report.abstraction.usage.counts),
    )
    write_text(path, page)
    return path
