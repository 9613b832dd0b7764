"""A memory of films against the enumeration of its whole joint, and what it must never lose."""

import numpy as np
import pytest
import torch
from enumerated import Joint, films, memory
from scipy.stats import chi2

from rgm.data.made_films import bouncing_balls
from rgm.errors import RGMError
from rgm.temporal.config import MemoryConfig, TemporalConfig
from rgm.temporal.fitting import MemoryRecipe, merge, partial_fit, prune
from rgm.temporal.memory import Memory
from rgm.temporal.model import TemporalRGM
from rgm.training.fit import fit

STEPS = 3


@pytest.fixture(params=[0, 1, 2], ids=lambda doublings: f"span {2**doublings}")
def few(request: pytest.FixtureRequest) -> tuple[TemporalRGM, Joint, torch.Tensor, torch.Tensor]:
    """A memory with few events, its joint, and a noisy film with a mask whose last event is incomplete."""
    model = memory(films(n=1, time=6 + 2 * 2**request.param), doublings=request.param)
    joint = Joint(model, STEPS)
    generator = torch.Generator().manual_seed(3)
    time = STEPS * joint.span - (joint.span > 1)
    tones = torch.randint(2, (time, 9), generator=generator)
    visible = torch.rand(time, 9, generator=generator) < 0.7
    return model, joint, tones, visible


