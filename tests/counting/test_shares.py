import pytest
import torch

from rgm.counting import shares
from rgm.counting.shares import AllRoots, FewRoots, log_product
from rgm.counting.tree import Tree, expected_pairs

CELLS, ROOTS, STATES, IMAGES = 4, 300, 3, 5


@pytest.fixture
def tree(generator: torch.Generator) -> Tree:
    link = torch.rand(CELLS, ROOTS, STATES, generator=generator, dtype=torch.float64)
    return Tree(((2, 2), (1, 1)), [link / link.sum(dim=2, keepdim=True)])


def test_what_few_roots_send_is_what_all_send_where_the_others_are_impossible(
    tree: Tree, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = torch.randn(CELLS, IMAGES, STATES, generator=generator, dtype=torch.float64)
    root = torch.zeros(IMAGES, ROOTS, dtype=torch.float64)
    for image in range(IMAGES):
        root[image, torch.randperm(ROOTS, generator=generator)[: image + 1]] = 1 / (image + 1)
    upward = tree.up(leaves)
    few = tree.down(upward, root)
    assert isinstance(few.shares[0], FewRoots)
    monkeypatch.setattr(shares, "_DENSE", 0)
    dense = tree.down(upward, root)
    assert isinstance(dense.shares[0], AllRoots)
    torch.testing.assert_close(few.marginals[0], dense.marginals[0])
    torch.testing.assert_close(tree.cavity(few), tree.cavity(dense))
    counted, expected = (expected_pairs(upward.messages[0], pairs.shares[0], tree.links[0]) for pairs in (few, dense))
    torch.testing.assert_close(counted, expected)
    torch.testing.assert_close(counted.sum(dim=(1, 2)), torch.full((CELLS,), float(IMAGES), dtype=torch.float64))


def test_negligible_roots_are_left_out_and_their_probability_is_not_lost(tree: Tree) -> None:
    root = torch.full((1, ROOTS), 1e-10, dtype=torch.float64)
    root[0, :2] = 0.5 - 1e-10 * (ROOTS - 2) / 2
    upward = tree.up(torch.zeros(CELLS, 1, STATES, dtype=torch.float64))
    few = tree.down(upward, root)
    assert isinstance(few.shares[0], FewRoots)
    assert few.shares[0].states.tolist() == [0, 1]
    torch.testing.assert_close(few.marginals[0].sum(dim=2), torch.ones(CELLS, 1, dtype=torch.float64))


def test_all_roots_are_used_where_many_of_them_matter(tree: Tree) -> None:
    upward = tree.up(torch.zeros(CELLS, 1, STATES, dtype=torch.float64))
    pairs = tree.down(upward, torch.full((1, ROOTS), 1 / ROOTS, dtype=torch.float64))
    assert isinstance(pairs.shares[0], AllRoots)


def test_messages_to_many_roots_are_multiplied_as_they_are(tree: Tree, generator: torch.Generator) -> None:
    """Whether the cells of images are alike or not, and where a message is impossible."""
    here = torch.rand(CELLS, IMAGES, STATES, generator=generator, dtype=torch.float64)
    here[:2, ::2] = here[:2, :1]
    link = tree.links[0].clone()
    link[0, 3] = torch.tensor([1.0, 0, 0])
    here[0, :, 0] = torch.tensor([0.0, 1, 0, 0, 0])
    expected = torch.bmm(here, link.transpose(1, 2)).log().sum(dim=0)
    found = log_product(here, link)
    possible = expected.isfinite()
    assert not possible.all()
    torch.testing.assert_close(found[possible], expected[possible])
    assert bool((found[~possible] < -1e29).all())
