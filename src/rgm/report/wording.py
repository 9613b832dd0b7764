"""Results in words: lines of tables, and a sentence for each claim."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rgm.evaluation.abstraction import Abstraction
from rgm.evaluation.instantiation import Instantiation
from rgm.evaluation.locality import MARGIN, Locality
from rgm.evaluation.measurements import Property
from rgm.evaluation.quantities import interval_of, percent
from rgm.evaluation.statistics import Estimate, exactly


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of a table: a measure, and what to compare it with (or nothing).

    `threshold` and `verdict` are of a measure that a claim is decided by; else nothing.
    """

    name: str
    found: Estimate
    reference: str = ""
    threshold: str = ""
    verdict: str = ""

    @property
    def interval(self) -> str:
        """The interval as people read it."""
        return interval_of(self.name, self.found.low, self.found.high)


def rows(measures: Mapping[str, float | Estimate], references: Mapping[str, str]) -> list[Row]:
    """Return measures as lines for people, in their own order; `references` says what to compare some of them with."""
    return [
        Row(
            name=name,
            found=found if isinstance(found, Estimate) else exactly(found, ""),
            reference=references.get(name, ""),
        )
        for name, found in measures.items()
    ]


def reference_values(
    abstraction: Abstraction, instantiation: Instantiation, locality: Locality, judge_accuracy: float | None
) -> dict[str, str]:
    """Return what measures are compared with, by name: real data, guessing, or an even spread."""
    usage, *coarser = abstraction.split.usage
    states = len(usage.counts)
    rows_px, columns_px = locality.example.original.shape[1:]
    tall, wide = locality.patch_size
    found = {f"z{level}_codes_in_use": f"of {len(usage.counts)}" for level, usage in enumerate(coarser, start=2)}
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


def findings(
    abstraction: Abstraction, instantiation: Instantiation, locality: Locality, judge_accuracy: float | None
) -> dict[Property, str]:
    """Return the sentences that put the three results in plain words."""
    channels, rows_px, columns_px = abstraction.images.shape[1:]
    cells = abstraction.inference.z1[0].numel()
    pixels = f"{rows_px * columns_px:,} pixels" + (" in colour" if channels == 3 else "")
    off = f"{100 * math.sqrt(abstraction.split.squared_error.value):.0f} %"
    again = f"Reconstructed from the codes alone, a pixel is typically off by {off} of the range from black to white."
    first = f"Here, {cells} codes stand for {pixels}"
    if abstraction.split.concept_right is not None:
        right = percent(abstraction.split.concept_right.value)
        first += f", and {right} of the test images get their right concept from them"
    first += f". {again}"

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
    return {"abstraction": first, "instantiation": second, "locality": third}
