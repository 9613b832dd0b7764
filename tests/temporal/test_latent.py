"""Latent events against the enumeration of their joint, and learned from noise."""

import itertools

import pytest
import torch

from rgm.data.made_films import bouncing_balls
from rgm.errors import RGMError
from rgm.temporal.config import LatentConfig, TemporalConfig
from rgm.temporal.fitting import partial_fit
from rgm.temporal.latent import Latent
from rgm.temporal.latent_learning import LatentRecipe
from rgm.temporal.model import TemporalRGM
from rgm.training.fit import fit


def test_evidence_marginals_and_path_are_those_of_the_joint() -> None:
    generator = torch.Generator().manual_seed(0)
    latent = Latent((1, 2, 2), 3, LatentConfig(events=4, edges=5, jump=0.1)).double()
    drawn = torch.empty_like(latent.tables).exponential_(generator=generator)
    latent.tables.copy_(drawn / drawn.sum(dim=1, keepdim=True))
    latent.edges.copy_(torch.tensor([[0, 1], [1, 2], [2, 0], [2, 3], [0, 3]]))  # 3 has no successor
    latent.edge_counts.copy_(torch.tensor([2.0, 1.0, 1.0, 3.0, 1.0]))
    latent.start.copy_(torch.tensor([0.4, 0.3, 0.2, 0.1]))
    tones = torch.randint(3, (2, 4, 1, 2, 2), generator=generator).to(torch.uint8)
    visible = torch.rand(tones.shape, generator=generator) < 0.8
    chain = latent.chain()
    matrix = torch.zeros(4, 4, dtype=torch.float64)
    matrix[latent.edges[:, 0].long(), latent.edges[:, 1].long()] = latent.edge_counts
    total = matrix.sum(dim=1, keepdim=True)
    matrix = torch.where(total > 0, 0.9 * matrix / total.clamp_min(1) + 0.1 * latent.start, latent.start)
    every = torch.tensor(list(itertools.product(range(4), repeat=4)))
    prior = latent.start[every[:, 0]].log()
    for before, after in itertools.pairwise(every.T):
        prior = prior + matrix[before, after].log()
    assert torch.allclose(chain.path_log_prob(every), prior, rtol=0, atol=1e-12)
    frames, path, shares, _, evidence = latent.infer(tones, visible)
    for film in range(2):
        log = prior.clone()
        for step in range(4):
            flat, shown = tones[film, step].flatten().long(), visible[film, step].flatten()
            table = latent.tables[every[:, step]]
            log += (table[:, flat, torch.arange(4)].log() * shown).sum(dim=1)
        assert float(evidence[film]) == pytest.approx(float(log.logsumexp(0)), abs=1e-12)
        share = log.softmax(0)
        for step in range(4):
            marginal = every[:, step].bincount(share, minlength=4)
            assert torch.allclose(shares[film, step], marginal, rtol=0, atol=1e-12)
        assert every[log.argmax()].tolist() == path[film].tolist()
    assert frames.shape == tones.shape
    counts = chain.smooth(latent.observed(tones[:1], visible[:1]))[2]
    assert float(counts.sum()) < 3 + 1e-9


def test_a_film_is_learned_from_noisy_showings() -> None:
    film = bouncing_balls(24, ((1, 2),), height=12, width=12, radius=1.5)
    lit = film > 0
    shown = lit.repeat(8, 1, 1)
    flips = torch.rand(shown.shape, generator=torch.Generator().manual_seed(0)) < 0.01
    model = TemporalRGM(TemporalConfig(image=(1, 12, 12), dynamics=LatentConfig()))
    recipe = LatentRecipe(tolerances=(0.0, 0.03))
    fit(model, (shown ^ flips).to(torch.uint8) * 255, recipe=recipe, device="cpu")
    assert torch.equal(model.infer(film).frames[0] > 0.5, lit)
    after = model.predict(film[3:11], 120).frames[0, 8:] > 0.5
    assert torch.equal(after, lit.roll(-11, 0).repeat(5, 1, 1))
    with pytest.raises(RGMError, match="only a memory learns on"):
        partial_fit(model, film)
