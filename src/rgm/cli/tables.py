"""Measures, claims and comparisons as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from rgm.claims.claim import Claim
from rgm.claims.comparison import Comparison, Difference
from rgm.evaluation.quantities import interval_of, name_of, quantity, subscript, value_of
from rgm.report.verdicts import of_the_model, shown, threshold_of


def plain_table(title: str, rows: Mapping[str, str]) -> Table:
    """Return a table of names and values."""
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in rows.items():
        table.add_row(*row)
    return table


def measure_table(title: str, measures: Mapping[str, float]) -> Table:
    """Return measures by name."""
    return plain_table(title, {name_of(name): value_of(name, float(value)) for name, value in measures.items()})


STYLES = {"supported": "bold green", "not supported": "bold red", "undecided": "bold yellow"}


def verdict_lines(claims: Sequence[Claim]) -> list[Text]:
    """Return a line for each claim about a model, with the deciding measure, and one for the controls."""
    lines = []
    for claim in of_the_model(claims).values():
        measure = claim.deciding
        reason = claim.undecided
        if measure is not None and not reason:
            reason = f"{name_of(measure.name)} {shown(measure)}, {threshold_of(measure)}"
        parts = (f"{claim.claim:15}", (f"{claim.verdict:15}", STYLES[claim.verdict]), reason)
        lines.append(Text.assemble(*parts))
    others = [claim for claim in claims if claim.subject != "model"]
    if others:
        passed = [f"{one.subject} ({one.claim})" for one in others if one.verdict != "not supported"]
        verdict = f"not rejected: {', '.join(passed)}" if passed else f"all {len(others)} not supported"
        lines.append(Text(f"{'controls':15}{verdict}"))
    return lines


SHORT = (
    "concept_accuracy",
    "squared_error",
    "needed_codes",
    "reconstructions_recognised",
    "samples_recognised",
    "worst_concept_recognised",
    "own_patch_share",
    "patch_plus_2_share",
    "changed_concept_recognised",
    "negative_log_likelihood",
    "selective_accuracy_90",
)
"""The measures shown at the end of a run; its report and files have all."""


def short_table(measures: Mapping[str, float], claims: Sequence[Claim]) -> Table:
    """Return the main measures of a run under the report's names, with the intervals that the claims have."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    mine = of_the_model(claims).values()
    found = {one.name: one for claim in mine for one in (*claim.measures, *claim.context)}
    for name in SHORT:
        if name in found:
            table.add_row(name_of(name), shown(found[name]))
        elif name in measures:
            table.add_row(name_of(name), value_of(name, float(measures[name])))
    return table


def evaluation_table(title: str, found: Mapping[str, Any]) -> Table:
    """Return the measures of an evaluation, with their intervals where they have one."""
    rows = {}
    for name, value in found.items():
        parts = value if isinstance(value, tuple) else [value]
        for number, part in enumerate(parts, start=1):
            label = name_of(name) + (f", z{subscript(number)}" if isinstance(value, tuple) else "")
            if isinstance(part, dict):
                text = _estimated(name, **part)
            else:
                text = "–" if part is None else part if isinstance(part, str) else _number(name, part)
            rows[label] = text
    if rows.get("pixels") == "gaussian":
        rows["pixels"] = "gaussian: nats and bits are of a density, and may be negative"
    return plain_table(title, rows)


def _number(name: str, value: int | float) -> str:
    """Return a measure's value, or a count as it is."""
    return value_of(name, float(value)) if quantity(name) else f"{value:,}"


def _estimated(name: str, *, estimate: float, low: float, high: float, unit: str) -> str:
    """Return an estimate with its interval; in its own unit where that is not the measure's, as of a loss."""
    known = quantity(name)
    if known is None or known.unit != unit:
        return f"{estimate:.4f}  ({low:.4f} to {high:.4f} {unit})"
    return f"{value_of(name, estimate)}  ({interval_of(name, low, high)})"


def claim_table(claim: Claim) -> Table:
    """Return a claim's measures with interval, threshold and verdict, and the findings that give context."""
    title = f"{claim.claim} · {claim.subject}: {claim.verdict} ({claim.reason})"
    measured = bool(claim.measures or claim.context)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), show_header=measured)
    table.add_column("measure", overflow="fold", min_width=16)
    table.add_column("estimate (95 % interval)", no_wrap=True, min_width=24)
    table.add_column("threshold", overflow="fold")
    table.add_column("verdict", no_wrap=True, min_width=13)
    for measure in claim.measures:
        table.add_row(name_of(measure.name), shown(measure), threshold_of(measure), measure.verdict, style="bold")
    for finding in claim.context:
        table.add_row(name_of(finding.name), shown(finding))
    return table


def comparison_table(result: Comparison) -> Table:
    """Return models side by side; a difference whose interval excludes zero has a star."""
    table = Table(
        "measure",
        *result.models,
        box=SIMPLE_HEAD,
        title=f"{result.data}: each model, and its difference to {result.models[0]} (95 % interval)",
        title_justify="left",
        caption="* the interval of the difference excludes zero; ~ not paired: different images or samples",
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
            table.add_row(name_of(line.name), *cells, style=None if line.decides else "dim")
    return table


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    found = difference.found
    mark = (" *" if difference.clear else "") + ("" if difference.paired else " ~")
    return f"\n{found.estimate:+.3g} ({found.low:+.3g} to {found.high:+.3g}){mark}"
