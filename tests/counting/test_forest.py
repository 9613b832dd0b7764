"""Forests against sums over every joint state."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from toys import assert_drawn_from

from rgm.counting.chow_liu import class_trees, conditional_information, spanning_tree
from rgm.counting.forest import Forest, Layers
from rgm.counting.patterns import Patterns, PatternSums
from rgm.errors import RGMError

PARENTS = torch.tensor([1, 4, 1, 4, -1, 4])
"""Cell 4 is the top, of which 1, 3 and 5 are children; 0 and 2 are children of 1."""
OTHERS = torch.tensor([4, 2, 0, 4, -1, 2])
"""The parents in the second tree where the trees have edges of their own."""
GRID = (2, 3)
ROOTS, STATES, DRAWS = 2, 3, 20_000


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=["same edges", "own edges"])
def edges(request: pytest.FixtureRequest) -> Tensor:
    return torch.stack([PARENTS, PARENTS if request.param == "same edges" else OTHERS])


@pytest.fixture
def forest(generator: torch.Generator, edges: Tensor) -> Forest:
    layers = tuple(Layers.of(parents) for parents in edges)
    links = torch.rand(ROOTS, len(PARENTS), STATES, STATES, generator=generator, dtype=torch.float64) + 0.05
    links /= links.sum(dim=3, keepdim=True)
    links = torch.stack([table[one.order] for table, one in zip(links, layers, strict=True)])
    return Forest((GRID, (1, 1)), [links], layers)


@pytest.fixture
def leaves(generator: torch.Generator) -> Tensor:
    return torch.randn(len(PARENTS), 4, STATES, generator=generator, dtype=torch.float64)


CODES = torch.tensor(list(itertools.product(range(STATES), repeat=len(PARENTS))))


def joint(forest: Forest, leaves: Tensor) -> Tensor:
    """Return log p(leaves, z_1 | root) of every joint state, (images, roots, states)."""
    total = torch.zeros(ROOTS, len(CODES), dtype=torch.float64)
    for root, layers in enumerate(forest.layers):
        for place, cell in enumerate(layers.order.tolist()):
            parent = int(layers.order[layers.parent[place]])
            row = CODES[:, parent] if place else torch.zeros_like(CODES[:, 0])
            total[root] += forest.links[0][root, place].log()[row, CODES[:, cell]]
    seen = torch.stack([leaves[cell][:, CODES[:, cell]] for cell in range(len(PARENTS))]).sum(dim=0)
    return total + seen[:, None]


def test_evidence_is_the_sum_over_all_states(forest: Forest, leaves: Tensor) -> None:
    torch.testing.assert_close(forest.up(leaves).root, joint(forest, leaves).logsumexp(dim=2))


def test_marginals_and_cavities_are_the_enumerated_ones(forest: Forest, leaves: Tensor) -> None:
    log = joint(forest, leaves)
    posterior = log.flatten(1).softmax(dim=1).view_as(log)
    upward = forest.up(leaves)
    pairs = forest.down(upward, posterior.sum(dim=2))
    seen = posterior.sum(dim=1)
    for cell in range(len(PARENTS)):
        expected = torch.stack([seen[:, CODES[:, cell] == state].sum(dim=1) for state in range(STATES)], dim=1)
        torch.testing.assert_close(pairs.marginals[0][cell], expected)
        without = leaves.clone()
        without[cell] = 0
        rest = joint(forest, without).flatten(1).logsumexp(dim=1) - log.flatten(1).logsumexp(dim=1)
        found = forest.cavity(pairs)[cell].sum(dim=1).log() - leaves[cell].amax(dim=1)
        torch.testing.assert_close(found, rest)


@pytest.mark.parametrize("edges", ["same edges"], indirect=True)
def test_expected_counts_are_derivatives_of_the_evidence(forest: Forest, generator: torch.Generator) -> None:
    """E[count] = p ∂ log p(leaves) / ∂p (Fisher's identity), for tables that need not be normalised."""
    log_roots = torch.tensor([0.3, 0.7], dtype=torch.float64).log()
    likelihood = torch.rand(len(PARENTS), 1, 3, STATES, generator=generator, dtype=torch.float64)
    numbers = torch.randint(0, 3, (len(PARENTS), 8, 1), generator=generator)
    leaves = likelihood[torch.arange(len(PARENTS))[:, None], 0, numbers[:, :, 0]].log()
    links = forest.links[0]
    zeros = torch.zeros_like(likelihood.transpose(0, 1))
    sums = PatternSums(forest, likelihood, torch.zeros_like(links), zeros)
    root = sums.add(numbers, log_roots, slice(0, ROOTS), 2.0)

    def evidence(tables: Tensor, leaves: Tensor = leaves) -> Tensor:
        other = Forest(forest.grids, [tables], forest.layers)
        return (other.up(leaves).root + log_roots).logsumexp(dim=1).sum()

    step = 1e-6
    for tree, cell, row, state in [(0, 0, 0, 1), (1, 0, 0, 2), (0, 1, 2, 1), (1, 3, 0, 0), (1, 5, 1, 2)]:
        more, less = links.clone(), links.clone()
        more[tree, cell, row, state] += step
        less[tree, cell, row, state] -= step
        slope = (evidence(more) - evidence(less)) / (2 * step) * links[tree, cell, row, state]
        found = sums.links[tree, forest.layers[tree].order[cell], row, state] / 2
        torch.testing.assert_close(found, slope, rtol=1e-5, atol=1e-7)
    for cell, value, state in [(0, 1, 2), (4, 0, 0), (5, 2, 1)]:
        shown = (numbers[cell, :, 0] == value).double()
        change = torch.zeros_like(leaves)
        change[cell, :, state] = step * shown
        slope = (evidence(links, leaves + change) - evidence(links, leaves - change)) / (2 * step)
        torch.testing.assert_close(sums.values[0, cell, value, state] / 2, slope, rtol=1e-5, atol=1e-7)
    assert sums.values.sum() == pytest.approx(2 * len(PARENTS) * 8)
    torch.testing.assert_close(sums.links.sum(dim=(0, 2, 3)), torch.full((6,), 16.0, dtype=torch.float64))
    torch.testing.assert_close(root, (forest.up(leaves).root + log_roots).softmax(dim=1))


def test_patterns_are_the_distinct_subtrees(generator: torch.Generator) -> None:
    layers = Layers.of(PARENTS)
    numbers = torch.randint(0, 2, (len(PARENTS), 40, 2), generator=generator)
    patterns = Patterns.of(numbers, layers)
    below = {cell: [cell, *PARENTS.eq(cell).nonzero().flatten().tolist()] for cell in range(len(PARENTS))}
    below[4] = list(range(len(PARENTS)))
    rows = {}
    for place, cell in enumerate(layers.order.tolist()):
        parent = rows.get(int(layers.parent[place])) if place else None
        rows[place] = patterns.below[place] if parent is None else patterns.below[place][parent]
        distinct = numbers[below[cell]].transpose(0, 1).unique(dim=0)
        assert len(patterns.values[place]) == len(distinct)
        torch.testing.assert_close(patterns.values[place][rows[place]], numbers[cell])


def test_the_most_probable_codes_are_the_enumerated_ones(forest: Forest, leaves: Tensor) -> None:
    log_roots = torch.tensor([[0.3, 0.7]], dtype=torch.float64).log()
    log = joint(forest, leaves) + log_roots[..., None]
    best = log.flatten(1).argmax(dim=1)
    (codes,), root, value = forest.most_probable(leaves, log_roots)
    assert codes.shape == (4, *GRID)
    torch.testing.assert_close(codes.flatten(1), CODES[best % len(CODES)])
    torch.testing.assert_close(root, best // len(CODES))
    torch.testing.assert_close(value, log.flatten(1).amax(dim=1))


@pytest.mark.parametrize("given", [False, True])
def test_draws_have_the_conditional(forest: Forest, leaves: Tensor, given: bool, generator: torch.Generator) -> None:
    some = leaves[:, :1] if given else torch.zeros_like(leaves[:, :1])
    messages = forest.up(some.expand(-1, DRAWS, -1)).messages if given else None
    (drawn,) = forest.descend(torch.ones(DRAWS, dtype=torch.int64), generator, messages=messages)
    place = (drawn.flatten(1) * STATES ** torch.arange(len(PARENTS)).flip(0)).sum(dim=1)
    assert_drawn_from(place, joint(forest, some)[0, 1].softmax(dim=0))


def test_log_prob_and_marginals_of_codes(forest: Forest) -> None:
    none = torch.zeros(len(PARENTS), 1, STATES, dtype=torch.float64)
    log = joint(forest, none)[0]
    for root in range(ROOTS):
        found = forest.log_prob(0, CODES, torch.full((len(CODES), 1), root))
        torch.testing.assert_close(found, log[root])
        chance = log[root].exp()
        for cell in range(len(PARENTS)):
            share = torch.stack([chance[CODES[:, cell] == state].sum() for state in range(STATES)])
            torch.testing.assert_close(forest.marginals()[cell, root], share)


def test_rates_are_the_divergence_of_the_posterior(forest: Forest, leaves: Tensor) -> None:
    log = joint(forest, leaves)
    root = torch.softmax(torch.randn(4, ROOTS, dtype=torch.float64), dim=1)
    posterior = log.softmax(dim=2)
    seen = torch.stack([leaves[cell][:, CODES[:, cell]] for cell in range(len(PARENTS))]).sum(dim=0)
    prior = log - seen[:, None]
    expected = (root[..., None] * posterior * (posterior.log() - prior)).sum(dim=(1, 2))
    distortion = -(root[..., None] * posterior * seen[:, None]).sum(dim=(1, 2))
    upward = forest.up(leaves)
    (found,) = forest.rates(upward, forest.down(upward, root), root, distortion)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("parents", [[1, 0], [-1, -1], [-1, 2, 1], [-1, 5]])
def test_parents_that_form_no_tree_are_refused(parents: list[int]) -> None:
    with pytest.raises(RGMError, match="parent"):
        Layers.of(torch.tensor(parents))


def test_the_spanning_tree_is_the_one_of_most_information() -> None:
    generator = torch.Generator().manual_seed(3)
    weight = torch.rand(5, 5, generator=generator)
    weight = weight + weight.T

    def total(parents: list[int]) -> float:
        return sum(float(weight[cell, parent]) for cell, parent in enumerate(parents) if parent >= 0)

    best = -math.inf
    for candidate in itertools.product(range(5), repeat=4):  # parents of cells 1 … 4, with 0 as the top
        parents = [-1, *candidate]
        try:
            Layers.of(torch.tensor(parents))
        except RGMError:
            continue
        best = max(best, total(parents))
    found = spanning_tree(weight, (1, 5)).tolist()
    Layers.of(torch.tensor(found))
    assert total(found) == pytest.approx(best)


def test_information_is_that_of_each_class() -> None:
    """Two cells that agree within a class, and a third that only shows the class."""
    labels = torch.tensor([0, 0, 1, 1])
    symbols = torch.tensor([[0, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1]])
    found = conditional_information(symbols, labels, 2)
    expected = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 0]]) * math.log(2)
    torch.testing.assert_close(found, expected)


def test_every_class_has_the_tree_of_its_own_information() -> None:
    """In one class the second cell repeats the first, in the other the third does; the classes are equally frequent."""
    first, other = torch.randint(0, 2, (2, 400), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(400) % 2
    copied, free = torch.where(labels == 0, first, other), torch.where(labels == 0, other, first)
    trees = class_trees(torch.stack([first, copied, free], dim=1), labels, 2, (1, 3), 3)
    edges = [{frozenset((cell, up)) for cell, up in enumerate(tree) if up >= 0} for tree in trees.tolist()]
    assert frozenset((0, 1)) in edges[0]
    assert frozenset((0, 2)) in edges[1]
    assert len({tree.tolist().index(-1) for tree in trees}) == 1
    assert len(edges[2]) == 2
