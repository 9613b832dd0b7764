import math
from collections.abc import Callable

import pytest
import torch

from rgm.measures import accuracy, codebook_usage, enough_images, matching, needed_codes, squared_error


def test_usage_of_known_frequencies() -> None:
    codes = torch.tensor([0, 0, 1, 1, 3, 3, 3, 3]).reshape(2, 2, 2)
    usage = codebook_usage(codes, 5)
    assert usage.counts.tolist() == [2, 2, 0, 4, 0]
    assert usage.in_use == 3
    assert usage.perplexity == pytest.approx(math.exp(0.5 * math.log(4) + 0.5 * math.log(2)))


def test_even_usage_has_the_perplexity_of_its_codes() -> None:
    assert codebook_usage(torch.arange(32).reshape(2, 4, 4), 32).perplexity == pytest.approx(32)


def test_accuracy_and_error() -> None:
    probabilities = torch.tensor([[0.2, 0.8], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7]])
    assert accuracy(probabilities, torch.tensor([1, 0, 0, 1])) == 0.75
    assert squared_error(torch.full((2, 1, 2, 2), 0.5), torch.zeros(2, 1, 2, 2)) == 0.25


def test_clusters_are_matched_optimally() -> None:
    """Greedy matching would give cluster 0 class 0 (5 right) and leave 1 + 5; the optimum has 4 + 4 for the two."""
    clusters = torch.tensor([0] * 9 + [1] * 5 + [2] * 3)
    labels = torch.tensor([0] * 5 + [1] * 4 + [0] * 4 + [1] * 1 + [2] * 3)
    assert matching(clusters, labels, 3).tolist() == [1, 0, 2]


def _decoder(levels: list[float]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A decoder of codes to flat 2 × 2 patches of given grey levels."""
    table = torch.tensor(levels)

    def decode(z1: torch.Tensor) -> torch.Tensor:
        return table[z1][:, None].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    return decode


def _coded(levels: list[float], count: int = 40, off: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Equally frequent codes of a 3 × 3 grid, and images that differ from their decoding by `off` everywhere."""
    z1 = torch.arange(count * 9).reshape(count, 3, 3) % len(levels)
    return z1, _decoder(levels)(z1) + off


def test_the_cost_of_a_code_is_that_of_its_best_replacement() -> None:
    levels = [0.0, 0.5, 0.6, 1.0]
    z1, images = _coded(levels)
    found = needed_codes(_decoder(levels), z1, images, 4)
    # E = 0.01 a pixel; a cell of 0.5 (+ 0.1) given 0.6 costs nothing, one of 0.6 given 0.5 costs 0.04.
    shares = torch.bincount(z1.flatten(), minlength=4) / z1.numel()
    expected = shares * torch.tensor([0.16 - 0.01, 0.0 - 0.01, 0.04 - 0.01, 0.25 - 0.01]) / 0.01
    assert torch.allclose(found.cost, expected, atol=1e-4)
    assert found.replacement.tolist() == [1, 2, 1, 2]
    assert found.needed.tolist() == [True, False, True, True]
    assert found.measures() == {"needed_codes": 3.0, "needed_perplexity": found.perplexity}


def test_duplicates_are_not_needed_and_count_once_in_the_perplexity() -> None:
    levels = [0.0, 0.0, 0.0, 1.0]
    z1, images = _coded(levels)
    usage, found = codebook_usage(z1, 4), needed_codes(_decoder(levels), z1, images, 4)
    assert usage.perplexity == pytest.approx(4.0)  # bought by duplicates
    assert found.count == 1
    assert found.merged()[:3].unique().numel() == 1
    assert found.perplexity == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


def test_a_code_that_does_not_occur_is_not_needed() -> None:
    levels = [0.0, 0.5, 1.0]
    z1, images = _coded(levels)
    found = needed_codes(_decoder(levels), z1.clamp_max(1), images.clamp_max(0.6), 3)
    assert found.needed.tolist() == [True, True, False]
    assert found.cost[2] == 0.0


def test_fewer_images_of_more_cells_are_enough() -> None:
    assert [enough_images(250, cells) for cells in (1, 49, 64, 65, 256, 100_000)] == [250, 250, 250, 246, 62, 1]


def test_the_search_finds_what_a_full_search_finds() -> None:
    """In a codebook of 24 whose patches depend on their neighbours, on more images than narrow the search."""
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(24, 4, generator=generator)
    patches[:6] = patches[6:12] + 0.03 * torch.randn(6, 4, generator=generator)

    def decode(z1: torch.Tensor) -> torch.Tensor:
        own = patches[z1]
        mixed = own + 0.05 * own.roll(1, dims=1)
        n, rows, columns, _ = mixed.shape
        return mixed.unflatten(3, (2, 2)).permute(0, 1, 3, 2, 4).reshape(n, 1, 2 * rows, 2 * columns)

    z1 = torch.randint(24, (400, 3, 3), generator=generator)
    images = decode(z1) + 0.1 * torch.randn(400, 1, 6, 6, generator=generator)
    found = needed_codes(decode, z1, images, 24)
    base = (decode(z1) - images).square().sum()
    full = torch.tensor(
        [
            min(
                float((decode(torch.where(z1 == k, j, z1)) - images).square().sum() / base - 1)
                for j in range(24)
                if j != k
            )
            for k in range(24)
        ]
    )
    assert found.needed.tolist() == (full >= 1 / 72).tolist()
    assert 0 < found.count < 24
    assert torch.allclose(found.cost[~found.needed], full[~found.needed], atol=1e-4)
