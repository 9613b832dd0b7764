"""One inference of a split: what the model infers of every image, what the judge predicts, and what follows of each."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.evaluation.information import class_share, level_rates_bits
from rgm.evaluation.judge import Classifier, Prediction
from rgm.evaluation.statistics import Estimate, PerImage, calibration_error
from rgm.measures import CodebookUsage, NeededCodes, codebook_usage
from rgm.model.generative import RGM
from rgm.model.results import Inference
from rgm.training.summary import codes_needed


@dataclass(frozen=True, kw_only=True)
class JudgeOnReal:
    """What the judge reaches on a data set's real test images: its accuracy, and I(prediction; class) / H(class)."""

    accuracy: float
    class_information: float


@dataclass(frozen=True, kw_only=True)
class SplitInference:
    """What a model and the judge infer of a split's images, all of it on the CPU, with hard codes throughout.

    `images` are in [0, 1]; `originals` and `reconstructions` are the judge's predictions, None without a judge or
    labels; `needed` says which codes are needed. Every measure of a single image is computed here, once.
    """

    model: RGM
    data: ImageSet
    images: Float[Tensor, "n channels rows columns"]
    inference: Inference
    originals: Prediction | None
    reconstructions: Prediction | None
    needed: NeededCodes

    @cached_property
    def squared_error(self) -> PerImage:
        """The mean squared error of the reconstructions over pixels, in units of the full grey range squared."""
        errors = (self.inference.reconstruction - self.images).square().flatten(1).sum(dim=1).double()
        return PerImage.mean(errors / self.images[0].numel(), "grey range squared")

    @cached_property
    def concept_right(self) -> PerImage | None:
        """Whether the most probable concept is the class; None without labels."""
        if self.data.labels is None:
            return None
        return PerImage.mean(self.inference.concept.argmax(dim=1) == self.data.labels, "share")

    @cached_property
    def calibration_error(self) -> Estimate | None:
        """The expected calibration error of the concept; None without labels."""
        if self.data.labels is None:
            return None
        return calibration_error(self.inference.concept, self.data.labels)

    @cached_property
    def reconstructions_recognised(self) -> PerImage | None:
        """Whether the judge predicts the class from the reconstruction; None without a judge or labels."""
        if self.reconstructions is None or self.data.labels is None:
            return None
        return PerImage.mean(self.reconstructions.label == self.data.labels, "share")

    @cached_property
    def judge_on_real(self) -> JudgeOnReal | None:
        """What the judge reaches on the images themselves; None without a judge or labels."""
        if self.originals is None or self.data.labels is None:
            return None
        predicted, labels = self.originals.label, self.data.labels
        return JudgeOnReal(
            accuracy=float((predicted == labels).double().mean()),
            class_information=class_share(predicted, labels, len(self.data.classes)).value,
        )

    @property
    def judge_accuracy(self) -> float | None:
        """The share of the images themselves that the judge is right on."""
        return None if self.judge_on_real is None else self.judge_on_real.accuracy

    @cached_property
    def usage(self) -> tuple[CodebookUsage, ...]:
        """How every grid's codes are used, the finest first."""
        grids = zip(self.inference.codes, self.model.config.levels, strict=False)
        return tuple(codebook_usage(codes, level.states) for codes, level in grids)

    @cached_property
    def rates_bits(self) -> Float[Tensor, "n levels"]:
        """−log₂ p(z_ℓ | z_{ℓ+1}) of every level, the concept's last, in bits per image."""
        concept = self.inference.concept.argmax(dim=1)[:, None, None]
        return level_rates_bits(self.model, [*self.inference.codes, concept]).cpu().double()


@torch.no_grad()
def infer_split(
    model: RGM, data: ImageSet, judge: Classifier | None, *, needed: NeededCodes | None = None
) -> SplitInference:
    """Return what a model and the judge infer of a split; `needed` where it is known already."""
    images = to_unit(data.images)
    inference = model.infer(images.to(model.device)).map(Tensor.cpu)
    judged = judge is not None and data.labels is not None
    return SplitInference(
        model=model,
        data=data,
        images=images,
        inference=inference,
        originals=judge.predict(images) if judge and judged else None,
        reconstructions=judge.predict(inference.reconstruction) if judge and judged else None,
        needed=needed or codes_needed(model, data, inference.codes[0]),
    )
