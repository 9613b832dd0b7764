"""One inference of a split: what the model reads of every image, and what the judge says of it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.evaluation.judge import Judge, Prediction
from rgm.measures import NeededCodes
from rgm.model.generative import RGM
from rgm.model.results import Inference
from rgm.training.summary import codes_needed


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a model and the judge say of a split's images, all of it on the CPU.

    `images` are in [0, 1]; `original` and `decoded` are the judge's opinions of the images and of their
    reconstructions, None without a judge or labels; `needed` says which codes are needed.
    """

    data: ImageSet
    images: Float[Tensor, "n channels rows columns"]
    inference: Inference
    original: Prediction | None
    decoded: Prediction | None
    needed: NeededCodes

    @cached_property
    def judge_accuracy(self) -> float | None:
        """The share of images that the judge is right on."""
        if self.original is None or self.data.labels is None:
            return None
        return float((self.original.label == self.data.labels).double().mean())


@torch.no_grad()
def read_split(
    model: RGM, data: ImageSet, judge: Judge | None, *, needed: NeededCodes | None = None
) -> Reading:
    """Return what a model and the judge say of a split; `needed` where it is known already."""
    images = to_unit(data.images)
    found = model.infer(images.to(model.device))
    inference = Inference(
        codes=tuple(codes.cpu() for codes in found.codes),
        concept=found.concept.cpu(),
        reconstruction=found.reconstruction.cpu(),
    )
    judged = judge is not None and data.labels is not None
    return Reading(
        data=data,
        images=images,
        inference=inference,
        original=judge.predict(images) if judge and judged else None,
        decoded=judge.predict(inference.reconstruction) if judge and judged else None,
        needed=needed or codes_needed(model, data),
    )
