"""Results in words: lines of tables, and a sentence for each claim."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rgm.evaluation.abstraction import Abstraction
from rgm.evaluation.instantiation import Instantiation
from rgm.evaluation.locality import MARGIN, Locality
from rgm.evaluation.quantities import meaning_of, name_of, percent, value_of


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table: a measure, its value, what to compare it with (or nothing), and what it says.

    `interval`, `threshold` and `verdict` are of a measure that a claim is decided by, or of its context; else nothing.
    """

    name: str
    value: str
    reference: str
    meaning: str
    interval: str = ""
    threshold: str = ""
    verdict: str = ""


def rows(measures: Mapping[str, float], references: Mapping[str, str] | None = None) -> list[Row]:
    """Return measures as lines for people, in their own order; `references` says what to compare some of them with."""
    return [
        Row(
            name=name_of(name),
            value=value_of(name, value),
            reference=(references or {}).get(name, ""),
            meaning=meaning_of(name),
        )
        for name, value in measures.items()
    ]


def reference_values(
    abstraction: Abstraction, instantiation: Instantiation, locality: Locality, judge_accuracy: float | None
) -> dict[str, str]:
    """Return what measures are compared with, by name: real data, guessing, or an even spread."""
    states = len(abstraction.usage.counts)
    rows_px, columns_px = locality.example.original.shape[1:]
    tall, wide = locality.patch_size
    found = {
        f"z{level}_codes_in_use": f"of {len(usage.counts)}"
        for level, usage in enumerate(abstraction.coarser_usage, start=2)
    }
    found |= {
        "codes_in_use": f"of {states}",
        "needed_codes": f"of {states}",
        "perplexity": f"at most {states}",
        "concept_accuracy": f"guessing: {percent(1 / len(instantiation.sheet))}",
        "own_patch_share": f"its share of the area: {percent(tall * wide / (rows_px * columns_px))}",
    }
    if judge_accuracy is not None:
        real = f"real images: {percent(judge_accuracy)}"
        for name in ("reconstructions", "samples", "completions", "changed_concept"):
            found[f"{name}_recognised"] = real
    return found


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What this run found, one sentence for each claim."""

    abstraction: str
    instantiation: str
    locality: str


def findings(
    abstraction: Abstraction, instantiation: Instantiation, locality: Locality, judge_accuracy: float | None
) -> Findings:
    """Return the sentences that put the three results in plain words."""
    channels, rows_px, columns_px = abstraction.images.shape[1:]
    cells = abstraction.inference.z1[0].numel()
    pixels = f"{rows_px * columns_px:,} pixels" + (" in colour" if channels == 3 else "")
    off = _typical(abstraction.squared_error.value)
    again = f"Painted again from the codes alone, a pixel is typically off by {off} of the range from black to white."
    if abstraction.concept_right is None:
        first = f"Here, {cells} codes stand for {pixels}. {again}"
    else:
        right = percent(abstraction.concept_right.value)
        first = (
            f"Here, {cells} codes stand for {pixels}, and {right} of the test images get their "
            f"right concept from them. {again}"
        )

    second = f"Here, {instantiation.count:,} samples were drawn."
    if instantiation.recognised is not None:
        shares = instantiation.measures()
        worst = int(instantiation.recognised.argmin())
        name = instantiation.classes[worst] if instantiation.classes else str(worst)
        seen, least = (percent(shares[key]) for key in ("samples_recognised", "worst_concept_recognised"))
        second = f"Here, the judge recognises {seen} of the samples as their concept"
        if judge_accuracy is not None:
            second += f", against {percent(judge_accuracy)} of real images as their class"
        second += f"; fewest, {least}, for “{name}”."

    shares = locality.measures()
    near, one, all_ = (percent(shares[key]) for key in ("patch_plus_2_share", "local_extent", "global_extent"))
    third = (
        f"Here, {near} of the change that one cell makes lies within {MARGIN} pixels of its patch. One cell visibly "
        f"changes {one} of an image's pixels, another concept {all_}."
    )
    first, second, third = (text.replace(" %", "\N{NO-BREAK SPACE}%") for text in (first, second, third))
    return Findings(abstraction=first, instantiation=second, locality=third)


def _typical(squared_error: float) -> str:
    """Return the root of a mean squared error in per cent of the range."""
    return f"{100 * math.sqrt(squared_error):.0f} %"
