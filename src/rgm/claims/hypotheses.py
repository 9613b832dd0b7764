"""The three claims put to a model, or to a control in its place: what is measured, and against which threshold."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from torch import Tensor

from rgm.claims.claim import Claim, ClaimName, Finding, Measure, Source, Thresholds
from rgm.data.images import ImageSet
from rgm.errors import RGMError
from rgm.evaluation.judge import Judge
from rgm.evaluation.levels import renormalization
from rgm.evaluation.locality import locality
from rgm.evaluation.reading import Reading
from rgm.evaluation.sample_quality import Reference, Sampler, quality, reference
from rgm.evaluation.statistics import Estimate, PerImage, exactly
from rgm.model.generative import RGM

FEWEST = 50
"""Test images that an interval needs at least."""
DRAWS = 3
"""Independent sets of samples."""


@dataclass(frozen=True, kw_only=True)
class SampleSizes:
    """How much is looked at.

    `samples` in each of `DRAWS` sets; test images of which every cell is given every other code, `cells`, and of which
    the concept is changed, `concepts`.
    """

    samples: int = 2_000
    cells: int = 256
    concepts: int = 2_048


FULL = SampleSizes()
Findings = dict[str, Estimate | PerImage]


def abstraction_claim(
    model: RGM,
    judge: Judge,
    test: ImageSet,
    thresholds: Thresholds,
    *,
    subject: str = "model",
    reading: Reading | None = None,
) -> Claim:
    """Return whether codes and concept are small and keep the class; see `Renormalization`.

    concept_accuracy     share of test images whose most probable concept is their class
    concept_information  I(z_L; class) / H(class), z_L the most probable concept
    compression          bits of the pixels without loss over bits of the codes, −log₂ p(z_1 | z_2)
    """

    def measured() -> tuple[Findings, Source]:
        found = renormalization(model, judge, test, reading=reading)
        pixels, z1, *_, concept = found.levels
        return {
            "concept_accuracy": found.concept_right,
            "concept_information": concept.class_share,
            "compression": PerImage(parts=pixels.bits.parts, wholes=found.code_bits, unit="ratio"),
            "calibration_error": found.calibration_error,
            "pixels_bits": exactly(pixels.bits.estimate().estimate, "bits"),
            "z1_bits": PerImage.mean(found.code_bits, "bits"),
            "concept_bits": exactly(concept.bits.estimate().estimate, "bits"),
            "squared_error": found.squared_error,
            "reconstructions_recognised": found.recognised,
            "z1_class_information": z1.class_share,
            "z1_pixels_explained": z1.pixels_explained,
            "concept_pixels_explained": concept.pixels_explained,
            "codes_in_use": exactly(float(found.usage.in_use), "codes"),
            "perplexity": exactly(found.usage.perplexity, "codes"),
            **{name: exactly(value, "codes") for name, value in found.needed.measures().items()},
        }, found

    return _claim("abstraction", subject, test, thresholds, measured)


def instantiation_claim(
    model: Sampler,
    against: Callable[[], Reference],
    test: ImageSet,
    thresholds: Thresholds,
    *,
    subject: str = "model",
) -> Claim:
    """Return whether samples show their concept, cover what real images do, and are new; see `SampleMetrics`.

    `against` gives the real images that they are held against: `references` of a sizes. It is asked where the claim can
    be decided at all.
    """

    def measured() -> tuple[Findings, Source]:
        found = quality(model, against())
        samples = found.samples
        assert samples.nearest_ratio is not None
        return {
            "samples_recognised": samples.recognised,
            "recall_ratio": samples.recall_ratio,
            "diversity_ratio": samples.diversity_ratio,
            "nearest_ratio": samples.nearest_ratio,
            "worst_concept_recognised": samples.worst_recognised,
            "precision": samples.precision,
            "recall": samples.recall,
            "frechet_ratio": samples.frechet_ratio,
            "frechet_distance": samples.frechet_distance,
        }, found

    return _claim("instantiation", subject, test, thresholds, measured)


def references(
    judge: Judge, train: ImageSet, test: ImageSet, *, sizes: SampleSizes = FULL, seed: int = 0
) -> Callable[[], Reference]:
    """Return what gives the real images for claims of instantiation, worked out when it is first asked."""

    @cache
    def against() -> Reference:
        return reference(judge, train, test, draws=DRAWS, limit=sizes.samples, thorough=False, seed=seed)

    return against


def locality_claim(
    model: RGM,
    judge: Judge,
    test: ImageSet,
    thresholds: Thresholds,
    *,
    subject: str = "model",
    sizes: SampleSizes = FULL,
    seed: int = 0,
) -> Claim:
    """Return whether a cell changes its place and a concept everything; see `Locality`.

    own_patch_concentration  share of change in the cell's own patch over the patch's share of the image's area
    global_over_local        pixels that another concept changes over pixels that another code in one cell changes
    """

    def measured() -> tuple[Findings, Source]:
        found = locality(model, test, judge, count=sizes.cells, concepts=sizes.concepts, seed=seed)
        assert found.recognised_as_new is not None
        tall, wide = found.patch_size
        rows, columns = model.config.image[1:]
        total = found.total_change

        def share(part: Tensor, unit: str = "share", of: Tensor = total) -> PerImage:
            return PerImage(parts=part, wholes=of, unit=unit)

        return {
            "receptive_field_share": share(found.field_change),
            "patch_plus_2_share": share(found.near_change),
            "own_patch_concentration": share(
                found.own_change, "ratio", total * tall * wide / (rows * columns)
            ),
            "rank_correlation": PerImage.mean(found.rank_correlation, "correlation"),
            "global_over_local": share(found.global_extent, "ratio", found.local_extent),
            "changed_concept_recognised": PerImage.mean(found.recognised_as_new, "share"),
            "own_patch_share": share(found.own_change),
            "recognition_field_share": PerImage.mean(found.encoded_locally, "share"),
            "displacement_px": PerImage.mean(found.displacement_px, "pixels"),
            "local_extent": PerImage.mean(found.local_extent, "share"),
            "global_extent": PerImage.mean(found.global_extent, "share"),
            "decoder_area": exactly(found.decoder_area, "share"),
            "encoder_area": exactly(found.encoder_area, "share"),
        }, found

    return _claim("locality", subject, test, thresholds, measured)


def _claim(
    name: ClaimName,
    subject: str,
    test: ImageSet,
    thresholds: Thresholds,
    measured: Callable[[], tuple[Findings, Source]],
) -> Claim:
    """Return a claim; undecided, with the reason, where the images do not allow its measures."""
    reason = undecidable_reason(test)
    found: Findings = {}
    source: Source | None = None
    if not reason:
        try:
            found, source = measured()
        except RGMError as error:
            reason = str(error)
    findings = [Finding.of(key, value) for key, value in found.items()]
    return Claim(
        claim=name,
        subject=subject,
        measures=tuple(
            Measure(name=one.name, found=one.found, images=one.images, threshold=thresholds[one.name])
            for one in findings
            if one.name in thresholds
        ),
        context=tuple(one for one in findings if one.name not in thresholds),
        undecided=reason,
        source=source,
    )


def undecidable_reason(test: ImageSet) -> str:
    """Return why no claim can be decided on a split, or nothing."""
    if test.labels is None:
        return f"the claims are about classes, but {test.source} has none that are the model's"
    if len(test) < FEWEST:
        return f"an interval needs at least {FEWEST} test images, but there are {len(test)}"
    present = set(test.labels.tolist())
    missing = [name for number, name in enumerate(test.classes) if number not in present]
    return f"no test image shows {', '.join(missing)}: every class must occur" if missing else ""
