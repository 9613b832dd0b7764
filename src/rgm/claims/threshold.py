"""Thresholds of measures, fixed for a data set before its results are known."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rgm.errors import RGMError, unknown
from rgm.evaluation.quantities import QUANTITIES
from rgm.evaluation.split import JudgeOnReal
from rgm.evaluation.statistics import Estimate

Side = Literal["above", "below", "between", "equals"]
Verdict = Literal["supported", "not supported", "undecided"]
ROUNDING = 1e-6
"""How far from its threshold a share that must equal it may lie."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The range in which a measure must lie: `low` alone, `high` alone, both for a range, or equal ones for a value.

    `source` says what it follows from; nothing where it was fixed for the data set.
    """

    low: float = -math.inf
    high: float = math.inf
    source: str = ""

    def __post_init__(self) -> None:
        """Raise RGMError for a range that holds nothing, or everything."""
        if not self.low <= self.high or (math.isinf(self.low) and math.isinf(self.high)):
            raise RGMError(f"a threshold needs a lower or an upper bound in order, not {self.low} … {self.high}")

    @property
    def side(self) -> Side:
        """Where a measure must lie."""
        if self.low == self.high:
            return "equals"
        if math.isinf(self.high):
            return "above"
        return "below" if math.isinf(self.low) else "between"

    @property
    def value(self) -> float | tuple[float, float]:
        """The bound, or both of a range."""
        match self.side:
            case "between":
                return self.low, self.high
            case "below":
                return self.high
            case _:
                return self.low

    def __str__(self) -> str:
        """Return the threshold as people write it."""
        match self.side:
            case "equals":
                return f"= {self.low:g}"
            case "above":
                return f"≥ {self.low:g}"
            case "below":
                return f"≤ {self.high:g}"
            case _:
                return f"{self.low:g} to {self.high:g}"

    def margin(self, found: Estimate) -> float:
        """Return an estimate's distance from the nearer bound in half-widths of its interval; negative outside."""
        inside = min(found.estimate - self.low, self.high - found.estimate)
        half = (found.high - found.low) / 2
        return inside / half if half > 0 else math.copysign(math.inf, inside)

    def verdict(self, found: Estimate) -> Verdict:
        """Return `supported` where the whole interval lies on the right side, `not supported` where none of it does."""
        if not all(map(math.isfinite, (found.estimate, found.low, found.high))):
            return "undecided"
        slack = ROUNDING if self.side == "equals" else 0.0
        if self.low - slack <= found.low and found.high <= self.high + slack:
            return "supported"
        if found.high < self.low - slack or found.low > self.high + slack:
            return "not supported"
        return "undecided"


def above(low: float) -> Threshold:
    """Return a threshold from below."""
    return Threshold(low=low)


def below(high: float) -> Threshold:
    """Return a threshold from above."""
    return Threshold(high=high)


def between(low: float, high: float) -> Threshold:
    """Return a range."""
    return Threshold(low=low, high=high)


Thresholds = Mapping[str, Threshold]
"""The threshold of every measure by name, fixed for a data set before its results are known."""

MNIST: Thresholds = {
    "concept_accuracy": above(0.98),
    "concept_information": above(0.93),
    "compression": above(8.0),
    "samples_recognised": above(0.95),
    "recall_ratio": above(0.6),
    "diversity_ratio": between(0.85, 1.15),
    "nearest_ratio": above(0.85),
    "receptive_field_share": between(1.0, 1.0),
    "patch_plus_2_share": above(0.90),
    "own_patch_concentration": above(10.0),
    "rank_correlation": above(0.95),
    "global_over_local": above(3.0),
    "changed_concept_recognised": above(0.95),
}
DIGITS: Thresholds = {
    **MNIST,
    "concept_accuracy": above(0.90),
    "concept_information": above(0.80),
    "compression": above(4.0),
    "samples_recognised": above(0.85),
    "recall_ratio": above(0.4),
    "diversity_ratio": between(0.75, 1.25),
    "nearest_ratio": above(0.75),
    "patch_plus_2_share": above(0.80),
    "rank_correlation": above(0.90),
    "changed_concept_recognised": above(0.85),
}
"""Those of scikit-learn's digits, 8 × 8 pixels enlarged, and a fortieth of MNIST's images: lower where less can be
learned from so few. Recognition's stood at 0.75 until a factorised prior reached it, on the digits, and was raised."""


FASHION_MNIST: Thresholds = {
    **MNIST,
    "concept_accuracy": above(0.88),
    "concept_information": above(0.80),
    "samples_recognised": above(0.85),
    "changed_concept_recognised": above(0.85),
}
"""Those of Fashion-MNIST, whose shirts, coats and pullovers are alike: classifiers of its size are right in 93 %."""
OWN: Mapping[str, Thresholds] = {"mnist": MNIST, "digits": DIGITS, "fashion-mnist": FASHION_MNIST}
"""The data sets that have thresholds of their own."""
RECALL_OF_REAL = 0.5
"""Least recall of samples over that of real images, on data sets without thresholds of their own."""


def check_thresholds(limits: Mapping[str, object]) -> None:
    """Raise RGMError for thresholds of measures that there are not, or that are no `Threshold`."""
    for name, limit in limits.items():
        if name not in QUANTITIES:
            raise unknown("measure", name, QUANTITIES)
        if not isinstance(limit, Threshold):
            raise RGMError(f"the threshold of {name} is above(…), below(…) or between(…), not {limit!r}")


def thresholds(data: str, judge: JudgeOnReal | None = None) -> Thresholds:
    """Return a data set's thresholds: its own, or those that follow from real images by one rule.

    With J the judge's accuracy on real test images and I its class information: concept accuracy ≥ 0.90 J, concept
    information ≥ 0.85 I, samples and changed concepts recognised ≥ 0.85 J, recall ≥ 0.5 of real; the rest, and all of
    them without a judge, as for MNIST.
    """
    if data in OWN or judge is None:
        return OWN.get(data, MNIST)

    def share(factor: float, of: float, what: str) -> Threshold:
        return Threshold(low=round(factor * of, 4), source=f"{factor:.2f} × {what} on real images")

    right, known = "the judge's accuracy", "the judge's class information"
    return {
        **MNIST,
        "concept_accuracy": share(0.90, judge.accuracy, right),
        "concept_information": share(0.85, judge.class_information, known),
        "samples_recognised": share(0.85, judge.accuracy, right),
        "changed_concept_recognised": share(0.85, judge.accuracy, right),
        "recall_ratio": above(RECALL_OF_REAL),
    }
