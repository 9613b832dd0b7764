"""Expected counts of forests over the distinct patterns of a batch: what several images share is computed once."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.forest import NEGLIGIBLE, Forest, Layers

LARGEST = 2**62
"""Numbers of combinations of patterns are smaller."""


@dataclass(frozen=True)
class Patterns:
    """The distinct patterns of the pixels of each cell and all cells below it, in a batch; cells as in the `layers`.

    Whatever an upward pass computes of a cell depends on its pattern alone, and what a downward pass adds to the counts
    is linear in the weights of the patterns. So both need one row for each pattern instead of one for each image: a
    quarter of them for handwritten digits, whose borders are blank.

    `values` are the pixels of each cell's patterns, `below` the number of the cell's pattern for each pattern of its
    parent, and for each image in the case of the top cell.
    """

    values: list[Int64[Tensor, "_ variates"]]
    below: list[Int64[Tensor, " _"]]

    @classmethod
    def of(cls, numbers: Int64[Tensor, "cells n variates"], layers: Layers) -> "Patterns":
        """Return the patterns of images, given the number of the value of every pixel by cells in raster order."""
        count = numbers.shape[1]
        images = torch.arange(count, device=numbers.device)
        groups: list[Tensor] = [images] * len(layers.order)
        sizes = [count] * len(layers.order)
        shown: list[Tensor] = [images] * len(layers.order)
        levels = int(numbers.max()) + 1
        for cell in reversed(range(len(layers.order))):
            parts = [(number, levels) for number in numbers[layers.order[cell]].T]
            parts += [(groups[child], sizes[child]) for child in layers.children[cell]]
            key, size = parts[0]
            for part, more in parts[1:]:
                if size * more >= LARGEST:
                    distinct, key = key.unique(return_inverse=True)
                    size = len(distinct)
                key, size = key * more + part, size * more
            distinct, groups[cell] = key.unique(return_inverse=True)
            sizes[cell] = len(distinct)
            shown[cell] = images.new_empty(sizes[cell]).scatter_(0, groups[cell], images)
        values = [numbers[cell].index_select(0, some) for cell, some in zip(layers.order.tolist(), shown, strict=True)]
        above = zip(groups[1:], layers.parent[1:].tolist(), strict=True)
        return cls(values, [groups[0], *(group[shown[parent]] for group, parent in above)])


class PatternPass(NamedTuple):
    """The upward pass of one tree: a row for each pattern of each cell.

    `sent` is the message of a cell to its parent, scaled to a maximum of 1, `here` the product of its leaves' and its
    children's, with the same factor. `evidence` is log p(image | tree) up to the scale of the leaves.
    """

    here: list[Float[Tensor, "_ states"]]
    sent: list[Float[Tensor, "_ states"]]
    evidence: Float[Tensor, " n"]


@dataclass(frozen=True)
class PatternSums:
    """Expected counts of a forest, added to totals; cells of all arrays but `forest.links` are in raster order.

    `likelihood` is p(value | state) up to a factor for each value of each cell, as `ValueEmission.scaled`.
    """

    forest: Forest
    likelihood: Float[Tensor, "cells variates levels states"]
    links: Float[Tensor, "roots cells states states"]
    values: Float[Tensor, "variates cells levels states"]

    def add(
        self, numbers: Int64[Tensor, "cells n variates"], log_roots: Float[Tensor, " own"], own: slice, scale: float
    ) -> Float[Tensor, "n own"]:
        """Add the expected counts of images times `scale`, given log p(root) of their own roots; return p(root | x).

        The trees of these roots have the same edges. One whose posterior is negligible for an image is left out.
        """
        trees = range(self.forest.trees)[own]
        layers = self.forest.layers[trees[0]]
        patterns = Patterns.of(numbers, layers)
        if len(trees) == 1:
            root = log_roots.new_ones(numbers.shape[1], 1)
            self._count(trees[0], patterns, self._up(trees[0], patterns), root[:, 0] * scale)
            return root
        evidence = [self._up(tree, patterns).evidence for tree in trees]
        root = (torch.stack(evidence, dim=1) + log_roots).softmax(dim=1)
        for tree, weight in zip(trees, root.T, strict=True):
            some = (weight > NEGLIGIBLE).nonzero().flatten()
            if len(some):
                part = Patterns.of(numbers[:, some], layers)
                self._count(tree, part, self._up(tree, part), weight[some] * scale)
        return root

    def _up(self, tree: int, patterns: Patterns) -> PatternPass:
        layers, likelihood = self.forest.layers[tree], self.likelihood.unbind()
        links = self.forest.links[0][tree].unbind()
        tiny = torch.finfo(links[0].dtype).tiny
        here, sent, evidence = list(links), list(links), list(links)
        for cell, place in reversed(list(enumerate(layers.order.tolist()))):
            message: Tensor | None = None
            for rows, shown in zip(likelihood[place].unbind(), patterns.values[cell].unbind(1), strict=True):
                found = rows.index_select(0, shown)
                message = found if message is None else message.mul_(found)
            assert message is not None
            log = message.new_zeros(len(message))
            for child in layers.children[cell]:
                message *= sent[child].index_select(0, patterns.below[child])
                log += evidence[child].index_select(0, patterns.below[child])
            above = message @ links[cell].T if cell else message @ links[0][0, :, None]
            largest = above.amax(dim=1, keepdim=True).clamp_min_(tiny)
            here[cell], sent[cell] = message.div_(largest), above.div_(largest)
            evidence[cell] = log.add_(largest[:, 0].log())
        return PatternPass(here, sent, evidence[0].index_select(0, patterns.below[0]))

    def _count(self, tree: int, patterns: Patterns, passed: PatternPass, weight: Float[Tensor, " n"]) -> None:
        """Pass down a tree, and add the counts of images with these weights."""
        layers, totals = self.forest.layers[tree], self.links[tree].unbind()
        links = self.forest.links[0][tree].unbind()
        tiny = torch.finfo(links[0].dtype).tiny
        parents, values = layers.parent.tolist(), self.values.unbind(1)
        posterior: list[Tensor] = []
        for cell, place in enumerate(layers.order.tolist()):
            here, below = passed.here[cell], patterns.below[cell]
            if cell:
                share = torch.zeros_like(here).index_add_(0, below, posterior[parents[cell]])
                share /= passed.sent[cell].clamp_min(tiny)
                totals[place].addcmul_(share.T @ here, links[cell])
                found = (share @ links[cell]).mul_(here)
            else:
                share = weight.new_zeros(len(here), 1).index_add_(0, below, weight[:, None])
                found = here * links[0][0] * share
                totals[place][0] += found.sum(dim=0)
            posterior.append(found)
            for total, shown in zip(values[place].unbind(), patterns.values[cell].unbind(1), strict=True):
                total.index_add_(0, shown, found)
