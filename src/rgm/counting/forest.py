"""Trees over the cells of one grid, one for every state of the root: exact sum–product, a layer of cells at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.counting.tree import EVERY, Grid, Log, Message, Pairs, Upward, max_product, safe_log
from rgm.distributions.noise import Source, exponential
from rgm.errors import RGMError

NEGLIGIBLE = 1e-9
"""Posterior probability of a tree below which its marginals are left out of a mixture's."""


class UpwardPass(NamedTuple):
    """The upward pass of one tree, cells in the order of its layers.

    `inner` is the product of the messages of a cell's children, each scaled to a maximum of 1; `outer` the message that
    the cell sends to its parent, not scaled.
    """

    evidence: Float[Tensor, " n"]
    inner: Float[Tensor, "cells n states"]
    outer: Float[Tensor, "cells n states"]
    top: Float[Tensor, "n states"]


@dataclass(frozen=True)
class Layers:
    """The cells of a tree from its top down: `order` lists them, `parent` is each one's parent in this order.

    A layer holds the cells of one depth, `bounds` says from where to where; the cells of a layer whose parents are
    pairwise different form a round, so that messages of a round are multiplied into the parents at once.
    """

    order: Int64[Tensor, " cells"]
    parent: Int64[Tensor, " cells"]
    bounds: tuple[tuple[int, int], ...]
    rounds: tuple[tuple[Int64[Tensor, " _"], ...], ...]

    @classmethod
    def of(cls, parents: Int64[Tensor, " cells"]) -> "Layers":
        """Return the layers of a tree, each cell's parent given, −1 for the top.

        Raises RGMError for parents that do not form one tree.
        """
        known = parents.tolist()
        children: list[list[int]] = [[] for _ in known]
        tops = [cell for cell, parent in enumerate(known) if parent == -1]
        for cell, parent in enumerate(known):
            if not -1 <= parent < len(known):
                raise RGMError(f"cell {cell} has the parent {parent}, but the cells are 0 … {len(known) - 1}")
            if parent >= 0:
                children[parent].append(cell)
        layers = [tops]
        while layers[-1]:
            layers.append([child for cell in layers[-1] for child in children[cell]])
        order = [cell for layer in layers for cell in layer]
        if len(tops) != 1 or len(order) != len(known):
            raise RGMError(
                f"parents form one tree, but these have {len(tops)} tops and reach {len(order)} of {len(known)} cells"
            )
        place = {cell: number for number, cell in enumerate(order)}
        bounds, rounds, start = [], [], 0
        for layer in layers[:-1]:
            ranks = [children[known[cell]].index(cell) if known[cell] >= 0 else 0 for cell in layer]
            rank = torch.tensor(ranks)
            rounds.append(tuple((rank == number).nonzero().flatten() for number in range(max(ranks) + 1)))
            bounds.append((start, start + len(layer)))
            start += len(layer)
        parent = torch.tensor([place[known[cell]] if known[cell] >= 0 else 0 for cell in order])
        return cls(torch.tensor(order), parent, tuple(bounds), tuple(rounds))

    @cached_property
    def children(self) -> list[list[int]]:
        """The children of each cell, all in the order of the layers."""
        found: list[list[int]] = [[] for _ in range(len(self.parent))]
        for cell, parent in enumerate(self.parent.tolist()[1:], 1):
            found[parent].append(cell)
        return found

    def to(self, device: torch.device) -> "Layers":
        """Return the layers on a device."""
        rounds = tuple(tuple(some.to(device) for some in layer) for layer in self.rounds)
        return Layers(self.order.to(device), self.parent.to(device), self.bounds, rounds)


