"""Sum–product on a tree against every joint state, enumerated."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from toys import DEEP, FLAT, Joint, assert_drawn_from, nearest, random_links, random_tree

from rgm.counting.emission import IMPOSSIBLE
from rgm.counting.tree import Tree, expected_pairs, parents

SHAPES = {
    "flat": (FLAT, (3, 4)),
    "deep": (DEEP, (2, 3, 3)),
    "wide": (((4, 3), (2, 2), (1, 1)), (2, 2, 2)),
    "uneven": (((3, 2), (2, 1), (1, 1)), (2, 3, 2)),
}
DRAWS = 20_000


@pytest.fixture(scope="module", params=["flat", "deep", "uneven"])
def pair(request: pytest.FixtureRequest) -> tuple[Tree, Joint]:
    return random_tree(*SHAPES[request.param], torch.Generator().manual_seed(0))


def heard(tree: Tree, count: int, generator: torch.Generator, spread: float = 3) -> Tensor:
    """Return log p(leaf | z_1) of synthetic images, nats apart and far from 0."""
    cells, _, states = tree.links[0].shape
    made = torch.randn(cells, count, states, generator=generator, dtype=torch.float64)
    return spread * made - 40


@pytest.mark.parametrize("shape", list(SHAPES))
def test_everything_up_and_down_is_the_enumerated_sum(shape: str, generator: torch.Generator) -> None:
    tree, joint = random_tree(*SHAPES[shape], generator)
    images = 2
    leaves = heard(tree, images, generator)
    prior = torch.rand(tree.links[-1].shape[1], generator=generator, dtype=torch.float64)
    upward = tree.up(leaves)
    root = (upward.root + prior.log()).softmax(dim=1)
    pairs = tree.down(upward, root)
    counted = [expected_pairs(*parts) for parts in zip(upward.messages, pairs.shares, tree.links, strict=True)]
    summed = [torch.zeros_like(link) for link in tree.links]
    for image in range(images):
        log = joint.log(leaves[:, image])
        torch.testing.assert_close(upward.root[image], joint.by_root(log), rtol=1e-12, atol=1e-12)
        posterior = (log + prior.log()[joint.root]).softmax(dim=0)
        torch.testing.assert_close(root[image], joint.marginal(posterior, len(tree.links))[0])
        for level, marginal in enumerate(pairs.marginals):
            torch.testing.assert_close(marginal[:, image], joint.marginal(posterior, level))
            summed[level] += joint.pairs(posterior, level)
    for found, expected in zip(counted, summed, strict=True):
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(found.sum(dim=(1, 2)), torch.full((len(found),), float(images), dtype=torch.float64))


def test_a_root_that_is_known_has_its_own_posterior(pair: tuple[Tree, Joint], generator: torch.Generator) -> None:
    tree, joint = pair
    leaves = heard(tree, 1, generator)
    known = torch.zeros(1, tree.links[-1].shape[1], dtype=torch.float64)
    known[0, 1] = 1
    marginals = tree.down(tree.up(leaves), known).marginals
    posterior = (joint.log(leaves[:, 0]) + (joint.root == 1).double().log()).softmax(dim=0)
    for level, marginal in enumerate(marginals):
        torch.testing.assert_close(marginal[:, 0], joint.marginal(posterior, level))


def test_some_roots_are_all_where_no_other_is_possible(pair: tuple[Tree, Joint], generator: torch.Generator) -> None:
    tree, _ = pair
    leaves = heard(tree, 5, generator)
    own = slice(1, 2)
    whole, part = tree.up(leaves), tree.up(leaves, own)
    torch.testing.assert_close(part.root, whole.root[:, own])
    root = torch.zeros_like(whole.root)
    root[:, own] = 1
    every, restricted = tree.down(whole, root), tree.down(part, root[:, own], own)
    for ours, expected_marginals in zip(restricted.marginals, every.marginals, strict=True):
        torch.testing.assert_close(ours, expected_marginals)
    counted = expected_pairs(whole.messages[-1], every.shares[-1], tree.links[-1])
    ours = expected_pairs(part.messages[-1], restricted.shares[-1], tree.links[-1][:, own])
    torch.testing.assert_close(ours, counted[:, own])
    assert not counted[:, :1].any()


@pytest.mark.parametrize("kind", ["flat", "deep"])
def test_ancestral_draws_have_the_prior(kind: str, generator: torch.Generator) -> None:
    tree, joint = random_tree(*SHAPES[kind], generator)
    drawn = tree.descend(torch.full((DRAWS,), 1), generator)
    assert [codes.shape[1:] for codes in drawn] == [torch.Size(grid) for grid in tree.grids[:-1]]
    chances = sum(joint.log_links).exp() * (joint.root == 1)
    assert_drawn_from(joint.number(drawn[0]), joint.numbers.bincount(chances))
    if kind == "deep":
        middle = joint.codes[1][0] * 3 + joint.codes[1][1]
        assert_drawn_from(drawn[1][:, 0, 0] * 3 + drawn[1][:, 1, 0], middle.bincount(chances))


@pytest.mark.parametrize("kind", ["flat", "deep"])
def test_draws_with_messages_have_the_posterior(kind: str, generator: torch.Generator) -> None:
    tree, joint = random_tree(*SHAPES[kind], generator)
    leaves = heard(tree, 1, generator, spread=1)
    messages = tree.up(leaves.expand(-1, DRAWS, -1)).messages
    drawn = tree.descend(torch.full((DRAWS,), 2), generator, messages=messages)
    chances = joint.log(leaves[:, 0]).softmax(dim=0) * (joint.root == 2)
    assert_drawn_from(joint.number(drawn[0]), joint.numbers.bincount(chances))


def test_a_temperature_sharpens_every_draw(generator: torch.Generator) -> None:
    tree, _ = random_tree(FLAT, (3, 2), generator)
    drawn = tree.descend(torch.zeros(DRAWS, dtype=torch.int64), generator, temperature=0.5)[0].flatten(1)
    for cell in range(4):
        assert_drawn_from(drawn[:, cell], tree.links[0][cell, 0].square())


def test_samples_start_at_a_level_and_keep_fixed_codes(generator: torch.Generator) -> None:
    tree, _ = random_tree(DEEP, (2, 3, 3), generator)
    middle = torch.randint(3, (DRAWS, 2, 1), generator=generator)
    (drawn,) = tree.descend(middle, generator, level=1)
    for state in range(3):  # the first cell of z_1 is a child of the first of z_2
        assert_drawn_from(drawn[middle[:, 0, 0] == state][:, 0, 0], tree.links[0][0, state])
    kept = torch.full((DRAWS, 2, 1), -1)
    kept[:, 1] = 2
    below, above = tree.descend(
        torch.zeros(DRAWS, dtype=torch.int64), generator, fixed=lambda level: kept if level == 1 else None
    )
    assert bool((above[:, 1] == 2).all())
    assert len(above[:, 0].unique()) == 3
    assert_drawn_from(below[:, 3, 1], tree.links[0][7, 2])
    assert tree.descend(middle, generator, level=0) == []


def test_noise_is_the_generators(generator: torch.Generator) -> None:
    tree, _ = random_tree(DEEP, (2, 3, 3), generator)
    root = torch.zeros(50, dtype=torch.int64)
    draws = [tree.descend(root, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert all(map(torch.equal, draws[0], draws[1]))
    assert not all(map(torch.equal, draws[0], draws[2]))


def test_conditionals_and_their_logs(pair: tuple[Tree, Joint]) -> None:
    tree, joint = pair
    chosen = torch.arange(0, len(joint.root), max(1, len(joint.root) // 500))
    for level, link in enumerate(joint.log_links):
        child, above = (joint.codes[number][:, chosen].T.contiguous() for number in (level, level + 1))
        torch.testing.assert_close(tree.log_prob(level, child, above), link[chosen])
        chances = tree.conditional(level, above)
        torch.testing.assert_close(chances.sum(dim=2), torch.ones_like(chances[..., 0]))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_a_parent_is_the_nearest_centroid(rows: int, columns: int, fewer: int, less: int) -> None:
    fewer, less = min(rows, fewer), min(columns, less)
    found = parents((rows, columns), (fewer, less)).tolist()
    assert found == [
        nearest(row, rows, fewer) * less + nearest(column, columns, less)
        for row in range(rows)
        for column in range(columns)
    ]
    assert set(found) == set(range(fewer * less))  # none is without children


def test_seven_cells_under_four() -> None:
    assert parents((7, 1), (4, 1)).tolist() == [0, 0, 1, 2, 2, 3, 3]
    assert parents((4, 4), (2, 2)).view(4, 4)[1:3, 1:3].tolist() == [[0, 1], [2, 3]]


def test_very_unlikely_leaves_do_not_underflow(generator: torch.Generator) -> None:
    """Hundreds of symbols of thousands of nats, a state per group: single precision must still sum them."""
    links = random_links(DEEP, (2, 3, 3), generator)
    joint = Joint(DEEP, links)
    leaves = -2000 - 1500 * torch.rand(8, 1, 2, generator=generator, dtype=torch.float64)
    tree = Tree(DEEP, [link.float() for link in links])
    upward = tree.up(leaves.float())
    exact = joint.by_root(joint.log(leaves[:, 0]))
    torch.testing.assert_close(upward.root[0].double(), exact, rtol=2e-7, atol=0)
    root = upward.root.softmax(dim=1)
    posterior = joint.log(leaves[:, 0]).softmax(dim=0)
    torch.testing.assert_close(root[0].double(), joint.marginal(posterior, 2)[0], rtol=0, atol=2e-2)
    pairs = tree.down(upward, exact.softmax(dim=0).float()[None])
    for level, marginal in enumerate(pairs.marginals):
        torch.testing.assert_close(marginal[:, 0].double(), joint.marginal(posterior, level), rtol=0, atol=1e-5)


def test_states_that_are_not_there_gain_nothing(generator: torch.Generator) -> None:
    """A state without counts is in no parent's links, and IMPOSSIBLE in its leaves, however unlikely the others are."""
    links = random_links(DEEP, (2, 2, 2), generator)
    wide = [torch.zeros(len(link), 3, 4, dtype=torch.float64) for link in links]
    wide[1] = torch.zeros(2, 3, 3, dtype=torch.float64)
    for padded, link in zip(wide, links, strict=True):
        padded[:, :2, :2] = link
    leaves = -2000 + 20 * torch.randn(8, 3, 2, generator=generator, dtype=torch.float64)
    more = torch.full((8, 3, 4), IMPOSSIBLE, dtype=torch.float64)
    more[..., :2] = leaves
    small, large = Tree(DEEP, links), Tree(DEEP, wide)
    upward, whole = small.up(leaves), large.up(more)
    torch.testing.assert_close(whole.root[:, :2], upward.root)
    assert bool((whole.root[:, 2] == -math.inf).all())
    ours = large.down(whole, whole.root.softmax(dim=1))
    expected_marginals = small.down(upward, upward.root.softmax(dim=1))
    for found, expected in zip(ours.marginals, expected_marginals.marginals, strict=True):
        torch.testing.assert_close(found[..., :2], expected)
        assert not found[..., 2:].any()
    counted = expected_pairs(whole.messages[0], ours.shares[0], wide[0])
    assert not counted[:, 2:].any()
    assert not counted[..., 2:].any()
    drawn = large.descend(whole.root.argmax(dim=1), generator, messages=whole.messages)
    assert max(int(codes.max()) for codes in drawn) < 2


