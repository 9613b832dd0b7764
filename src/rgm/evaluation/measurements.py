"""Everything that is measured of a model on a test split, each once, when it is first needed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Literal, get_args

from rgm.data.images import ImageSet
from rgm.evaluation.abstraction import Abstraction, abstraction
from rgm.evaluation.instantiation import Instantiation, instantiation
from rgm.evaluation.judge import Classifier
from rgm.evaluation.levels import Levels, levels
from rgm.evaluation.locality import Locality, locality
from rgm.evaluation.sample_quality import Quality, Reference, Sampler, quality, reference
from rgm.evaluation.split import SplitInference, infer_split
from rgm.evaluation.statistics import Findings
from rgm.measures import NeededCodes
from rgm.model.generative import RGM
from rgm.runtime.seeds import as_seed

FEWEST = 50
"""Test images that an interval needs at least."""
Property = Literal["abstraction", "instantiation", "locality"]
"""What is claimed of a model."""
PROPERTIES: tuple[Property, ...] = get_args(Property)


@dataclass(frozen=True, kw_only=True)
class SampleSizes:
    """How much is measured.

    `samples` in each of three sets; test images of which every cell is given every other code, at most `cells` (see
    `rgm.evaluation.locality.images_of_cells`), and of which the concept is changed, `concepts`.
    """

    samples: int = 2_000
    cells: int = 256
    concepts: int = 2_048


FULL = SampleSizes()


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """A model, or a control in its place, on a test split: every result is computed when it is first needed.

    `real` gives the real images that samples are compared with; without it and a judge, sample quality is not measured.
    A control that only samples has no other result. `needed`: which codes are needed, where it is known already.
    """

    model: RGM | Sampler
    test: ImageSet
    judge: Classifier | None
    real: Callable[[], Reference] | None = None
    sizes: SampleSizes = FULL
    seed: int = 0
    needed: NeededCodes | None = None

    @property
    def _whole(self) -> RGM:
        assert isinstance(self.model, RGM), "a control that only samples has no codes"
        return self.model

    @cached_property
    def split(self) -> SplitInference:
        """One inference of the test split."""
        return infer_split(self._whole, self.test, self.judge, needed=self.needed)

    @cached_property
    def abstraction(self) -> Abstraction:
        """What the model makes of the images, bottom-up."""
        return abstraction(self.split)

    @cached_property
    def levels(self) -> Levels:
        """What each level keeps; raises RGMError without labels."""
        assert self.judge is not None
        return levels(self.split, self.judge)

    @cached_property
    def quality(self) -> Quality:
        """How good samples are; raises RGMError for too few images of a concept."""
        assert self.real is not None
        return quality(self.model, self.real())

    @cached_property
    def locality(self) -> Locality:
        """What changes with a cell and with the concept."""
        count, concepts = self.sizes.cells, self.sizes.concepts
        return locality(self._whole, self.test, self.judge, count=count, concepts=concepts, seed=self.seed)

    def instantiation(self, quality: Quality | None) -> Instantiation:
        """Return samples and completions, with what was measured of many samples."""
        return instantiation(self._whole, self.test, self.judge, quality, seed=self.seed)

    def findings(self, name: Property) -> Findings:
        """Return the numbers of a claim and its context; raise RGMError where they cannot be measured."""
        match name:
            case "abstraction":
                return self.abstraction.findings() | self.levels.findings()
            case "instantiation":
                return self.quality.findings()
            case "locality":
                return self.locality.findings()


def measure(
    model: RGM,
    train: ImageSet,
    test: ImageSet,
    judge: Classifier | None,
    *,
    sizes: SampleSizes = FULL,
    seed: int = 0,
    needed: NeededCodes | None = None,
) -> Measurements:
    """Return what is measured of a model on a test split; its samples are compared with training images."""
    real = None if judge is None else cache(partial(reference, judge, train, test, limit=sizes.samples, seed=seed))
    return Measurements(model=model, test=test, judge=judge, real=real, sizes=sizes, seed=as_seed(seed), needed=needed)


def undecidable_reason(test: ImageSet) -> str:
    """Return why no claim can be decided on a split, or nothing."""
    if test.labels is None:
        return f"the claims are about classes, but {test.source} has none that are the model's"
    if len(test) < FEWEST:
        return f"an interval needs at least {FEWEST} test images, but there are {len(test)}"
    present = set(test.labels.tolist())
    missing = [name for number, name in enumerate(test.classes) if number not in present]
    return f"no test image shows {', '.join(missing)}: every class must occur" if missing else ""