@dataclass(frozen=True)
class Forest:
    """p(z_1 | root) = p(z_top | root) · Π_cells p(z_i | z_parent(i), root): a mixture of trees over one grid.

    `links[0][root, cell, parent's state, own state]` are the tables, with cells in the order of each tree's `layers`;
    row 0 of the top cell, the first, is p(z_top | root). The interface is that of `rgm.counting.tree.Tree` with one
    level below the root: leaves enter as log p(leaf | z_1), 0 for hidden ones, with cells in raster order.
    """

    grids: tuple[Grid, ...]
    links: Sequence[Float[Tensor, "roots cells states states"]]
    layers: tuple[Layers, ...]

    @property
    def trees(self) -> int:
        """Number of trees, the states of the root."""
        return len(self.links[0])

    def up(self, leaves: Log, roots: slice = EVERY) -> Upward:
        """Return log p(leaves | root) for every root state, and the leaves' likelihoods scaled to a maximum of 1."""
        likelihood, scale = self._likelihood(leaves), leaves.amax(dim=2).sum(dim=0)
        passed = [
            self.passed(likelihood.index_select(0, self.layers[tree].order), tree, keep=False).evidence
            for tree in self._chosen(roots)
        ]
        evidence = torch.stack(passed, dim=1)
        return Upward([Message(likelihood, None, evidence[None])], evidence + scale[:, None])

    def down(self, upward: Upward, root: Float[Tensor, "n roots"], roots: slice = EVERY) -> Pairs:
        """Return every cell's posterior given the root's, and p(z_1 | all other leaves) over p(leaf | other leaves)."""
        likelihood = upward.messages[0].here
        marginal, rest = torch.zeros_like(likelihood), torch.zeros_like(likelihood)
        for tree, weight, some in self._mixture(root, roots):
            order = self.layers[tree].order[:, None]
            part = likelihood[order, some]
            passed = self.passed(part, tree)
            posterior = torch.empty_like(part)
            for (start, end), above in self._downward(passed, part, tree, weight, posterior):
                rest[order[start:end], some] += above * passed.inner[start:end]
            marginal[order, some] += posterior
        return Pairs([marginal], [rest])

    def cavity(self, pairs: Pairs) -> Float[Tensor, "cells n states"]:
        """Return p(z_1 = k | all other leaves) / p(leaf | all other leaves) of every cell, up to the leaf's scale."""
        (rest,) = pairs.shares
        assert isinstance(rest, Tensor)
        return rest

    def rates(
        self,
        upward: Upward,
        pairs: Pairs,  # noqa: ARG002 - as for a tree
        root: Float[Tensor, "n roots"],
        distortion: Float[Tensor, " n"],
    ) -> list[Float[Tensor, " n"]]:
        """Return E[log p(z_1 | root, x) / p(z_1 | root)] = −E[log p(x | root)] + E[log p(x | z_1)] in nats."""
        likely = torch.where(root > 0, root * upward.root, 0.0).sum(dim=1)
        return [-likely - distortion]

    def descend(
        self,
        root: Int64[Tensor, "n ..."],
        generator: Source,
        *,
        temperature: float = 1.0,
        level: int | None = None,
        messages: Sequence[Message] | None = None,
        fixed: Callable[[int], Tensor | None] = lambda _: None,
    ) -> list[Int64[Tensor, "n _ _"]]:
        """Return codes of z_1, sampled from each tree's top down; see `Tree.descend`."""
        if level == 0:
            return []
        trees = root.flatten()
        given = fixed(0)
        known = None if given is None else given.flatten(1).T
        codes = torch.empty(len(self.layers[0].order), len(trees), dtype=torch.int64, device=trees.device)
        for tree in trees.unique().tolist():
            some, layers = (trees == tree).nonzero().flatten(), self.layers[tree]
            found = torch.empty(len(codes), len(some), dtype=torch.int64, device=trees.device)
            inner = None
            if messages is not None:
                part = messages[0].here[layers.order[:, None], some]
                inner = self.passed(part, tree).inner * part
            for start, end in layers.bounds:
                cells = torch.arange(start, end, device=trees.device)[:, None]
                above = found[layers.parent[start:end]] if start else torch.zeros_like(found[:1])
                probs = self.links[0][tree, cells, above]
                if inner is not None:
                    probs = probs * inner[start:end]
                noise = exponential(probs, generator)
                drawn = (probs.log() / temperature - noise.log()).argmax(dim=2)
                if known is not None:
                    fixed_codes = known[layers.order[start:end, None], some]
                    drawn = torch.where(fixed_codes >= 0, fixed_codes, drawn)
                found[start:end] = drawn
            codes[layers.order[:, None], some] = found
        return [codes.T.contiguous().unflatten(1, self.grids[0])]

    def most_probable(
        self, leaves: Log, log_roots: Float[Tensor, "#n roots"]
    ) -> tuple[list[Int64[Tensor, "n _ _"]], Int64[Tensor, " n"], Float[Tensor, " n"]]:
        """Return the most probable codes and root given leaves, and log max p(root, z_1, leaves): max–product."""
        best, chosen, found = None, None, None
        for tree, layers in enumerate(self.layers):
            links = safe_log(self.links[0][tree])
            total, choices = leaves.index_select(0, layers.order), []
            for (start, end), rounds in zip(reversed(layers.bounds), reversed(layers.rounds), strict=True):
                if not start:
                    break
                sent, choice = max_product(total[start:end], links[start:end])
                choices.append(choice)
                for some in rounds:
                    total[layers.parent[start:end][some]] += sent[some]
            top, first = (total[0] + links[0, 0]).max(dim=1)
            value = top + log_roots[..., tree]
            codes = torch.empty(len(total), len(value), dtype=torch.int64, device=value.device)
            codes[0] = first
            for (start, end), choice in zip(layers.bounds[1:], reversed(choices), strict=True):
                above = codes[layers.parent[start:end]]
                codes[start:end] = choice.gather(2, above[..., None])[..., 0]
            codes = codes[layers.order.argsort()]
            if best is None or chosen is None or found is None:
                best, chosen, found = codes, torch.zeros_like(first), value
                continue
            better = value > found
            best, found = torch.where(better, codes, best), torch.where(better, value, found)
            chosen = torch.where(better, tree, chosen)
        assert best is not None
        assert chosen is not None
        assert found is not None
        return [best.T.contiguous().unflatten(1, self.grids[0])], chosen, found

    def log_prob(self, level: int, child: Int64[Tensor, "n cells"], above: Int64[Tensor, "n 1"]) -> Float[Tensor, " n"]:
        """Return log p(z_1 | root) of codes in nats."""
        assert level == 0
        found = torch.empty(len(child), dtype=self.links[0].dtype, device=child.device)
        cells = torch.arange(child.shape[1], device=child.device)[:, None]
        for tree in above.unique().tolist():
            own, layers = above.flatten() == tree, self.layers[tree]
            codes = child[own][:, layers.order].T
            parents = codes[layers.parent]
            parents[0] = 0
            found[own] = safe_log(self.links[0][tree, cells, parents, codes]).sum(dim=0)
        return found

    def marginals(self) -> Float[Tensor, "cells roots states"]:
        """Return p(z_1 = k | root) of every cell."""
        total = torch.empty_like(self.links[0][:, :, 0])
        for found, links, layers in zip(total, self.links[0], self.layers, strict=True):
            inner = torch.empty_like(found)
            inner[0] = links[0, 0]
            for start, end in layers.bounds[1:]:
                inner[start:end] = torch.bmm(inner[layers.parent[start:end], None], links[start:end])[:, 0]
            found[layers.order] = inner
        return total.transpose(0, 1)

    def passed(self, likelihood: Float[Tensor, "cells n states"], tree: int, *, keep: bool = True) -> UpwardPass:
        """Return the upward pass of one tree; without `keep` only its evidence is of use."""
        links, layers = self.links[0][tree], self.layers[tree]
        inner = torch.ones_like(likelihood)
        outer = torch.empty_like(likelihood) if keep else likelihood
        evidence = likelihood.new_zeros(likelihood.shape[1])
        tiny = torch.finfo(likelihood.dtype).tiny
        for (start, end), rounds in zip(reversed(layers.bounds), reversed(layers.rounds), strict=True):
            here = inner[start:end] * likelihood[start:end]
            if not start:
                break
            sent = torch.bmm(here, links[start:end].transpose(1, 2))
            if keep:
                outer[start:end] = sent
            largest = sent.amax(dim=2, keepdim=True).clamp_min(tiny)
            sent /= largest
            evidence += largest.log().sum(dim=(0, 2))
            parent = layers.parent[start:end]
            for some in rounds:
                ours, theirs = (sent, parent) if len(some) == end - start else (sent[some], parent[some])
                inner.index_copy_(0, theirs, inner.index_select(0, theirs).mul_(ours))
        top = here[0] * links[0, 0]
        total = top.sum(dim=1)
        return UpwardPass(evidence + total.log(), inner, outer, top / total[:, None].clamp_min(tiny))

    def _downward(
        self, passed: UpwardPass, likelihood: Tensor, tree: int, weight: Float[Tensor, " n"], posterior: Tensor
    ) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """Yield each layer's bounds, and what its parents' posterior over the messages to them sends down.

        `posterior`, of the shape of the likelihood, is filled layer by layer.
        """
        links, layers = self.links[0][tree], self.layers[tree]
        tiny = torch.finfo(likelihood.dtype).tiny
        total = (likelihood[0] * passed.inner[0] * links[0, 0]).sum(dim=1).clamp_min(tiny)
        above = links[0, :1] * (weight / total)[:, None]
        for start, end in layers.bounds:
            if start:
                share = posterior.index_select(0, layers.parent[start:end])
                share /= passed.outer[start:end].clamp_min(tiny)
                above = torch.bmm(share, links[start:end])
            else:
                above = above[None]
            torch.mul(above, passed.inner[start:end], out=posterior[start:end])
            posterior[start:end] *= likelihood[start:end]
            yield (start, end), above

    def _likelihood(self, leaves: Log) -> Float[Tensor, "cells n states"]:
        """Return the leaves' likelihoods, scaled to a maximum of 1."""
        return (leaves - leaves.amax(dim=2, keepdim=True)).exp_()

    def _mixture(self, root: Float[Tensor, "n roots"], roots: slice) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield each tree, the posterior of it, and the images for which it is more than negligible."""
        for number, tree in enumerate(self._chosen(roots)):
            weight = root[:, number]
            some = (weight > NEGLIGIBLE).nonzero().flatten()
            if len(some):
                yield tree, weight[some], some

    def _chosen(self, roots: slice) -> range:
        return range(self.trees)[roots]
