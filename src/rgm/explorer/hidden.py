"""The page's further request to a model of pixel values: what the visible pixels of an image say of the hidden ones."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.counting.model import CountingRGM
from rgm.explorer.base import Answer, Number, as_hidden, as_text
from rgm.explorer.service import EncodeRequest, Explorer, rounded

DRAWS = 10
"""Draws of the hidden pixels that are shown."""
SURPRISED = 8.0
"""Bits beyond which surprises are not told apart: those of an even guess among 256 values."""


class HideRequest(EncodeRequest):
    """An image, and a bit for each of its pixels that is hidden, eight a byte as base64; "" for none."""

    hidden: str = ""
    seed: Number = 0


@dataclass(frozen=True)
class PixelExplorer(Explorer):
    """The service of a tree over pixel values, which also answers for single pixels, exactly."""

    model: CountingRGM
    files: ClassVar[Mapping[str, str]] = {**Explorer.files, "paint.js": "paint.js", "hidden.js": "hidden.js"}

    def requests(self) -> Mapping[str, Callable[[Any], Answer]]:
        """Return the methods that answer requests, by name."""
        return {**super().requests(), "hide": self.hide}

    def about(self) -> Answer:
        """Return the description of the model, and that pixels can be hidden."""
        return {**super().about(), "hides": True}

    def hide(self, request: HideRequest) -> Answer:
        """Return draws, the mean and the most probable explanation of hidden pixels, all given the visible ones.

        With them p(class | visible pixels), −log₂ p(visible pixels), and of every visible pixel −log₂ p(it | all other
        visible pixels), as a share of `SURPRISED` bits and at most 1.
        """
        image, model = self.image(request.pixels), self.model
        hidden = torch.from_numpy(as_hidden(request.hidden, tuple(image.shape[2:]), "pixels"))
        visible = ~hidden[None]
        generator = torch.Generator(model.device).manual_seed(request.seed)
        by_class = model.log_evidence(image, visible=visible)[0]
        chance = model.marginals(image, visible)[0]
        drawn = model.sample_given(
            image.expand(DRAWS, -1, -1, -1), visible.expand(DRAWS, -1, -1), generator=generator
        ).images
        surprise = _surprise(chance, image[0].to(chance)).masked_fill(hidden.to(chance.device), 0.0)
        return {
            "concept": rounded(by_class.softmax(dim=0)),
            "bits": float(math.log(model.num_classes) - by_class.logsumexp(dim=0)) / math.log(2),
            "draws": [as_text(one) for one in drawn],
            "mean": as_text(torch.where(hidden.to(chance.device), _mean(chance), image[0].to(chance))),
            "best": as_text(model.most_probable(image, visible).images[0]),
            "surprise": as_text(surprise[None] / SURPRISED),
        }


def _mean(chance: Float[Tensor, "channels rows columns values"]) -> Float[Tensor, "channels rows columns"]:
    """Return the mean of every pixel's values, in [0, 1]."""
    return chance @ torch.linspace(0, 1, chance.shape[3], dtype=chance.dtype, device=chance.device)


def _surprise(
    chance: Float[Tensor, "channels rows columns values"], image: Float[Tensor, "channels rows columns"]
) -> Float[Tensor, "rows columns"]:
    """Return −log₂ p of every pixel's own values, the mean over channels."""
    number = (image * (chance.shape[3] - 1)).round().long()[..., None]
    return -chance.gather(3, number)[..., 0].clamp_min(torch.finfo(chance.dtype).tiny).log2().mean(dim=0)
