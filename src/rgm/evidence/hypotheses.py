"""The three claims put to a model, or to a control in its place: what is measured, and against which threshold."""

from collections.abc import Callable

import torch
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.evidence.claims import Claim, ClaimName, Measure, Thresholds
from rgm.evidence.evaluation import code_rate_bits
from rgm.evidence.information import entropy_bits, lossless_bits, mutual_information
from rgm.evidence.quality import Sampler, quality
from rgm.evidence.statistics import Estimate, bootstrap_mean, bootstrap_ratio
from rgm.experiments.locality import locality
from rgm.judge import Judge
from rgm.model.spatial import SpatialRGM

CELLS_CHANGED = 256
"""Test images of which every cell is given every other code."""
SET = 3_333
"""Samples in each of three draws."""
FEWEST = 50
"""Test images that an interval needs at least."""


def abstraction_claim(
    model: SpatialRGM, test: ImageSet, thresholds: Thresholds, *, subject: str = "model"
) -> Claim:
    """Return whether codes and concept are small and keep the class.

    concept_accuracy     share of test images whose most probable concept is their class
    concept_information  I(z_L; class) / H(class), z_L the most probable concept
    compression          bits of an image's pixels without loss over bits of its codes, −log₂ p(z_1 | z_2)
    """

    def measured() -> dict[str, Estimate]:
        assert test.labels is not None
        read = model.infer(to_unit(test.images).to(model.device)).concept.argmax(dim=1).cpu()
        told = mutual_information(read, test.labels, model.num_classes, len(test.classes))
        rate = bootstrap_mean(code_rate_bits(model, test).cpu(), "bits")
        whole = lossless_bits(test)
        return {
            "concept_accuracy": bootstrap_mean((read == test.labels).double(), "share"),
            "concept_information": told.estimate(entropy_bits(test.labels), "share"),
            "compression": Estimate(
                estimate=whole / rate.estimate, low=whole / rate.high, high=whole / rate.low, unit="ratio"
            ),
        }

    return _claim("abstraction", subject, test, thresholds, measured)


def instantiation_claim(
    model: Sampler,
    judge: Judge,
    train: ImageSet,
    test: ImageSet,
    thresholds: Thresholds,
    *,
    subject: str = "model",
    seed: int = 0,
) -> Claim:
    """Return whether samples show their concept, cover what real images do, and are new; see `Marks`."""

    def measured() -> dict[str, Estimate]:
        samples = quality(model, judge, train, test, draws=3, limit=SET, nets=False, seed=seed).samples
        return {
            "samples_recognised": samples.recognised,
            "recall_ratio": samples.recall_ratio,
            "diversity_ratio": samples.diversity_ratio,
            "nearest_ratio": samples.nearest_ratio,
        }

    return _claim("instantiation", subject, test, thresholds, measured)


def locality_claim(
    model: SpatialRGM,
    judge: Judge,
    test: ImageSet,
    thresholds: Thresholds,
    *,
    subject: str = "model",
    seed: int = 0,
) -> Claim:
    """Return whether a cell changes its place and a concept everything; see `Locality`.

    own_patch_concentration  share of change in the cell's own patch over the patch's share of the image's area
    global_over_local        pixels that another concept changes over pixels that another code in one cell changes
    """

    def measured() -> dict[str, Estimate]:
        found = locality(model, test, judge, count=CELLS_CHANGED, seed=seed)
        assert found.recognised_as_new is not None
        tall, wide = found.patch_size
        rows, columns = model.config.image[1:]
        area = torch.full_like(found.total_change, tall * wide / (rows * columns))

        def share(part: Tensor, unit: str = "share", of: Tensor | None = None) -> Estimate:
            whole = found.total_change if of is None else of
            if not float(whole.sum()) > 0:  # nothing changes anything: no place to speak of
                return Estimate(estimate=float("nan"), low=float("nan"), high=float("nan"), unit=unit)
            return bootstrap_ratio(part, whole, unit)

        return {
            "receptive_field_share": share(found.field_change),
            "patch_plus_2_share": share(found.near_change),
            "own_patch_concentration": share(found.own_change, "ratio", found.total_change * area),
            "rank_correlation": bootstrap_mean(found.rank_correlation, "correlation"),
            "global_over_local": share(found.global_extent, "ratio", found.local_extent),
            "changed_concept_recognised": bootstrap_mean(found.recognised_as_new.double(), "share"),
        }

    return _claim("locality", subject, test, thresholds, measured)


def _claim(
    name: ClaimName,
    subject: str,
    test: ImageSet,
    thresholds: Thresholds,
    measured: Callable[[], dict[str, Estimate]],
) -> Claim:
    """Return a claim; undecided, with the reason, where the images do not allow its measures."""
    reason = _too_little(test)
    found: dict[str, Estimate] = {}
    if not reason:
        try:
            found = measured()
        except RGMError as error:
            reason = str(error)
    measures = tuple(
        Measure(name=key, found=value, threshold=thresholds[key]) for key, value in found.items()
    )
    return Claim(claim=name, subject=subject, measures=measures, undecided=reason)


def _too_little(test: ImageSet) -> str:
    """Return why no claim can be decided on a split, or nothing."""
    if test.labels is None:
        return f"the claims are about classes, but {test.source} has none that are the model's"
    if len(test) < FEWEST:
        return f"an interval needs at least {FEWEST} test images, but there are {len(test)}"
    present = set(test.labels.tolist())
    missing = [name for number, name in enumerate(test.classes) if number not in present]
    return f"no test image shows {', '.join(missing)}: every class must occur" if missing else ""
