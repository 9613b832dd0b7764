"""The three claims as hypotheses, decided by one rule from results and thresholds alone."""

from dataclasses import dataclass

from rgm.claims.threshold import Threshold, Thresholds, Verdict
from rgm.evaluation.measurements import PROPERTIES, Property
from rgm.evaluation.statistics import Estimate, Findings, PerImage
from rgm.evaluation.time import TimeProperty

CLAIMS = PROPERTIES


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A number with its interval; `images` where it is a sum over the split's images, on which two models pair."""

    name: str
    found: Estimate
    images: PerImage | None = None

    @classmethod
    def of(cls, name: str, value: Estimate | PerImage) -> "Finding":
        """Return a number under its name."""
        if isinstance(value, PerImage):
            return cls(name=name, found=value.estimate(), images=value)
        return cls(name=name, found=value)


@dataclass(frozen=True, kw_only=True)
class Measure(Finding):
    """A finding with a threshold."""

    threshold: Threshold

    @property
    def verdict(self) -> Verdict:
        """What the interval says."""
        return self.threshold.verdict(self.found)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One of the three claims about a model or a control, `subject`, and the measures that decide it.

    `context` holds further findings that decide nothing; `undecided` says why no measure could be taken, where
    that is so.
    """

    claim: Property | TimeProperty
    subject: str
    measures: tuple[Measure, ...] = ()
    context: tuple[Finding, ...] = ()
    undecided: str = ""

    @property
    def verdict(self) -> Verdict:
        """Return supported where every measure is, not supported where one is not, else undecided."""
        found = {measure.verdict for measure in self.measures}
        if "not supported" in found:
            return "not supported"
        return "supported" if found == {"supported"} and not self.undecided else "undecided"

    @property
    def deciding(self) -> Measure | None:
        """The measure with the claim's verdict that is nearest to the wrong side or deepest in it, if any."""
        alike = [measure for measure in self.measures if measure.verdict == self.verdict]
        return min(alike, key=lambda one: one.threshold.margin(one.found), default=None)

    @property
    def reason(self) -> str:
        """Return in a line what decided it."""
        if self.undecided or not self.measures:
            return self.undecided or "none of its measures has a threshold"
        deciding = [measure for measure in self.measures if measure.verdict == self.verdict]
        names = ", ".join(measure.name for measure in deciding)
        match self.verdict:
            case "supported":
                return "every measure's interval lies on the right side of its threshold"
            case "not supported":
                return f"the whole interval lies on the wrong side: {names}"
            case _:
                return f"the interval holds the threshold: {names}"


def decide(
    name: Property | TimeProperty, findings: Findings, thresholds: Thresholds, *, subject: str = "model"
) -> Claim:
    """Return a claim about a model or a control: findings with a threshold decide it, the others are its context."""
    found = [Finding.of(key, value) for key, value in findings.items()]
    return Claim(
        claim=name,
        subject=subject,
        measures=tuple(
            Measure(name=one.name, found=one.found, images=one.images, threshold=thresholds[one.name])
            for one in found
            if one.name in thresholds
        ),
        context=tuple(one for one in found if one.name not in thresholds),
    )
