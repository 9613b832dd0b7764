import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rgm.claims.claim import Claim, Finding, Measure, decide
from rgm.claims.record import record
from rgm.claims.threshold import DIGITS, MNIST, Threshold, above, between, check_thresholds, thresholds
from rgm.errors import RGMError
from rgm.evaluation.split import JudgeOnReal
from rgm.evaluation.statistics import Estimate, PerImage
from rgm.report.verdicts import threshold_of


def estimate(low: float, high: float) -> Estimate:
    return Estimate(estimate=(low + high) / 2, low=low, high=high, unit="share")


@pytest.mark.parametrize(
    ("threshold", "low", "high", "verdict"),
    [
        (above(0.9), 0.9, 0.95, "supported"),
        (above(0.9), 0.85, 0.95, "undecided"),
        (above(0.9), 0.80, 0.89, "not supported"),
        (between(0.9, 1.1), 0.92, 1.08, "supported"),
        (between(0.9, 1.1), 1.05, 1.15, "undecided"),
        (between(0.9, 1.1), 1.11, 1.15, "not supported"),
        (between(0.9, 1.1), 0.7, 0.8, "not supported"),
        (between(1.0, 1.0), 1.0, 1.0, "supported"),
        (between(1.0, 1.0), 1 - 1e-9, 1.0, "supported"),
        (between(1.0, 1.0), 0.98, 0.99, "not supported"),
        (between(1.0, 1.0), 0.98, 1.0, "undecided"),
        (Threshold(high=2.0), 1.0, 1.9, "supported"),
        (Threshold(high=2.0), 2.1, 2.2, "not supported"),
        (above(0.9), math.nan, math.nan, "undecided"),
    ],
)
def test_the_rule(threshold: Threshold, low: float, high: float, verdict: str) -> None:
    assert threshold.verdict(estimate(low, high)) == verdict


@given(st.floats(-10, 10), st.floats(0, 5), st.floats(-10, 10))
def test_a_wider_interval_never_decides_what_a_narrower_one_did_not(middle: float, reach: float, bound: float) -> None:
    narrow, wide = (above(bound).verdict(estimate(middle - r, middle + r)) for r in (reach, 2 * reach))
    assert narrow == wide or wide == "undecided"


def claim(*verdicts: str, undecided: str = "") -> Claim:
    found = {"supported": (0.95, 0.96), "undecided": (0.85, 0.96), "not supported": (0.1, 0.2)}
    measures = tuple(
        Measure(name=f"m{n}", found=estimate(*found[v]), threshold=above(0.9)) for n, v in enumerate(verdicts)
    )
    return Claim(claim="locality", subject="model", measures=measures, undecided=undecided)


def test_a_claim_is_as_strong_as_its_weakest_measure() -> None:
    assert claim("supported", "supported").verdict == "supported"
    assert claim("supported", "undecided").verdict == "undecided"
    assert claim("supported", "undecided").reason.endswith(": m1")
    assert claim("undecided", "not supported").verdict == "not supported"
    assert claim("undecided", "not supported").reason.endswith(": m1")
    nothing = claim(undecided="class 3 is missing")
    assert (nothing.verdict, nothing.reason) == ("undecided", "class 3 is missing")


def test_the_record_is_json_without_nan() -> None:
    unknown = Measure(name="m", found=estimate(math.nan, math.nan), threshold=between(0.5, 1.5))
    kept = record([Claim(claim="locality", subject="flat", measures=(unknown,))], "mnist")
    found = json.loads(json.dumps(kept, allow_nan=False))["claims"][0]
    assert (found["subject"], found["verdict"]) == ("flat", "undecided")
    assert found["measures"] == [
        {
            "name": "m",
            "unit": "share",
            "estimate": None,
            "low": None,
            "high": None,
            "threshold": [0.5, 1.5],
            "side": "between",
            "verdict": "undecided",
        }
    ]


def test_thresholds_are_those_that_were_fixed() -> None:
    assert thresholds("digits") is DIGITS
    assert thresholds("mnist") is thresholds("pictures") is MNIST
    assert thresholds("mnist", JudgeOnReal(accuracy=0.9, class_information=0.8)) is MNIST
    assert thresholds("fashion-mnist")["concept_accuracy"] == above(0.88)
    assert MNIST["own_patch_concentration"].value == 10
    assert MNIST["diversity_ratio"].value == (0.85, 1.15)
    assert [MNIST[name].side for name in ("receptive_field_share", "recall_ratio")] == ["equals", "above"]
    with pytest.raises(RGMError, match="in order"):
        between(2.0, 1.0)
    with pytest.raises(RGMError, match="in order"):
        Threshold()
    assert DIGITS.keys() == MNIST.keys()


def test_thresholds_of_other_sets_follow_from_what_the_judge_reaches_on_real_images() -> None:
    found = thresholds("pictures", JudgeOnReal(accuracy=0.8, class_information=0.6))
    assert {name: limit.value for name, limit in found.items() if limit != MNIST[name]} == {
        "concept_accuracy": 0.72,
        "concept_information": 0.51,
        "samples_recognised": 0.68,
        "changed_concept_recognised": 0.68,
        "recall_ratio": 0.5,
    }
    assert found.keys() == MNIST.keys()
    limit = found["concept_accuracy"]
    assert limit.source == "0.90 × the judge's accuracy on real images"
    measure = Measure(name="concept_accuracy", found=estimate(0.7, 0.75), threshold=limit)
    (kept,) = record([Claim(claim="abstraction", subject="model", measures=(measure,))], "x")["claims"]  # type: ignore[misc]
    assert kept["measures"][0]["threshold_source"] == limit.source
    assert threshold_of(measure) == "at least 72.0 %, 0.90 × the judge's accuracy on real images"


def test_findings_beside_a_claim_decide_nothing_and_are_kept() -> None:
    beside = Finding.of("encoder_area", PerImage.mean(torch.tensor([0.25, 0.75]), "share"))
    assert beside.images is not None
    with_context = replace(claim("supported"), context=(beside,))
    assert with_context.verdict == "supported"
    (kept,) = record([with_context], "mnist")["claims"][0]["context"]  # type: ignore[index]
    assert (kept["name"], kept["estimate"], kept["unit"]) == ("encoder_area", 0.5, "share")
    assert "threshold" not in kept


def test_thresholds_are_of_measures_that_there_are() -> None:
    with pytest.raises(RGMError, match="unknown measure 'concept_acuracy': did you mean 'concept_accuracy'"):
        check_thresholds({**MNIST, "concept_acuracy": above(0.9)})
    with pytest.raises(RGMError, match=r"the threshold of concept_accuracy is above\(…\), below\(…\) or between"):
        check_thresholds({"concept_accuracy": 0.9})
    check_thresholds({"own_patch_share": above(0.5)})
    assert decide("abstraction", {}, MNIST).reason == "none of its measures has a threshold"
