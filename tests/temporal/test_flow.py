"""Paths as local transformations: the evidence by hand, and films that were never seen predicted."""

import math

import pytest
import torch

from rgm.data.made_films import ball
from rgm.errors import RGMError
from rgm.temporal.config import FlowConfig, TemporalConfig
from rgm.temporal.flow import Flow
from rgm.temporal.flow_learning import FlowRecipe
from rgm.temporal.model import TemporalRGM
from rgm.training.fit import fit


def toy(places: str = "shared", tones: int = 2) -> Flow:
    """Return a flow with random tables, in float64."""
    generator = torch.Generator().manual_seed(0)
    config = FlowConfig(paths=3, reach=1, places=places, sight=2, copied=0.9, firsts=2)
    flow = Flow((1, 4, 5), tones, config).double()
    for table in (flow.kernels, flow.start, flow.follow, flow.base):
        drawn = torch.empty_like(table).exponential_(generator=generator)
        table.copy_(drawn / drawn.sum(dim=-1, keepdim=True))
    if tones > 2:
        drawn = torch.empty_like(flow.noise).exponential_(generator=generator)
        flow.noise.copy_(drawn / drawn.sum(dim=-1, keepdim=True))
    flow.firsts.copy_(torch.randint(tones, flow.firsts.shape, generator=generator).to(torch.uint8))
    return flow


