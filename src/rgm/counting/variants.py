"""Ablated trees as controls: without dependence between cells, or without spatial structure."""

from dataclasses import replace

import torch
from torch import Tensor

from rgm.counting.config import CountingConfig
from rgm.counting.leaves import Images, Leaves
from rgm.counting.model import CountingRGM
from rgm.model.receptive import Box
from rgm.model.stored import Level


def factorised(model: CountingRGM) -> CountingRGM:
    """Return a model whose groups are independent given the concept, with the model's marginals p(z_1 | c).

    The levels between are summed out: every cell keeps its marginal and dependence between cells is lost. The root is
    the concept.
    """
    tables, classes = model.tables(), model.num_classes
    share = tables.top[None]  # p(state | class) on a level: (cells, classes, states)
    for level in range(len(model.grids) - 2, -1, -1):
        link = tables.tree.links[level]
        share = torch.bmm(share[tables.tree.parents(level)], link)
    first, *_, concept = model.config.levels
    root = Level(grid=(1, 1), states=classes)
    found = CountingRGM(replace(model.config, levels=(first, root, concept))).to(share)
    found.leaves.load_state_dict(model.leaves.state_dict())
    symbols, links, top = found.counts
    symbols.copy_(model.counts[0])
    links.copy_(share)
    top.copy_(torch.eye(classes))
    return found.eval()


class Scattered(CountingRGM):
    """A model of images with one fixed permutation of pixels: as many codes and bits, without spatial structure."""

    def __init__(self, config: CountingConfig, *, seed: int) -> None:
        super().__init__(config)
        pixels = config.image[1] * config.image[2]
        order = torch.randperm(pixels, generator=torch.Generator().manual_seed(seed))
        self.leaves = _Shuffled(self.leaves, order, config.image)


class _Shuffled(Leaves):
    """Leaves of images with permuted pixels."""

    def __init__(self, inner: Leaves, order: Tensor, image: tuple[int, int, int]) -> None:
        super().__init__()
        self.inner, self.image = inner, image
        self.grid, self.variates, self.levels = inner.grid, inner.variates, inner.levels
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def weights(self) -> Tensor:
        return self.inner.weights()

    def likelihood_weights(self) -> Tensor:
        return self.inner.likelihood_weights()

    def exists(self) -> Tensor:
        return self.inner.exists()

    def fit(self, images: Images) -> None:
        self.inner.fit(self._permuted(images, "order"))

    def read(self, images: Images) -> Tensor:
        return self.inner.read(self._permuted(images, "order"))

    def visible_symbols(self, visible: Tensor) -> Tensor:
        return self.inner.visible_symbols(self._permuted(visible, "order"))

    def appearance(self, shares: Tensor) -> Tensor:
        return self.inner.appearance(shares)

    def decode(self, appearance: Tensor) -> Tensor:
        return self._permuted(self.inner.decode(appearance), "back")

    def field(self, row: int, column: int) -> Box:  # noqa: ARG002 - anywhere
        _, rows, columns = self.image
        return Box.of(0, 0, rows, columns)

    def _permuted(self, images: Tensor, order: str) -> Tensor:
        return images.flatten(-2)[..., getattr(self, order)].unflatten(-1, images.shape[-2:])
