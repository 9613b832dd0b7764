"""Trees that lack one thing each: what is learned as a whole, or where it lies. Controls are made of them."""

from dataclasses import replace

import torch
from torch import Tensor

from rgm.counting.config import CountingConfig, CountingLevel
from rgm.counting.model import CountingRGM
from rgm.counting.symbols import Images, Leaves
from rgm.model.receptive import Box


def factorised(model: CountingRGM) -> CountingRGM:
    """Return a model whose groups are independent given the concept, each as it is in the model: p(z_1 | c) by cells.

    p(z_1 = k | c) is summed over all that lies between, so that every cell is as probable as before and what they have
    in common is lost. The root is the concept.
    """
    tables, classes = model.tables(), model.num_classes
    share = tables.top[None]  # what each class says of a level's states: (cells, classes, states)
    for level in range(len(model.grids) - 2, -1, -1):
        link = tables.tree.links[level]
        share = torch.bmm(share[tables.tree.parents(level)], link)
    first, *_, concept = model.config.levels
    root = CountingLevel(grid=(1, 1), states=classes)
    found = CountingRGM(replace(model.config, levels=(first, root, concept))).to(share)
    found.leaves.load_state_dict(model.leaves.state_dict())
    symbols, links, top = found.counts
    symbols.copy_(model.counts[0])
    links.copy_(share)
    top.copy_(torch.eye(classes))
    return found.eval()


class Scattered(CountingRGM):
    """A model of images whose pixels are shuffled, all in one way: as many codes and bits, and no cell has a place."""

    def __init__(self, config: CountingConfig, *, seed: int) -> None:
        super().__init__(config)
        pixels = config.image[1] * config.image[2]
        order = torch.randperm(pixels, generator=torch.Generator().manual_seed(seed))
        self.leaves = _Shuffled(self.leaves, order, config.image)


class _Shuffled(Leaves):
    """Other leaves, of images whose pixels are in another order."""

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
        self.inner.fit(self._moved(images, "order"))

    def read(self, images: Images) -> Tensor:
        return self.inner.read(self._moved(images, "order"))

    def seen(self, visible: Tensor) -> Tensor:
        return self.inner.seen(self._moved(visible, "order"))

    def appearance(self, shares: Tensor) -> Tensor:
        return self.inner.appearance(shares)

    def paint(self, look: Tensor) -> Tensor:
        return self._moved(self.inner.paint(look), "back")

    def field(self, row: int, column: int) -> Box:  # noqa: ARG002 - anywhere
        _, rows, columns = self.image
        return Box.of(0, 0, rows, columns)

    def _moved(self, images: Tensor, order: str) -> Tensor:
        return images.flatten(-2)[..., getattr(self, order)].unflatten(-1, images.shape[-2:])
