"""What a run's end says: a line for each verdict with the measure that decides, and the report's names and units."""

import io
from dataclasses import replace

from rich.console import Console

from rgm.claims.claim import Claim, Finding, Measure
from rgm.claims.threshold import above
from rgm.cli.tables import claim_table, short_table, verdict_lines
from rgm.evaluation.measurements import Property
from rgm.evaluation.statistics import Estimate


def measure(name: str, estimate: float, reach: float, low: float) -> Measure:
    found = Estimate(estimate=estimate, low=estimate - reach, high=estimate + reach, unit="share")
    return Measure(name=name, found=found, threshold=above(low))


def claim(name: Property, *measures: Measure, subject: str = "model", undecided: str = "") -> Claim:
    return Claim(claim=name, subject=subject, measures=measures, undecided=undecided)


def lines(*claims: Claim) -> list[str]:
    return [line.plain for line in verdict_lines(claims)]


def test_the_nearest_to_the_wrong_side_decides_what_is_supported() -> None:
    wide, near = measure("recall_ratio", 0.9, 0.1, 0.6), measure("samples_recognised", 0.964, 0.005, 0.95)
    assert lines(claim("instantiation", wide, near)) == [
        "instantiation  supported      samples recognised 96.4 % (95.9 to 96.9), at least 95.0 %"
    ]


def test_the_deepest_on_the_wrong_side_decides_what_is_not() -> None:
    low, lower = (measure("concept_accuracy", 0.97, 0.001, 0.98), measure("concept_information", 0.8, 0.001, 0.93))
    assert lines(claim("abstraction", low, lower)) == [
        "abstraction    not supported  class information in the concept 0.800 (0.799 to 0.801), at least 0.930"
    ]


def test_what_could_not_be_measured_says_why() -> None:
    assert lines(claim("locality", undecided="there are no labels")) == [
        "locality       undecided      there are no labels"
    ]


def test_controls_are_counted_and_one_that_passes_is_named() -> None:
    mine = claim("locality", measure("rank_correlation", 0.98, 0.001, 0.95))
    bad = claim("locality", measure("rank_correlation", 0.1, 0.001, 0.95), subject="flat")
    good = claim("instantiation", measure("samples_recognised", 0.99, 0.001, 0.95), subject="memoriser")
    assert lines(mine, bad)[1:] == ["controls       all 1 not supported"]
    assert lines(mine, bad, good)[1:] == ["controls       not rejected: memoriser (instantiation)"]


def test_the_table_has_the_reports_names_and_intervals_where_there_are_some() -> None:
    decided = claim("abstraction", measure("concept_accuracy", 0.99, 0.002, 0.98))
    said = io.StringIO()
    measures = {"concept_accuracy": 0.99, "needed_codes": 31.0, "squared_error": 0.0049, "displacement_px": 1.0}
    table = short_table(measures, [decided])
    Console(file=said, width=100).print(table)
    assert [line.split("  ")[0] for line in said.getvalue().splitlines()] == [
        "concept accuracy",
        "squared error",
        "codes needed",
    ]
    assert "99.0 % (98.8 to 99.2)" in said.getvalue()
    assert "31 " in said.getvalue()


def test_a_finding_that_decides_nothing_gives_the_table_its_interval() -> None:
    error = Finding(
        name="squared_error", found=Estimate(estimate=0.005, low=0.0049, high=0.0051, unit="grey range squared")
    )
    decided = Claim(claim="abstraction", subject="model", measures=(), context=(error,))
    said = io.StringIO()
    Console(file=said, width=100).print(short_table({}, [decided]))
    assert said.getvalue().split() == ["squared", "error", "0.0050", "(0.0049", "to", "0.0051)"]


def test_a_claims_table_names_its_measures_beside_long_thresholds() -> None:
    found = Estimate(estimate=0.674, low=0.66, high=0.687, unit="share")
    source = "0.90 × the judge's accuracy on real images"
    long = Measure(name="concept_accuracy", found=found, threshold=replace(above(0.772), source=source))
    said = io.StringIO()
    Console(file=said, width=80).print(claim_table(claim("abstraction", long)))
    assert "concept accuracy" in said.getvalue()
    assert "67.4 % (66.0 to 68.7)" in said.getvalue()
    assert "not supported" in said.getvalue()
