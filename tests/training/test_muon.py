"""Muon against PyTorch's own, and its orthogonal matrices against singular values."""

from dataclasses import replace

import pytest
import torch

from rgm.model.spatial import SpatialRGM
from rgm.training.muon import Muon, orthogonalised
from rgm.training.optimisers import Optimisers
from rgm.training.recipe import Stage, Weights


@pytest.mark.parametrize("shape", [(3, 8, 24), (2, 24, 8), (4, 12, 12), (2, 6, 54), (2, 54, 6)])
def test_singular_vectors_stay_and_values_come_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = orthogonalised(matrices)
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.mT @ found @ vh.mT
    assert torch.allclose(turned, torch.diag_embed(turned.diagonal(dim1=1, dim2=2)), atol=1e-10)


def test_steps_are_those_of_pytorchs_to_bfloat16() -> None:
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(shape, generator=generator) for shape in ((6, 18), (18, 6), (6, 18), (6, 6), (4, 36))]
    ours, reference = ([torch.nn.Parameter(w.clone()) for w in start] for _ in range(2))
    optimizers = (Muon(ours, lr=0.02), torch.optim.Muon(reference, lr=0.02, weight_decay=0.0))
    for _ in range(4):
        gradients = [torch.randn(w.shape, generator=generator) for w in start]
        for weights in (ours, reference):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b, before in zip(ours, reference, start, strict=True):
        assert float((a - b).detach().norm()) < 0.03 * float((a - before).detach().norm())


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="matrices"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)


def test_residual_blocks_have_a_rate_of_their_own() -> None:
    """The blocks between pixels and codes; neither first and last layers nor what a stage freezes."""
    model = SpatialRGM.from_preset("likelihood")
    stage = Stage(name="all", epochs=1, muon=0.02, muon_residual=0.01, weights=Weights())
    rates = {which: optimiser.defaults["lr"] for which, optimiser in Optimisers(model, stage, ()).each.items()}
    assert rates == {"0": 1e-3, "1": 0.02, "2": 0.01}
    found = {which: _sizes(optimiser) for which, optimiser in Optimisers(model, stage, ()).each.items()}
    assert len(found["2"]) == 2 * (2 + 3)  # two convolutions in each of the encoder's two and the decoder's three
    assert sum(map(sum, found.values())) == sum(weight.numel() for weight in model.parameters())
    decoder = Optimisers(model, replace(stage, trains="decoder"), ()).each
    assert set(decoder) == {"0", "2"}
    assert len(_sizes(decoder["2"])) == 2 * 3


def _sizes(optimiser: torch.optim.Optimizer) -> list[int]:
    return [weight.numel() for group in optimiser.param_groups for weight in group["params"]]
