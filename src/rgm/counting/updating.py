"""Online learning: expected counts of a batch, and the paper's rule of selective updates."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.emission import Emission, expected_symbols
from rgm.counting.model import CountingRGM
from rgm.counting.posterior import Tables
from rgm.counting.shares import MANY
from rgm.counting.stepwise import expected_totals
from rgm.counting.tree import Tree, expected_pairs
from rgm.data.images import to_unit
from rgm.data.load import arrays_for
from rgm.errors import RGMError

PRECISION = 512.0
"""Precision β of the paper's rule, and the number of images its counts remember."""


def expected_counts(
    model: CountingRGM, images: Float[Tensor, "n channels rows columns"], labels: Int64[Tensor, " n"]
) -> list[Tensor]:
    """Return the expected counts of a batch under p(z | x, c), in the order of `model.counts`.

    Each image adds one to each variate of each group, to each link and to the top: counts are conserved.
    """
    tables = model.tables()
    if not isinstance(tables.tree, Tree) or not isinstance(tables.weighted, Emission):
        return expected_totals(model, images, labels)
    total = [torch.zeros_like(counts) for counts in model.counts]
    symbols, *links, top = total
    last = tables.tree.links[-1]
    for own, some in _by_roots(tables, labels):
        of_tree = [*tables.tree.links[:-1], last[:, own]]
        counted = [*links[:-1], links[-1][:, own]]
        for chunk, known in model.chunks(images[some], labels[some]):
            read = model.symbols(chunk)
            upward = tables.tree.up(tables.weighted.log_prob(read), own)
            root = (upward.root + tables.log_top[known, own]).softmax(dim=1)
            pairs = tables.tree.down(upward, root, own)
            symbols += expected_symbols(pairs.marginals[0], read, model.leaves.levels)
            for counts, link, message, share in zip(counted, of_tree, upward.messages, pairs.shares, strict=True):
                counts += expected_pairs(message, share, link)
            top[:, own].index_add_(0, known, root)
    return total


def _by_roots(tables: Tables, labels: Int64[Tensor, " n"]) -> Iterator[tuple[slice, Tensor]]:
    """Yield root states and the images that can have them: all, or of many those of one class after another."""
    roots = tables.log_top.shape[1]
    if roots < MANY:
        yield slice(0, roots), torch.arange(len(labels), device=labels.device)
        return
    for concept in labels.unique().tolist():
        yield tables.own[concept], (labels == concept).nonzero().flatten()


def mutual_information(counts: Float[Tensor, "*arrays rows columns"]) -> Float[Tensor, " *arrays"]:
    """Return the mutual information of each normalised array's rows and columns, in nats.

    Σ_ij p_ij log p_ij − Σ_i p_i log p_i − Σ_j p_j log p_j, with 0 log 0 = 0; 0 for an empty array.
    """
    total = counts.sum(dim=(-2, -1))
    p = counts / total.clamp_min(torch.finfo(counts.dtype).tiny)[..., None, None]
    joint, rows, columns = (x_log_x(part).sum(dim=-1) for part in (p.flatten(-2), p.sum(dim=-1), p.sum(dim=-2)))
    return (joint - rows - columns).clamp_min(0)


def x_log_x(x: Tensor) -> Tensor:
    """Return x log x, with 0 log 0 = 0; faster than torch.xlogy."""
    return x * x.clamp_min(torch.finfo(x.dtype).tiny).log()


def selective_update(
    counts: Float[Tensor, "*arrays rows columns"],
    more: Float[Tensor, "*arrays rows columns"],
    images: int,
    *,
    precision: float = PRECISION,
) -> Float[Tensor, "*arrays rows columns"]:
    """Return Dirichlet counts updated by those of more images with the paper's rule, array by array.

    P₁ = softmax(β / n · [I(a), I(a + Δ)])₁, a ← (a + P₁ Δ) · (β / (β + P₁))ⁿ: updates that raise the mutual information
    are accepted, and old counts decay. For a single image, n = 1, this is the paper's step; for more, its mini-batch
    variant, with one decision for all of them, by their mean gain.
    """
    gain = mutual_information(counts + more) - mutual_information(counts)
    accepted = torch.sigmoid(precision / images * gain)[..., None, None]
    return (counts + accepted * more) * (precision / (precision + accepted)) ** images


@torch.no_grad()
def update(
    model: CountingRGM, images: Float[Tensor, "n channels rows columns"], labels: Int64[Tensor, " n"], *, select: bool
) -> None:
    """Add the expected counts of labelled images to a model's; with `select`, by `selective_update`.

    Raises RGMError for `select` with a model of pixel values, whose counts are smoothed together.
    """
    if select and model.has_values:
        raise RGMError("the paper's rule selects counts of symbols, not of pixel values: leave `select` out")
    for counts, more in zip(model.counts, expected_counts(model, images, labels), strict=True):
        if not select:
            counts += more
        elif counts.ndim == 4:  # the symbols': one array per variate, its states by its levels
            counts.copy_(selective_update(counts.transpose(1, 2), more.transpose(1, 2), len(images)).transpose(1, 2))
        else:
            counts.copy_(selective_update(counts, more, len(images)))


def partial_fit(model: CountingRGM, images: Any, labels: Any, *, select: bool = False) -> CountingRGM:
    """Add the counts of labelled images, in one batch, and return the model: online learning.

    `images` and `labels` as for `rgm.fit`, of any classes of the model. Each image adds its expected counts under p(z |
    x, c). With `select`, the paper's rule accepts updates that raise the mutual information of each array, and old
    counts decay (`selective_update`). Raises RGMError for images or labels that do not fit the model.
    """
    data = arrays_for(images, labels, shape=model.config.image, classes=model.num_classes, labelled=True)
    assert data.labels is not None
    update(model, to_unit(data.images.to(model.device)), data.labels.to(model.device), select=select)
    return model
