"""The edges of Chow–Liu trees: spanning trees of most mutual information, given the class or of each class."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.tree import Grid

CLOSE = 1e-6
"""Nats that are taken from a pair's information for every unit of squared distance: cells that never vary, as those of
a border, depend on cells near them."""


def information(symbols: Int64[Tensor, "n cells"], levels: int) -> Float[Tensor, "cells cells"]:
    """Return the mutual information I(s_i; s_j) of all pairs of cells, in nats."""
    cells = symbols.shape[1]
    shown = torch.nn.functional.one_hot(symbols, levels).float().flatten(1)
    joint = (shown.T @ shown / len(symbols)).view(cells, levels, cells, levels)
    single = _entropy(shown.mean(dim=0).view(cells, levels), (1,))
    return single[:, None] + single - _entropy(joint, (1, 3))


def conditional_information(
    symbols: Int64[Tensor, "n cells"], labels: Int64[Tensor, " n"], levels: int
) -> Float[Tensor, "cells cells"]:
    """Return I(s_i; s_j | class) = Σ_c p(c) I(s_i; s_j | c) of all pairs of cells, in nats (Friedman et al. 1997)."""
    total = torch.zeros(symbols.shape[1], symbols.shape[1])
    for concept in labels.unique().tolist():
        own = symbols[labels == concept]
        total += len(own) / len(symbols) * information(own, levels)
    return total


def class_trees(
    symbols: Int64[Tensor, "n cells"], labels: Int64[Tensor, " n"], levels: int, grid: Grid, classes: int
) -> Int64[Tensor, "classes cells"]:
    """Return the parents in each class's Chow–Liu tree, −1 for the top, which is the same cell in all trees.

    A pair's weight is the sum of its information in the class and of that given the class: classes have few images
    each, and share edges where that costs little. A class without images has the weights of the latter alone.
    """
    given = conditional_information(symbols, labels, levels)
    top = int((spanning_tree(given, grid) < 0).nonzero())
    trees = []
    for concept in range(classes):
        own = symbols[labels == concept]
        trees.append(spanning_tree(information(own, levels) + given if len(own) else given, grid, top))
    return torch.stack(trees)


def spanning_tree(
    information: Float[Tensor, "cells cells"], grid: Grid, top: int | None = None
) -> Int64[Tensor, " cells"]:
    """Return each cell's parent in the spanning tree of most information, −1 for the top, by default the tree's middle.

    Prim's algorithm; Chow and Liu 1968 show that this tree's likelihood is the largest of all trees'.
    """
    rows, columns = (axis.flatten() for axis in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    distance = (rows[:, None] - rows).square() + (columns[:, None] - columns).square()
    weight = information - CLOSE * distance
    count = len(weight)
    inside = torch.zeros(count, dtype=torch.bool)
    best, nearest = torch.full((count,), -torch.inf), torch.zeros(count, dtype=torch.int64)
    neighbours: list[list[int]] = [[] for _ in range(count)]
    cell = count // 2
    for _ in range(count - 1):
        inside[cell] = True
        closer = (weight[cell] > best) & ~inside
        best, nearest = torch.where(closer, weight[cell], best), torch.where(closer, cell, nearest)
        cell = int(best.masked_fill(inside, -torch.inf).argmax())
        other = int(nearest[cell])
        neighbours[cell].append(other)
        neighbours[other].append(cell)
    if top is not None:
        return torch.tensor(_walk(neighbours, top)[1])
    far = _walk(neighbours, 0)[0][-1]
    order, parents = _walk(neighbours, far)
    path = [order[-1]]
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    return torch.tensor(_walk(neighbours, path[len(path) // 2])[1])


def _walk(neighbours: list[list[int]], start: int) -> tuple[list[int], list[int]]:
    """Return the cells by their distance from one, and each one's neighbour towards it, −1 for itself."""
    parents = [-2] * len(neighbours)
    parents[start], order = -1, [start]
    for cell in order:
        for other in neighbours[cell]:
            if parents[other] == -2:
                parents[other] = cell
                order.append(other)
    return order, parents


def _entropy(p: Tensor, dims: tuple[int, ...]) -> Tensor:
    return -(p * p.clamp_min(torch.finfo(p.dtype).tiny).log()).sum(dim=dims)
