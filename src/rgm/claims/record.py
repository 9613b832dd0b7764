"""Claims as `evidence.json` holds them, and back."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from rgm.claims.claim import Claim, Finding
from rgm.errors import RGMError


def record(claims: Sequence[Claim], data: str) -> dict[str, object]:
    """Return claims as `evidence.json` holds them; what is not finite becomes null."""
    return {
        "version": 1,
        "data": data,
        "claims": [
            {
                "claim": claim.claim,
                "subject": claim.subject,
                "verdict": claim.verdict,
                "reason": claim.reason,
                "measures": [
                    finding_record(measure)
                    | {"threshold": measure.threshold.value, "side": measure.threshold.side, "verdict": measure.verdict}
                    | ({"threshold_source": measure.threshold.source} if measure.threshold.source else {})
                    for measure in claim.measures
                ],
                "context": [finding_record(finding) for finding in claim.context],
            }
            for claim in claims
        ],
    }


def finding_record(finding: Finding) -> dict[str, object]:
    """Return a finding as the files hold it; what is not finite becomes null."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "name": finding.name,
        "unit": finding.found.unit,
        "estimate": number(finding.found.estimate),
        "low": number(finding.found.low),
        "high": number(finding.found.high),
    }


class MeasureRecord(TypedDict):
    """What of a measure in an `evidence.json` others read."""

    name: str
    unit: NotRequired[str]
    estimate: float | None
    low: NotRequired[float | None]
    high: NotRequired[float | None]


class ClaimRecord(TypedDict):
    """What of a claim in an `evidence.json` others read."""

    claim: str
    subject: str
    verdict: NotRequired[str]
    measures: list[MeasureRecord]


class EvidenceRecord(TypedDict):
    """What of an `evidence.json` others read."""

    data: NotRequired[str]
    claims: list[ClaimRecord]


def read_evidence(path: Path) -> EvidenceRecord:
    """Return what others read of an `evidence.json`; raise RGMError for a file that is none."""
    try:
        return TypeAdapter(EvidenceRecord).validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError):
        raise RGMError(f"{path} is no evidence that can be read: `rgm evaluate --claims` writes it anew") from None


def estimates(path: Path) -> dict[str, dict[str, float]]:
    """Return the model's measures by claim and name, as an `evidence.json` has them.

    A claim without measures, or with one that is not finite, is left out. Raises RGMError for a file that is none.
    """
    found: dict[str, dict[str, float]] = {}
    for claim in read_evidence(path)["claims"]:
        known = {measure["name"]: measure["estimate"] for measure in claim["measures"]}
        finite = {name: value for name, value in known.items() if value is not None and math.isfinite(value)}
        if claim["subject"] == "model" and known and len(finite) == len(known):
            found[claim["claim"]] = finite
    return found
