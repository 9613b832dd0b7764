"""Smoothed tables: proper distributions, what they pool, and what they leave as it is."""

import torch

from rgm.counting.smoothing import smoothed_forest, smoothed_values


def test_values_are_distributions_and_those_that_do_not_exist_are_certain() -> None:
    counts = torch.rand(3, 4, 2, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exists = torch.tensor([[True, True], [True, False], [True, True]])
    found = smoothed_values(counts, 2.0, exists)
    torch.testing.assert_close(
        found[exists.nonzero()[:, 0], :, exists.nonzero()[:, 1]].sum(dim=2), torch.ones(5, 4).double()
    )
    assert (found[1, :, 1] == 1).all()
    assert (found > 0).all()


def test_a_value_makes_its_neighbours_likely_but_not_beside_black_and_white() -> None:
    counts = torch.zeros(1, 4, 1, 256, dtype=torch.float64)
    counts[0, 0, 0, 100] = counts[0, 1, 0, 0] = counts[0, 2, 0, 254] = counts[0, 3, 0] = 1000
    found = smoothed_values(counts, 500.0, torch.ones(1, 1, dtype=torch.bool))[0, :, 0]
    assert found[0, 102] > 100 * found[0, 120]
    torch.testing.assert_close(found[0, 98], found[0, 102])
    assert found[1, 1] < 2 * found[1, 100]
    assert found[2, 250] < 2 * found[2, 100]


def test_few_values_are_not_smoothed_over_neighbours() -> None:
    counts = torch.tensor([[[[10.0, 0.0], [0.0, 10.0]]]], dtype=torch.float64).transpose(1, 2)
    found = smoothed_values(counts, 1.0, torch.ones(1, 1, dtype=torch.bool))
    assert found[0, 0, 0, 1] < 1e-2


def test_a_class_learns_from_others_of_the_same_edge_alone() -> None:
    """The second of two cells hangs on the first in two trees, and the other way round in the third."""
    counts = torch.full((3, 2, 2, 2), 1e-6, dtype=torch.float64)
    counts[0, 1] = torch.tensor([[100.0, 0.0], [0.0, 100.0]])
    counts[2, 0] = torch.tensor([[0.0, 100.0], [100.0, 0.0]])
    edges = torch.tensor([[-1, 0], [-1, 0], [1, -1]])
    orders = torch.tensor([[0, 1], [0, 1], [1, 0]])
    found = smoothed_forest(counts, 1.0, edges, orders)
    torch.testing.assert_close(found.sum(dim=3), torch.ones(3, 2, 2, dtype=torch.float64))
    assert found[1, 1, 0, 0] > 0.95
    assert found[2, 1, 0, 1] > 0.95
