from collections.abc import Sequence

import pytest
import torch

from rgm.data.images import ImageSet
from rgm.data.labels import HIDDEN
from rgm.data.load import from_arrays
from rgm.data.neighbours import gradient_histograms, typical
from rgm.measures import matching


@pytest.mark.parametrize("side", [7, 8, 28, 33])
def test_an_edge_counts_for_its_direction_and_those_beside_it(side: int) -> None:
    """Dark on the left, bright on the right: direction 0 of 8, and the cube of cos 45° for the two beside it."""
    image = torch.zeros(1, 1, side, side)
    image[..., side // 2 :] = 1.0
    *roots, mean = gradient_histograms(image)[0].tolist()
    shares = torch.tensor(roots).square().reshape(8, -1).sum(dim=1)
    beside = 0.5**1.5
    expected = torch.tensor([1.0, beside, 0.0, 0.0, 0.0, 0.0, 0.0, beside]) / (1 + 2 * beside)
    assert torch.allclose(shares, expected, atol=1e-6)
    assert mean == pytest.approx(float(image.mean()))


def test_images_without_edges_are_told_apart_by_their_means() -> None:
    grey = torch.tensor([0.0, 0.5])[:, None, None, None].expand(2, 3, 28, 28)
    found = gradient_histograms(grey)
    assert torch.equal(found[:, :-3], torch.zeros_like(found[:, :-3]))
    assert torch.equal(found[:, -3:], torch.tensor([[0.0] * 3, [0.5] * 3]))


def test_the_clusters_are_the_digits(digits: ImageSet) -> None:
    found = typical(digits, 10, seed=0)
    assert torch.equal(found, typical(digits, 10, seed=0))
    assert digits.labels is not None
    guessed = found != HIDDEN
    assert len(digits) / 4 <= guessed.sum() <= len(digits) / 4 + 10
    renamed = matching(found[guessed], digits.labels[guessed], 10)[found[guessed]]
    assert (renamed == digits.labels[guessed]).float().mean() > 0.97


@pytest.mark.parametrize(("values", "clusters"), [((7,) * 30, 1), ((0, 80, 160) * 10, 3), (range(6), 6)])
def test_no_more_clusters_than_different_images(values: Sequence[int], clusters: int) -> None:
    grey = torch.tensor(list(values), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    found = typical(from_arrays(grey), 10, seed=0)
    assert sorted(set(found.tolist()) - {HIDDEN}) == list(range(clusters))
