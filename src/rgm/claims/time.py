"""The claims over time: thresholds, fixed before results are known, and verdicts."""

from collections.abc import Iterator

import torch

from rgm.claims.claim import Claim, decide
from rgm.claims.threshold import Thresholds, above, below, between
from rgm.data.frames import Frames
from rgm.evaluation.statistics import Findings
from rgm.evaluation.time import TIME_PROPERTIES, TimeProperty, TimeResult, findings_of, time_controls
from rgm.runtime.progress import Say
from rgm.temporal.model import TemporalRGM

OVER_TIME: Thresholds = {
    "time_compression": above(8.0),
    "motion_kept": above(0.7),
    "path_recognised": above(0.8),
    "instances_apart": above(0.5),
    "field_share": between(1.0, 1.0),
    "next_frame_over_repeat": below(0.8),
    "next_frame_over_nearest": below(0.8),
    "next_frame_over_soft_memory": below(0.8),
}

NOTHING_MEASURED = "these dynamics, or a single test film, have none of what it takes"
SEEN = "the test films are the training films: give five films or more, or a folder with test films"


def decide_over_time(result: TimeResult) -> list[Claim]:
    """Return the four claims about a model; undecided where its dynamics have nothing to measure."""
    return [_decided(name, result.findings[name], "model") for name in TIME_PROPERTIES]


def control_decisions_over_time(
    model: TemporalRGM, train: Frames, test: Frames, *, seed: int = 0, say: Say = lambda _: None
) -> Iterator[Claim]:
    """Yield the claim of generalisation about the controls, which must fail it; none without unseen films."""
    if torch.equal(train, test):
        return
    say("controls")
    for subject, (control, known, asked) in time_controls(model, train, test[:20], seed=seed).items():
        yield _decided("generalisation", findings_of("generalisation", control, known, asked), subject)


def _decided(name: TimeProperty, found: Findings, subject: str) -> Claim:
    """Return a claim; undecided where nothing was measured."""
    if found:
        return decide(name, found, OVER_TIME, subject=subject)
    reason = SEEN if name == "generalisation" else NOTHING_MEASURED
    return Claim(claim=name, subject=subject, measures=(), undecided=reason)
