"""What the command line prints: measures, claims and comparisons as tables."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from rgm.evidence.claims import Claim
from rgm.evidence.comparison import Comparison, Difference
from rgm.evidence.statistics import Estimate


def plain_table(title: str) -> Table:
    """Return an empty table of names and values."""
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def measure_table(title: str, measures: Mapping[str, float]) -> Table:
    """Return measures by name."""
    table = plain_table(title)
    for name, value in measures.items():
        table.add_row(words(name), f"{value:.0f}" if name.endswith("codes_in_use") else f"{value:.4f}")
    return table


def evaluation_table(title: str, found: Mapping[str, Any]) -> Table:
    """Return an evaluation's numbers, each with its interval where it has one."""
    table = plain_table(title)
    for name, value in found.items():
        parts = value if isinstance(value, tuple) else [value]
        for number, part in enumerate(parts, start=1):
            label = words(name) + (f" z{number}" if isinstance(value, tuple) else "")
            if isinstance(part, dict):
                shown = f"{part['estimate']:.4f}  ({part['low']:.4f} to {part['high']:.4f} {part['unit']})"
            else:
                shown = "–" if part is None else part if isinstance(part, str) else f"{part:g}"
            table.add_row(label, shown)
    return table


def claim_table(claim: Claim) -> Table:
    """Return a claim's measures, each with its interval, its threshold and its verdict, and what stands beside them."""
    title = f"{claim.claim} · {claim.subject}: {claim.verdict} ({claim.reason})"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("measure", overflow="fold")
    table.add_column("estimate (95 % interval)", no_wrap=True)
    table.add_column("asked", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for measure in claim.measures:
        table.add_row(
            words(measure.name), _shown(measure.found), f"{measure.threshold}", measure.verdict, style="bold"
        )
    for finding in claim.context:
        table.add_row(words(finding.name), _shown(finding.found))
    return table


def comparison_table(result: Comparison) -> Table:
    """Return models side by side; a difference whose interval leaves out zero is marked with a star."""
    table = Table(
        "measure",
        *result.models,
        box=SIMPLE_HEAD,
        title=f"{result.data}: each model, and how it differs from {result.models[0]} (95 % interval)",
        title_justify="left",
        caption="* the interval of the difference leaves out zero; ~ not paired: of other images or draws",
        caption_justify="left",
    )
    for claims in result.claims:
        table.add_section()
        verdicts = [claim.verdict + (f": {claim.undecided}" if claim.undecided else "") for claim in claims]
        table.add_row(claims[0].claim, *verdicts, style="bold")
        for line in (line for line in result.lines if line.claim == claims[0].claim):
            cells = [
                "–" if one is None else f"{one.found.estimate:.4g}" + _difference(difference)
                for one, difference in zip(line.found, line.differences, strict=True)
            ]
            table.add_row(words(line.name), *cells, style=None if line.decides else "dim")
    return table


def words(name: str) -> str:
    """Return a measure's name as people read it."""
    return name.replace("_", " ")


def _shown(found: Estimate) -> str:
    unit = f" {found.unit}" if found.unit in ("bits", "codes", "nats", "pixels") else ""
    interval = "" if found.low == found.high else f" ({found.low:.4g} to {found.high:.4g})"
    return f"{found.estimate:.4g}{interval}{unit}"


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    found = difference.found
    mark = (" *" if difference.clear else "") + ("" if difference.paired else " ~")
    return f"\n{found.estimate:+.3g} ({found.low:+.3g} to {found.high:+.3g}){mark}"
