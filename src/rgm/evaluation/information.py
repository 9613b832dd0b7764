"""How much of the class and of the pixels each level keeps, and what codes cost under the prior, in bits."""

import io
import lzma
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor

from rgm.data.images import ImageSet, to_unit
from rgm.errors import RGMError
from rgm.evaluation.statistics import PerImage
from rgm.model.generative import RGM

BATCH = 100
"""Images whose rates are computed at once: the prior's activations of more do not fit a CPU's caches."""
_SIDE, _WEBP = 64, 16_000
"""Images along a side of the sheets that are coded without loss, and the most pixels that such a side may have."""


@dataclass(frozen=True, kw_only=True)
class MutualInformation:
    """The information of variables about the class, in bits, an entry a variable, with 95 % intervals."""

    bits: Float[Tensor, "*variables"]
    low: Float[Tensor, "*variables"]
    high: Float[Tensor, "*variables"]


def entropy_bits(labels: Int64[Tensor, " n"]) -> float:
    """Return the entropy of the labels' own frequencies, in bits."""
    shares = torch.bincount(labels).double() / len(labels)
    return float(-torch.special.xlogy(shares, shares).sum() / math.log(2))


def mutual_information(
    codes: Int64[Tensor, "n *variables"], labels: Int64[Tensor, " n"], states: int, classes: int
) -> MutualInformation:
    """Return I(code; class) in bits of every variable, Σ p(k, c) log₂ p(k, c) / (p(k) p(c)), corrected for its bias.

    The plug-in estimate is too high by about (cells of the table in use − rows in use − columns in use + 1) / 2n nats
    (Miller 1955, Panzeri and Treves 1996), which is taken off. The interval is the normal one, its variance that of
    log p(k, c) / (p(k) p(c)) over images. Raises RGMError for fewer images than classes.
    """
    flat = codes.reshape(len(codes), -1)
    joint, gain, bias = _table(flat, labels, states, classes)
    plain = (joint * gain).sum(dim=(1, 2))
    nats = plain - bias
    variance = (joint * gain.square()).sum(dim=(1, 2)) - plain.square()
    reach = 1.96 * (variance.clamp_min(0) / len(labels)).sqrt()
    shape = codes.shape[1:]
    bits, low, high = ((part.clamp_min(0) / math.log(2)).reshape(shape) for part in (nats, nats - reach, nats + reach))
    return MutualInformation(bits=bits, low=low, high=high)


def class_share(said: Int64[Tensor, " n"], labels: Int64[Tensor, " n"], classes: int) -> PerImage:
    """Return I(what was said; class) / H(class), a mean over images.

    An image's part is log₂ p(k, c) / (p(k) p(c)) of what was said of it and its class, less the bias that
    `mutual_information` corrects.
    """
    _, gain, bias = _table(said[:, None], labels, classes, classes)
    bits = (gain[0, said, labels] - bias[0]) / math.log(2)
    return PerImage(parts=bits, wholes=torch.full_like(bits, entropy_bits(labels)), unit="share")


def _table(
    codes: Int64[Tensor, "n variables"], labels: Int64[Tensor, " n"], states: int, classes: int
) -> tuple[
    Float[Tensor, "variables states classes"], Float[Tensor, "variables states classes"], Float[Tensor, " variables"]
]:
    """Return p(k, c), log p(k, c) / (p(k) p(c)) and the plug-in estimate's bias in nats, of every variable."""
    count, variables = codes.shape
    if count < classes:
        raise RGMError(
            f"mutual information with {classes} classes needs at least as many images, but there are {count}"
        )
    place = (torch.arange(variables) * states + codes) * classes + labels[:, None]
    table = torch.bincount(place.flatten(), minlength=variables * states * classes).double()
    joint = table.reshape(variables, states, classes) / count
    by_code, by_class = joint.sum(dim=2, keepdim=True), joint.sum(dim=1, keepdim=True)
    gain = torch.where(joint > 0, (joint / (by_code * by_class).clamp_min(1e-300)).clamp_min(1e-300).log(), 0.0)
    used, rows, columns = ((part > 0).sum(dim=(1, 2)) for part in (joint, by_code, by_class))
    return joint, gain, (used - rows - columns + 1) / (2 * count)


def lossless_bits(data: ImageSet) -> float:
    """Return the size of an image's pixels without loss, in bits: the better of LZMA and lossless WebP over the split.

    Both code many images together, so that neither pays for a header an image.
    """
    count, channels, rows, columns = data.images.shape
    packed = len(lzma.compress(data.images.permute(0, 2, 3, 1).contiguous().numpy().tobytes(), preset=6))
    side = max(1, min(_SIDE, _WEBP // max(rows, columns)))
    sheets = 0
    for some in data.images.split(side * side):
        sheet = torch.zeros(side * side, channels, rows, columns, dtype=torch.uint8)  # blanks cost next to nothing
        sheet[: len(some)] = some
        tiled = sheet.unflatten(0, (side, side)).permute(0, 3, 1, 4, 2).reshape(side * rows, side * columns, channels)
        buffer = io.BytesIO()
        picture = Image.fromarray((tiled if channels == 3 else tiled[:, :, 0]).numpy())
        picture.save(buffer, format="WEBP", lossless=True, method=4)
        sheets += len(buffer.getvalue())
    return 8 * min(packed, sheets) / count


@torch.no_grad()
def code_rate_bits(model: RGM, data: ImageSet, *, count: int | None = None) -> Float[Tensor, " n"]:
    """Return −log₂ p(z_1 | z_2) of the most probable codes of (the first `count`) images, in bits per image."""
    rates = []
    for batch in to_unit(data.images[:count]).split(BATCH):
        z1, z2, *_ = model.read(batch.to(model.device))
        rates.append(-model.log_prob_given(1, z1, z2) / math.log(2))
    return torch.cat(rates)


@torch.no_grad()
def level_rates_bits(model: RGM, codes: Sequence[Tensor]) -> Float[Tensor, "n levels"]:
    """Return −log₂ p(z_ℓ | z_{ℓ+1}) of every level's codes, the concept's last, in bits per image."""
    levels = []
    for level, (child, parent) in enumerate(pairwise(codes), start=1):
        parts = zip(child.split(BATCH), parent.split(BATCH), strict=True)
        levels.append(torch.cat([-model.log_prob_given(level, *part) / math.log(2) for part in parts]))
    return torch.stack([*levels, torch.full_like(levels[0], math.log2(model.num_classes))], dim=1)
