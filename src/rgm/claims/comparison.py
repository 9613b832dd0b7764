"""Several models put to the same claims, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rgm.claims.claim import Claim, Finding, Measure
from rgm.claims.record import finding_record
from rgm.evaluation.measurements import Property
from rgm.evaluation.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A model's finding less the first model's; `paired` where both are of the same images, resampled together."""

    found: Estimate
    paired: bool

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.found.low > 0 or self.found.high < 0


@dataclass(frozen=True, kw_only=True)
class Line:
    """A measure of every model, and how each but the first differs from the first; None where there is none.

    What is counted, not estimated, has no difference.
    """

    claim: Property
    name: str
    found: tuple[Finding | None, ...]
    differences: tuple[Difference | None, ...]

    @property
    def decides(self) -> bool:
        """Whether the claim's verdict hangs on it."""
        return any(isinstance(finding, Measure) for finding in self.found)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The claims of some models, by their names, on one test split; the first model is the one compared with."""

    data: str
    models: tuple[str, ...]
    claims: tuple[tuple[Claim, ...], ...]
    lines: tuple[Line, ...]

    def record(self) -> dict[str, object]:
        """Return the comparison as `comparison.json` holds it."""
        return {
            "version": 1,
            "data": self.data,
            "models": list(self.models),
            "verdicts": [{claim.claim: claim.verdict for claim in claims} for claims in zip(*self.claims, strict=True)],
            "measures": [
                {
                    "claim": line.claim,
                    "name": line.name,
                    "found": [None if one is None else finding_record(one) for one in line.found],
                    "differences": [
                        None
                        if one is None
                        else finding_record(Finding(name=line.name, found=one.found))
                        | {"paired": one.paired, "clear": one.clear}
                        for one in line.differences
                    ],
                }
                for line in self.lines
            ],
        }


def compare(data: str, models: Mapping[str, Sequence[Claim]]) -> Comparison:
    """Return models side by side, each with the same claims in the same order."""
    claims = tuple(zip(*models.values(), strict=True))
    lines = []
    for alike in claims:
        found = [{one.name: one for one in (*claim.measures, *claim.context)} for claim in alike]
        for name in dict.fromkeys(name for one in found for name in one):
            row = tuple(one.get(name) for one in found)
            lines.append(
                Line(
                    claim=alike[0].claim,
                    name=name,
                    found=row,
                    differences=(None, *(_difference(row[0], other) for other in row[1:])),
                )
            )
    return Comparison(data=data, models=tuple(models), claims=claims, lines=tuple(lines))


def _difference(first: Finding | None, other: Finding | None) -> Difference | None:
    if first is None or other is None:
        return None
    if first.images is not None and other.images is not None:
        return Difference(found=other.images.minus(first.images), paired=True)
    if any(one.images is None and one.found.low == one.found.high for one in (first, other)):
        return None  # a number that is counted has no interval
    return Difference(found=other.found.minus(first.found), paired=False)