def film(tones: int = 2, n: int = 2, time: int = 4) -> torch.Tensor:
    return torch.randint(tones, (n, time, 1, 4, 5), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def pixel(flow: Flow, before: torch.Tensor, value: int, row: int, column: int, path: int) -> float:
    """Return p(x′ = value | x, u) of one pixel, by the equation."""
    place = 0 if len(flow.kernels) == 1 else row * 5 + column
    total = 0.0
    for number, (down, across) in enumerate((d, a) for d in (-1, 0, 1) for a in (-1, 0, 1)):
        inside = 0 <= row + down < 4 and 0 <= column + across < 5
        source = int(before[row + down, column + across]) if inside else int(flow.background)
        total += float(flow.kernels[place, path, number] * flow.noise[source, value])
    return flow.config.copied * total + (1 - flow.config.copied) * float(flow.base[value])


@pytest.mark.parametrize(("places", "tones"), [("shared", 2), ("each", 2), ("shared", 3)])
def test_evidence_and_next_frames_are_sums_over_paths(places: str, tones: int) -> None:
    flow, films = toy(places, tones), film(tones)
    visible = torch.ones_like(films, dtype=torch.bool)
    found = flow.next_frames(films)
    for number, one in enumerate(films[:, :, 0]):
        first = [
            math.prod(0.9 if kept else 0.1 / (tones - 1) for kept in (frame[0] == one[0]).flatten())
            for frame in flow.firsts
        ]
        belief, log = flow.start.clone(), math.log(sum(first) / 2)
        for step in range(3):
            if step:
                down, across = flow.ahead(one[step] != int(flow.background))
                rows = torch.stack([flow.follow[u, down[u], across[u]] for u in range(3)])
                belief = belief @ rows
            pixels = torch.tensor(
                [
                    [pixel(flow, one[step], int(one[step + 1, r, c]), r, c, u) for r in range(4) for c in range(5)]
                    for u in range(3)
                ],
                dtype=torch.float64,
            )
            marginal = -(belief @ pixels).log().mean()
            assert float(found.marginal_nats[number, step]) == pytest.approx(float(marginal), abs=1e-9)
            joint = belief * pixels.prod(dim=1)
            assert float(found.joint_nats[number, step]) == pytest.approx(-math.log(float(joint.sum())) / 20, abs=1e-9)
            log += math.log(float(joint.sum()))
            belief = joint / joint.sum()
        assert float(flow.log_prob(films, visible)[number]) == pytest.approx(log, abs=1e-8)


def test_the_filter_for_hidden_pixels_agrees_where_none_is_hidden() -> None:
    flow, films = toy(), film()
    visible = torch.ones_like(films, dtype=torch.bool)
    almost = visible.clone()
    almost[:, -1, :, -1, -1] = False
    _, exact, _ = flow._run(films[:, :3], visible[:, :3])
    _, masked, _ = flow._run(films, almost)
    assert exact is not None
    assert masked is not None
    assert torch.allclose(exact.filtered, masked.filtered[:, :2], atol=1e-9)


def moving_balls(count: int, seed: int) -> torch.Tensor:
    """Films of one ball, seen whole, that moves by one pixel down or across, from anywhere."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(3, 9, (count, 1, 1, 2), generator=generator)
    steps = torch.tensor([[0, 1], [1, 0], [0, -1], [-1, 0]])[torch.randint(4, (count,), generator=generator)]
    centres = (start + torch.arange(5)[None, :, None, None] * steps[:, None, None]).double().numpy()
    return torch.stack([ball(one, height=14, width=14, radius=1.5) for one in centres])


@pytest.fixture(scope="module")
def model() -> TemporalRGM:
    """A flow that has seen a ball move by one pixel."""
    model = TemporalRGM(TemporalConfig(image=(1, 14, 14), dynamics=FlowConfig(paths=6, reach=1, sight=0)))
    recipe = FlowRecipe(trial=12, passes=16, starts=2, own_paths=0)
    fit(model, moving_balls(30, 0), recipe=recipe, device="cpu", seed=0)
    return model


def test_motion_that_was_never_seen_there_is_predicted(model: TemporalRGM) -> None:
    unseen = torch.zeros(1, 5, 14, 14, dtype=torch.uint8)
    for time in range(5):
        unseen[0, time, 3 + time : 6 + time, 4] = 255  # a bar, not a ball
    after = model.predict(unseen[:, :2], 3).frames[0, 2:]
    assert torch.equal(after > 0.5, unseen[0, 2:] > 0)
    nats = model.next_frames(unseen).marginal_nats
    assert float(nats[:, 1:].mean()) < 0.02
    assert model.infer(unseen).path.shape == (1, 4)
    drawn = model.sample(5, 3, generator=torch.Generator().manual_seed(0))
    assert drawn.frames.shape == (3, 5, 14, 14)


def test_options_of_another_learner_are_refused() -> None:
    model = TemporalRGM.from_preset("film-memory", image=(1, 14, 14))
    with pytest.raises(RGMError, match="fitted by MemoryRecipe"):
        fit(model, moving_balls(2, 0), recipe=FlowRecipe(), device="cpu")


def test_two_things_that_move_apart_are_predicted_by_neighbourhoods(model: TemporalRGM) -> None:
    unseen = torch.zeros(1, 6, 14, 14, dtype=torch.uint8)
    for time in range(6):
        unseen[0, time, 2:4, 2 + time : 4 + time] = 255
        unseen[0, time, 9 - time : 11 - time, 11] = 255
    near = model.by_neighbourhoods(5)
    whole, parts = (float(one.next_frames(unseen).marginal_nats[:, 1:].mean()) for one in (model, near))
    assert parts < whole / 2
    after = near.predict(unseen[:, :3], 2).frames[0, 3:]
    assert torch.equal(after > 0.5, unseen[0, 3:5] > 0)
    assert float(near.log_prob(unseen)) < 0
    with pytest.raises(RGMError, match="odd number"):
        model.by_neighbourhoods(4)


def test_kernels_of_each_place_are_chosen_where_they_predict_better() -> None:
    """The left half moves down and the right half up: no shared kernel tells it."""
    generator = torch.Generator().manual_seed(0)
    first = (torch.rand(24, 8, 8, generator=generator) < 0.3).to(torch.uint8) * 255
    left, right = first[:, :, :4], first[:, :, 4:]
    films = torch.stack([torch.cat([left.roll(t, 1), right.roll(-t, 1)], dim=2) for t in range(4)], dim=1)
    model = TemporalRGM(TemporalConfig(image=(1, 8, 8), dynamics=FlowConfig(paths=2, reach=1, sight=0)))
    recipe = FlowRecipe(trial=25, passes=30, starts=1, own_paths=2, own_reach=1)
    fit(model, films, recipe=recipe, device="cpu", seed=0)
    assert model.config.dynamics.places == "each"
    inner = model.predict(films[:, :2], 1).frames[:, 2, 1:-1]
    assert float(((inner > 0.5) == (films[:, 2, 1:-1] > 0)).float().mean()) > 0.95
