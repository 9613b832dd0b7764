"""The verdicts in words: each claim, what decided it, and which controls fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rgm.claims.claim import CLAIMS, Claim, Finding, Measure
from rgm.claims.threshold import Verdict
from rgm.evaluation.quantities import interval_of, name_of, value_of
from rgm.report.wording import Row, rows

CONTROLS: dict[str, str] = {
    "untrained": "the same network before it has learned anything",
    "flat": "as many codes, but each depends on and decodes to the whole image",
    "factorised": "each cell drawn on its own, given the concept",
    "shuffled": "each concept taken for the next one",
    "memoriser": "the codes of training images, replayed",
}


@dataclass(frozen=True, kw_only=True)
class Control:
    """A control, what it is, and its verdict on each claim that it was put to."""

    name: str
    meaning: str
    verdicts: tuple[Verdict | None, ...]


def of_the_model(claims: Sequence[Claim]) -> dict[str, Claim]:
    """Return the claims about the model by name."""
    return {claim.claim: claim for claim in claims if claim.subject == "model"}


def controls(claims: Sequence[Claim]) -> list[Control]:
    """Return the controls that were put to the claims."""
    verdicts = {(claim.subject, claim.claim): claim.verdict for claim in claims}
    names = dict.fromkeys(claim.subject for claim in claims if claim.subject != "model")
    return [
        Control(
            name=name, meaning=CONTROLS.get(name, ""), verdicts=tuple(verdicts.get((name, claim)) for claim in CLAIMS)
        )
        for name in names
    ]


def reason_of(claim: Claim) -> str:
    """Return why a claim has its verdict, in a sentence."""
    if claim.undecided:
        return f"Nothing can be said: {claim.undecided}."
    names = [name_of(one.name) for one in claim.measures if one.verdict == claim.verdict]
    match claim.verdict:
        case "supported":
            if len(names) == 1:
                return "The measure lies on the right side of its threshold, with its whole interval."
            return f"All {len(names)} measures lie on the right side of their thresholds, each with its whole interval."
        case "not supported":
            return f"On the wrong side, with the whole interval: {', '.join(names)}."
        case _:
            return f"Too close to call: {', '.join(names)}."


def evidence_rows(
    claims: Sequence[Claim], name: str, measured: Mapping[str, float], held: Mapping[str, str]
) -> list[Row]:
    """Return a claim's findings as lines, those that decide first, and what else an experiment measured."""
    found = of_the_model(claims).get(name)
    findings = [] if found is None else [*found.measures, *found.context]
    others = [claim for claim in claims if claim.claim == name and claim.subject != "model"]
    lines = [_row(finding, others, held) for finding in findings]
    known = {finding.name for finding in findings}
    return lines + rows({key: value for key, value in measured.items() if key not in known}, held)


def _row(finding: Finding, others: Sequence[Claim], held: Mapping[str, str]) -> Row:
    references = [held[finding.name]] if finding.name in held else []
    for claim in others:
        references += [
            f"{claim.subject}: {value_of(one.name, one.found.estimate)} ✗"
            for one in claim.measures
            if one.name == finding.name and one.verdict == "not supported"
        ]
    threshold, verdict = (threshold_of(finding), finding.verdict) if isinstance(finding, Measure) else ("", "")
    reference = "; ".join(references)
    return Row(name=finding.name, found=finding.found, reference=reference, threshold=threshold, verdict=verdict)


def shown(finding: Finding) -> str:
    """Return a finding's estimate and interval as people read them: `96.4 % (95.9 to 96.8)`."""
    found, text = finding.found, value_of(finding.name, finding.found.estimate)
    if not interval_of(finding.name, found.low, found.high):
        return text
    low, high = (value_of(finding.name, bound).partition(" ")[0] for bound in (found.low, found.high))
    return f"{text} ({low} to {high})"


def threshold_of(measure: Measure) -> str:
    """Return a measure's threshold as people read it: `at least 95.0 %`."""
    limit = measure.threshold
    low, high = (value_of(measure.name, bound) for bound in (limit.low, limit.high))
    match limit.side:
        case "equals":
            return low
        case "above":
            return f"at least {low}" + (f", {limit.source}" if limit.source else "")
        case "below":
            return f"at most {high}"
        case _:
            return f"{low} to {high}"
