import math

import pytest
import torch

from rgm.measures import accuracy, codebook_usage, matching, squared_error


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


def test_clusters_are_matched_as_well_as_they_can_be() -> None:
    """Greedy matching would give cluster 0 class 0 (5 right) and leave 1 + 5; the optimum has 4 + 4 for the two."""
    clusters = torch.tensor([0] * 9 + [1] * 5 + [2] * 3)
    labels = torch.tensor([0] * 5 + [1] * 4 + [0] * 4 + [1] * 1 + [2] * 3)
    assert matching(clusters, labels, 3).tolist() == [1, 0, 2]
