"""Measures of a model on a split after every epoch, and the codes that it needs."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet, to_unit
from rgm.measures import NeededCodes, accuracy, codebook_usage, enough_images, matching, needed_codes, squared_error
from rgm.model.generative import RGM
from rgm.runtime.distributed import current, gathered, total

NEEDED_IMAGES = 2_000
"""Maximum number of images for the measure of needed codes: a fixed random sample."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A split's measures by name, and its images' codes z_1, for further measures of them."""

    measures: dict[str, float]
    z1: Int64[Tensor, "n height width"]


def summary(model: RGM, images: ImageSet, *, clusters: bool = False) -> dict[str, float]:
    """Return a split's measures by name, with hard codes; `clusters`: concepts are matched with the classes."""
    return summarised(model, images, clusters=clusters).measures


def summarised(model: RGM, images: ImageSet, *, clusters: bool = False) -> Summary:
    """Return the measures of `summary` with the codes that they are of."""
    processes, dtype = current(), model.dtype
    z1, concepts, error = list[Tensor](), list[Tensor](), 0.0
    for batch in images.images.tensor_split(processes.count)[processes.rank].split(4096):
        unit = to_unit(batch).to(dtype)
        result = model.infer(unit.to(model.device))
        z1.append(result.z1)
        concepts.append(result.concept)
        error += squared_error(result.reconstruction.cpu(), unit) * len(unit)
    codes = torch.cat(gathered(torch.cat(z1)))
    usage = codebook_usage(codes, model.latent_dim)
    errors = total(torch.tensor(error, dtype=torch.float64, device=model.device))
    measures = {
        "squared_error": float(errors) / len(images),
        "codes_in_use": usage.in_use,
        "perplexity": usage.perplexity,
    }
    if images.labels is not None:
        concept = torch.cat(gathered(torch.cat(concepts))).cpu()
        if clusters:
            classes = matching(concept.argmax(dim=1), images.labels, model.num_classes)
            concept = torch.zeros_like(concept).index_copy_(1, classes, concept)
        measures["concept_accuracy"] = accuracy(concept, images.labels)
    if isinstance(model, CountingRGM) and model.is_eight_bit:
        nats = evidence_nats(model, images)
        measures["negative_log_likelihood_nats"] = float(nats.mean())
        measures["bits_per_dimension"] = float(nats.mean()) / (math.log(2) * math.prod(images.shape))
    return Summary(measures=measures, z1=codes)


def evidence_nats(model: CountingRGM, images: ImageSet) -> Float[Tensor, " n"]:
    """Return −log p(x) of 8-bit images in nats, exact."""
    parts = images.images.split(4096)
    return -torch.cat([model.log_prob(to_unit(part).to(model.dtype)) for part in parts]).cpu().double()


@torch.no_grad()
def codes_needed(model: RGM, images: ImageSet, z1: Int64[Tensor, "n height width"]) -> NeededCodes:
    """Return the codes that a model needs for a split, given all of its z_1; see `NeededCodes`.

    At most 2,000 of its images are taken, fewer of more than 64 cells each.
    """
    most = enough_images(NEEDED_IMAGES, z1[0].numel())
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:most]
    chosen = chosen.sort().values if images.on_disk else chosen
    unit = to_unit(images.images[chosen]).to(model.dtype).to(model.device)
    return needed_codes(model.decode, z1[chosen.to(z1.device)].to(model.device), unit, model.latent_dim)
