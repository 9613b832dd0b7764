"""Ablated trees as controls: without dependence between cells, or without spatial structure."""

from dataclasses import replace

import torch
from torch import Tensor

from rgm.counting.config import CountingConfig
from rgm.counting.forest import Forest
from rgm.counting.model import CountingRGM
from rgm.counting.posterior import Visible
from rgm.counting.tree import Tree, Upward
from rgm.model.generative import Codes, Images
from rgm.model.receptive import Box
from rgm.model.stored import Level

FIRM = 1e6
"""Counts of a marginal that smoothing leaves as it is."""


def factorised(model: CountingRGM) -> CountingRGM:
    """Return a model whose groups are independent given the concept, with the model's marginals p(z_1 | c).

    The levels between are summed out: every cell keeps its marginal and dependence between cells is lost. The root is
    the concept.
    """
    tables, classes = model.tables(), model.num_classes
    share = tables.top[None]  # p(state | class) on a level: (cells, classes, states)
    match tables.tree:
        case Forest():
            share = share @ tables.tree.marginals()
        case Tree():
            for level in range(len(model.grids) - 2, -1, -1):
                link = tables.tree.links[level]
                share = torch.bmm(share[tables.tree.parents(level)], link)
    first, *_, concept = model.config.levels
    root = Level(grid=(1, 1), states=classes)
    found = CountingRGM(replace(model.config, levels=(first, root, concept), structure="blocks")).to(share)
    found.leaves.load_state_dict(model.leaves.state_dict())
    symbols, links, top = found.counts
    symbols.copy_(model.counts[0])
    links.copy_(share * (FIRM if model.has_values else 1))
    top.copy_(torch.eye(classes) * (FIRM if model.has_values else 1))
    return found.eval()


class Scattered(CountingRGM):
    """A model of images with one fixed permutation of pixels: as many codes and bits, without spatial structure."""

    order: Tensor

    def __init__(self, config: CountingConfig, *, seed: int) -> None:
        super().__init__(config)
        pixels = config.image[1] * config.image[2]
        self.register_buffer("order", torch.randperm(pixels, generator=torch.Generator().manual_seed(seed)))
        self.leaves.disjoint = False

    def fit_symbols(self, images: Images) -> None:
        """Fit the parameters of the symbols, if there are any."""
        super().fit_symbols(_permuted(images, self.order))

    def symbols(self, images: Images) -> Tensor:
        """Return the symbols of permuted images."""
        return super().symbols(_permuted(images, self.order))

    def upward(self, images: Images, *, likelihood: bool = False, visible: Visible | None = None) -> Upward:
        """Return the upward pass of one batch."""
        mask = None if visible is None else _permuted(visible, self.order)
        return super().upward(images, likelihood=likelihood, visible=mask)

    def decoder_field(self, row: int, column: int) -> Box:
        """Return the pixels that a cell of z_1 can change: they may be anywhere."""
        return self.encoder_field(row, column)

    def _decode(self, z1: Codes) -> Images:
        return _permuted(super()._decode(z1), self.order.argsort())


def _permuted(images: Tensor, order: Tensor) -> Tensor:
    return images.flatten(-2)[..., order].unflatten(-1, images.shape[-2:])
