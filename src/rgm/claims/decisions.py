"""The claims about a model and about controls, decided one after another."""

from collections.abc import Iterator
from functools import cache, partial

from rgm.claims.claim import CLAIMS, Claim, decide
from rgm.claims.threshold import Thresholds, check_thresholds, thresholds
from rgm.data.images import ImageSet
from rgm.errors import RGMError
from rgm.evaluation.controls import SIZES, TEST_IMAGES, controls, few_of
from rgm.evaluation.measurements import Measurements, Property, undecidable_reason
from rgm.evaluation.sample_quality import reference
from rgm.model.generative import RGM
from rgm.runtime.progress import Say, Watch


def decisions(
    measured: Measurements, limits: Thresholds | None = None, *, say: Say = lambda _: None
) -> Iterator[Claim]:
    """Yield the three claims about a model as they are decided; all are undecided where the images allow no verdict.

    `limits`: thresholds by measure, else those of the data set. Raises RGMError for a measure that there is not.
    """
    if limits is not None:
        check_thresholds(limits)
    reason = undecidable_reason(measured.test)
    for number, name in enumerate(CLAIMS, start=1):
        if reason:
            yield Claim(claim=name, subject="model", undecided=reason)
            continue
        say(f"claim {number} of {len(CLAIMS)}: {name}")
        limits = limits or _limits(measured)
        yield _decided(name, measured, limits)


def control_decisions(
    measured: Measurements,
    train: ImageSet,
    limits: Thresholds | None = None,
    *,
    watch: Watch = lambda _: None,
    say: Say = lambda _: None,
) -> Iterator[Claim]:
    """Yield the claims about the controls, on fewer images; none where the images allow no verdict."""
    model, seed = measured.model, measured.seed
    if undecidable_reason(measured.test) or measured.judge is None or not isinstance(model, RGM):
        return
    limits = limits or _limits(measured)
    test = few_of(measured.test, TEST_IMAGES, seed)
    real = cache(partial(reference, measured.judge, train, test, limit=SIZES.samples, seed=seed))
    for subject, control, names in controls(model, train, seed=seed, watch=watch):
        fewer = Measurements(model=control, test=test, judge=measured.judge, real=real, sizes=SIZES, seed=seed)
        for name in names:
            say(f"control {subject}: {name}")
            yield _decided(name, fewer, limits, subject)


def _limits(measured: Measurements) -> Thresholds:
    """Return the thresholds of a model's test images, which its controls share."""
    return thresholds(measured.test.name, measured.split.judge_on_real)


def _decided(name: Property, measured: Measurements, limits: Thresholds, subject: str = "model") -> Claim:
    """Return a claim, undecided where what it needs cannot be measured."""
    try:
        findings = measured.findings(name)
    except RGMError as error:
        return Claim(claim=name, subject=subject, undecided=str(error))
    return decide(name, findings, limits, subject=subject)