def shaped(tones: torch.Tensor, visible: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (tones.view(1, -1, 3, 3) * 255).to(torch.uint8), visible.view(1, -1, 3, 3)


def test_evidence_marginals_path_and_frames_are_those_of_the_joint(few) -> None:
    model, joint, tones, visible = few
    log = joint.given(tones, visible)
    found = model.infer(*shaped(tones, visible))
    assert torch.allclose(found.log_evidence_nats, log.logsumexp(0)[None], rtol=0, atol=1e-10)
    assert torch.allclose(model.log_prob(*shaped(tones, visible)), log.logsumexp(0)[None], rtol=0, atol=1e-10)
    share = log.softmax(0)
    events = found.probabilities.shape[2]
    for step in range(STEPS):
        marginal = joint.sequences[:, step].bincount(share, minlength=events)
        assert torch.allclose(found.probabilities[0, step], marginal, rtol=0, atol=1e-10)
    assert joint.sequences[log.argmax()].tolist() == found.path[0].tolist()
    expected = torch.einsum("s,stp->tp", share, joint.films[:, : len(tones)].double())
    assert torch.allclose(found.frames.view(len(tones), 9), expected.float(), atol=1e-6)


def test_draws_follow_the_exact_posterior(few) -> None:
    model, joint, tones, visible = few
    dynamics = model.dynamics
    assert isinstance(dynamics, Memory)
    draws = 4000
    frames, mask = shaped(tones, visible)
    planes = (frames > 0).to(torch.uint8)[:, :, None].expand(draws, -1, -1, -1, -1)
    shown = mask[:, :, None].expand_as(planes)
    chain = dynamics.chain()
    filtered = chain.filter(dynamics._up(dynamics._leaves(planes, shown)))
    drawn = chain.draw(filtered, torch.Generator().manual_seed(0))
    events = dynamics.events
    share = joint.given(tones, visible).softmax(0)
    place = events ** torch.arange(STEPS - 1, -1, -1)
    counts = (drawn * place).sum(dim=1).bincount(minlength=events**STEPS).double()
    keep = share * draws > 5
    expected = torch.cat([share[keep], share[~keep].sum()[None]]) * draws
    found = torch.cat([counts[keep], counts[~keep].sum()[None]])
    statistic = float(((found - expected).square() / expected.clamp_min(1e-9))[expected > 1].sum())
    assert statistic < chi2.ppf(0.999, int((expected > 1).sum()))


def test_what_follows_a_cue_is_that_of_the_joint(few) -> None:
    model, joint, tones, visible = few
    span, steps = joint.span, joint.span + 1
    cue = tones[: span + max(1, span // 2)]
    shown = visible[: len(cue)]
    share = joint.given(cue, shown).softmax(0)
    expected = torch.einsum("s,stp->tp", share, joint.films[:, len(cue) : len(cue) + steps].double())
    found = model.predict(shaped(cue, shown)[0], len(expected), shaped(cue, shown)[1])
    assert found.cue_frames == len(cue)
    assert torch.allclose(found.frames[0, len(cue) :].view(-1, 9), expected.float(), atol=1e-6)


def test_the_next_frame_is_that_of_the_joint(few) -> None:
    model, joint, tones, _ = few
    found = model.next_frames(shaped(tones, tones >= 0)[0])
    for time in range(1, len(tones)):
        before = torch.zeros_like(tones, dtype=torch.bool)
        before[:time] = True
        upto = before.clone()
        upto[time] = True
        past = joint.given(tones, before)
        joint_nats = past.logsumexp(0) - joint.given(tones, upto).logsumexp(0)
        assert found.joint_nats is not None
        assert float(found.joint_nats[0, time - 1]) == pytest.approx(float(joint_nats) / 9, abs=1e-10)
        same = (joint.films[:, time] == tones[time]).double()
        probs = past.softmax(0) @ (same * (1 - joint.noise) + (1 - same) * joint.noise)
        assert float(found.marginal_nats[0, time - 1]) == pytest.approx(float(-probs.log().mean()), abs=1e-10)


@pytest.mark.parametrize("tones", [2, 4])
def test_a_film_in_pieces_teaches_what_it_does_in_one(tones: int) -> None:
    frames = np.random.default_rng(1).integers(0, tones, size=(1, 30, 5, 4)).astype(np.uint8) * (255 // (tones - 1))
    whole = memory(frames, doublings=2, tones=tones).dynamics
    assert isinstance(whole, Memory)
    structure = whole._empty()
    flat = (frames[0] // (255 // (tones - 1))).reshape(30, -1)
    for start, end in ((0, 3), (3, 4), (4, 17), (17, 30)):
        structure.observe(flat[start:end], continues=start > 0)
    expected = whole.structure()
    for level, (mine, theirs) in enumerate(zip(structure.states, expected.states, strict=True)):
        assert np.array_equal(mine.rows, theirs.rows), level
        assert np.array_equal(mine.counts, theirs.counts), level
    for mine, theirs in zip(structure.edges, expected.edges, strict=True):
        assert np.array_equal(mine.rows, theirs.rows)
        assert np.array_equal(mine.counts, theirs.counts)


def test_films_one_by_one_teach_what_they_do_together() -> None:
    frames = films(n=3)
    together = memory(frames)
    single = memory(frames[:1])
    partial_fit(single, frames[1:])
    joined, other = memory(frames[:2]), memory(frames[2:])
    merge(joined, other)
    for model in (single, joined):
        assert model.config == together.config
        for name, table in together.state_dict().items():
            assert torch.equal(model.state_dict()[name].double(), table.double()), name


def test_a_batch_gives_what_each_film_gives() -> None:
    model = memory(films(n=3))
    asked = films(7, n=5)
    whole = model.infer(asked)
    for place in range(5):
        one = model.infer(asked[place])
        assert torch.allclose(whole.log_evidence_nats[place], one.log_evidence_nats[0])
        assert torch.equal(whole.path[place], one.path[0])


def test_pruning_keeps_what_was_seen_often() -> None:
    frames = np.concatenate([films(n=2)] * 2 + [films(9, n=1)])
    model, often = memory(frames), memory(np.concatenate([films(n=2)] * 2))
    prune(model, 2)
    assert model.config == often.config
    assert (model.infer(films(n=2)).path == often.infer(films(n=2)).path).all()
    with pytest.raises(RGMError, match="nothing would be left"):
        prune(model, 1000)


def test_a_closed_film_is_recalled_continued_completed_and_restored_without_error() -> None:
    film = bouncing_balls(128, ((2, 3),))
    model = TemporalRGM(TemporalConfig(image=(1, 24, 24), dynamics=MemoryConfig()))
    fit(model, film, recipe=MemoryRecipe(closed=True), device="cpu")
    lit = film > 0
    generator = torch.Generator().manual_seed(0)
    visible = torch.rand(lit.shape, generator=generator) > 1 / 3
    flipped = (lit ^ (torch.rand(lit.shape, generator=generator) < 0.05)).to(torch.uint8) * 255
    assert torch.equal(model.infer(film).frames[0] > 0.5, lit)
    assert torch.equal(model.complete(film, visible).frames[0] > 0.5, lit)
    assert torch.equal(model.infer(flipped).frames[0] > 0.5, lit)
    for offset in (0, 3, 57):
        after = model.predict(film[offset : offset + 8], 1280).frames[0, 8:] > 0.5
        assert torch.equal(after, lit.roll(-offset - 8, 0).repeat(10, 1, 1))


def test_a_state_holds_for_its_block_and_its_span() -> None:
    """Another event that differs in one member changes that member's block and frames alone."""
    frames = np.zeros((1, 16, 4, 4), dtype=np.uint8)
    frames[0, ::4, 0, 0] = 255
    frames[0, 8, 3, 3] = 255
    model = memory(frames, doublings=1)
    dynamics = model.dynamics
    assert isinstance(dynamics, Memory)
    shown = dynamics.films_of(torch.arange(dynamics.events)[:, None])[:, :, 0]
    rows = dynamics._members(len(dynamics.factors) - 1)
    for first in range(dynamics.events):
        for second in range(dynamics.events):
            differs = (rows[first] != rows[second]).nonzero().flatten().tolist()
            changed = (shown[first] != shown[second]).any(dim=0)
            blocks = changed.view(2, 2, 2, 2).any(dim=3).any(dim=1).flatten().nonzero().flatten().tolist()
            assert blocks == differs