def test_uninformative_leaves_leave_the_prior(pair: tuple[Tree, Joint]) -> None:
    tree, joint = pair
    cells, _, states = tree.links[0].shape
    upward = tree.up(torch.zeros(cells, 1, states, dtype=torch.float64))
    torch.testing.assert_close(upward.root, torch.zeros_like(upward.root))
    root = torch.full_like(upward.root, 1 / upward.root.shape[1])
    prior = sum(joint.log_links).softmax(dim=0)
    for level, marginal in enumerate(tree.down(upward, root).marginals):
        torch.testing.assert_close(marginal[:, 0], joint.marginal(prior, level))


@st.composite
def shapes(draw: st.DrawFn) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    grids = [(draw(st.integers(1, 7)), draw(st.integers(1, 7)))]
    for _ in range(draw(st.integers(0, 2))):
        grids.append((draw(st.integers(1, grids[-1][0])), draw(st.integers(1, grids[-1][1]))))
    states = draw(st.lists(st.integers(1, 5), min_size=len(grids) + 1, max_size=len(grids) + 1))
    return (*grids, (1, 1)), tuple(states)


@settings(max_examples=40, deadline=None)
@given(shapes(), st.integers(0, 2**31))
def test_any_tree_agrees_with_sums_cell_by_cell(
    shape: tuple[tuple[tuple[int, int], ...], tuple[int, ...]], seed: int
) -> None:
    grids, states = shape
    generator = torch.Generator().manual_seed(seed)
    links = random_links(grids, states, generator)
    tree = Tree(grids, links)
    leaves = heard(tree, 3, generator)
    upward = tree.up(leaves)

    def below_cell(level: int, cell: int) -> Tensor:
        """Return log p(leaves below a cell | its state), (n, states)."""
        if level == 0:
            return leaves[cell]
        total = torch.zeros(3, states[level], dtype=torch.float64)
        for child in (tree.parents(level - 1) == cell).nonzero().flatten().tolist():
            log = below_cell(level - 1, child)[:, None] + links[level - 1][child].log()
            total += log.logsumexp(dim=2)
        return total

    torch.testing.assert_close(upward.root, below_cell(len(links), 0))
    pairs = tree.down(upward, upward.root.softmax(dim=1))
    for level, marginal in enumerate(pairs.marginals):
        torch.testing.assert_close(marginal.sum(dim=2), torch.ones_like(marginal[..., 0]))
        counted = expected_pairs(upward.messages[level], pairs.shares[level], links[level])
        torch.testing.assert_close(counted.sum(dim=1), marginal.sum(dim=1))
