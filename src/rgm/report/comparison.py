"""The page that compares several models."""

from dataclasses import dataclass
from pathlib import Path

from rgm.claims.comparison import Comparison, Difference, Line
from rgm.evaluation.quantities import interval_of, meaning_of, name_of, value_of
from rgm.report.page import template
from rgm.storage.files import write_text


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model's value of a measure, and its difference from the first model.

    `clear`: the interval of the difference excludes zero. `paired`: both values are of the same images.
    """

    value: str
    interval: str
    difference: str
    clear: bool
    paired: bool


def write_comparison(path: Path, result: Comparison, *, command: str) -> Path:
    """Write the page as one file that needs no network, and return its path.

    Raises RGMError where the folder cannot be written.
    """
    sections = [
        (
            claims,
            [
                (line, name_of(line.name), meaning_of(line.name), _cells(line))
                for line in result.lines
                if line.claim == claims[0].claim
            ],
        )
        for claims in result.claims
    ]
    page = template("comparison.html.jinja").render(comparison=result, sections=sections, command=command)
    write_text(path, page)
    return path


def _cells(line: Line) -> list[Cell | None]:
    return [
        None
        if one is None
        else Cell(
            value=value_of(line.name, one.found.estimate),
            interval=interval_of(line.name, one.found.low, one.found.high),
            difference="" if difference is None else _difference(line.name, difference),
            clear=difference is not None and difference.clear,
            paired=difference is None or difference.paired,
        )
        for one, difference in zip(line.found, line.differences, strict=True)
    ]


def _difference(name: str, difference: Difference) -> str:
    found = difference.found
    bounds = (found.low, found.estimate, found.high)
    low, middle, high = (("−" if value < 0 else "+") + value_of(name, abs(value)) for value in bounds)
    return f"{middle} ({low} to {high})"
