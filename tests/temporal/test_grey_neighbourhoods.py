"""Grey films of which each neighbourhood has a path: sums by hand, and things that move apart predicted."""

from dataclasses import replace

import pytest
import torch

from rgm.errors import RGMError
from rgm.temporal.config import FlowConfig, TemporalConfig, film_clip
from rgm.temporal.flow import Flow
from rgm.temporal.flow_learning import clip_recipe
from rgm.temporal.kernels import blocks_of, evidence, shifts
from rgm.temporal.model import TemporalRGM
from rgm.temporal.neighbourhoods import EVIDENCE, GREY_DOUBT, GreyNeighbourhoods
from rgm.training.fit import fit

HEIGHT, WIDTH, TONES, PATHS = 4, 5, 3, 2


def toy() -> GreyNeighbourhoods:
    generator = torch.Generator().manual_seed(0)

    def rows(*shape: int) -> torch.Tensor:
        drawn = torch.empty(*shape, dtype=torch.float64).exponential_(generator=generator)
        return drawn / drawn.sum(dim=-1, keepdim=True)

    return GreyNeighbourhoods(
        kernels=rows(PATHS, 9),
        start=rows(PATHS),
        follow=rows(PATHS, PATHS),
        noise=rows(TONES, TONES),
        base=rows(TONES),
        background=1,
        copied=0.9,
        side=3,
    )


def test_one_step_is_the_sums_of_the_equations() -> None:
    near = toy()
    frames = torch.randint(TONES, (2, 1, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1)).double()
    before, after = frames
    beliefs = torch.rand(1, PATHS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    beliefs = beliefs / beliefs.sum(dim=1, keepdim=True)
    offsets = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1)]
    log, expected = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.float64)
    given_path = torch.zeros(PATHS, HEIGHT, WIDTH, dtype=torch.float64)
    carried = torch.zeros(PATHS, HEIGHT, WIDTH, dtype=torch.float64)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            share, copied, mean, value = 0.0, 0.0, 0.0, int(after[0, row, column])
            for number, (down, across) in enumerate(offsets):
                y, x = row + down, column + across
                inside = 0 <= y < HEIGHT and 0 <= x < WIDTH
                source = int(before[0, y, x]) if inside else near.background
                given_path[:, row, column] += near.kernels[:, number] * near.noise[source, value]
                if inside:
                    carried[:, row, column] += near.kernels[:, number] * beliefs[0, :, y, x]
                    arrives = float(near.kernels[:, number] @ beliefs[0, :, y, x])
                    share += arrives
                    copied += arrives * float(near.noise[source, value])
                    mean += arrives * source
            log[row, column] = torch.tensor(0.9 * copied / share + 0.1 * float(near.base[value])).log()
            expected[row, column] = 0.9 * mean / share + 0.1 * float(near.base @ torch.arange(3.0).double())
            given_path[:, row, column] = 0.9 * given_path[:, row, column] + 0.1 * near.base[value]
    told = near.predict(before, beliefs)
    assert torch.allclose(near.log_prob(told, after)[0], log, atol=1e-9)
    assert torch.allclose(near.guess(told, None)[0], expected, atol=1e-9)
    belief = carried + GREY_DOUBT * near.start[:, None, None]
    for row in range(HEIGHT):
        for column in range(WIDTH):
            around = given_path[:, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            belief[:, row, column] *= around.log().sum(dim=(1, 2)).mul(EVIDENCE).exp()
    belief = torch.einsum("uhw,uv->vhw", belief / belief.sum(dim=0), near.follow)
    found = near.update(before, beliefs, after, torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool))
    assert torch.allclose(found[0], belief, atol=1e-9)


def test_drawn_tones_follow_their_probabilities() -> None:
    near = toy()
    before = torch.randint(TONES, (1, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1)).double()
    many = before.expand(4000, -1, -1)
    drawn = near.guess(near.predict(many, near.begin(many)), torch.Generator().manual_seed(0))
    told = near.predict(before, near.begin(before))
    for tone in range(TONES):
        likely = near.log_prob(told, torch.full_like(before, tone)).exp()[0]
        assert ((drawn == tone).double().mean(dim=0) - likely).abs().max() < 0.035  # 4.4 standard errors


def test_evidence_of_blocks_adds_up_to_that_of_the_frame() -> None:
    flow = Flow((1, 7, 5), 3, FlowConfig(paths=3, reach=1)).double()
    tones = torch.randint(3, (4, 7, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    kernels = torch.rand(1, 3, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise = torch.full((3, 3), 0.1, dtype=torch.float64) + 0.7 * torch.eye(3, dtype=torch.float64)
    found = [
        evidence(
            tones[:-1],
            tones[1:],
            reach=1,
            noise=noise,
            base=flow.base,
            background=0,
            copied=0.9,
            shared=True,
            side=side,
        ).log_prob(kernels)
        for side in (None, 3)
    ]
    assert blocks_of(7, 5, 3).max() == 5
    assert found[1].shape == (3 * 6, 3)
    assert torch.allclose(found[1].view(3, 6, 3).sum(dim=1), found[0], atol=1e-9)


def test_shifts_move_by_parts_of_a_pixel() -> None:
    found = shifts(1, 0.5)
    assert found.shape == (25, 9)
    assert torch.allclose(found.sum(dim=1), torch.ones(25))
    every = torch.cartesian_prod(torch.arange(-1.0, 2.0), torch.arange(-1.0, 2.0))
    halves = torch.linspace(-1, 1, 5)
    assert torch.allclose(found @ every, torch.cartesian_prod(halves, halves))


@pytest.fixture(scope="module")
def textures() -> torch.Tensor:
    """Two halves of a texture that move apart, one up and one to the right, in 12 frames of 24 × 24."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(1, 2, 40, 40, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1)[0]
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    frames = []
    for time in range(12):
        left, right = smooth[0, time : time + 24, :12], smooth[1, :24, 12 - time : 24 - time]
        frames.append(torch.cat([left, right], dim=1))
    return torch.stack(frames).mul(255).byte()


def test_textures_that_move_apart_are_predicted(textures: torch.Tensor) -> None:
    model = TemporalRGM(replace(film_clip((1, 24, 24)), dynamics=replace(film_clip().dynamics, neighbourhood=5)))
    fit(model, textures[:6], recipe=clip_recipe(), device="cpu")
    after = model.predict(textures[:9], 1).frames[0, -1]
    still, moved = (float((one - textures[9] / 255).square().mean()) for one in (textures[8] / 255, after))
    assert moved < still / 4
    assert model.next_frames(textures[6:]).marginal_nats.shape == (1, 5)
    drawn = model.sample(3, 2, generator=torch.Generator().manual_seed(0)).frames
    assert drawn.shape == (2, 3, 24, 24)
    assert float(model.log_prob(textures)) < 0
    with pytest.raises(RGMError, match="every neighbourhood has a path of its own"):
        model.dynamics.retold(model.tones(textures))
    visible = torch.ones(12, 24, 24, dtype=torch.bool)
    visible[5, 4:8, 4:8] = False
    filled = model.complete(textures, visible).frames[0, 5, 4:8, 4:8]
    shown = textures / 255
    assert (filled - shown[5, 4:8, 4:8]).square().mean() < (shown[4] - shown[5])[4:8, 4:8].square().mean() / 2


def test_what_does_not_fit_is_told(textures: torch.Tensor) -> None:
    model = TemporalRGM(TemporalConfig(image=(1, 24, 24), tones=16, dynamics=FlowConfig(paths=7, reach=1)))
    with pytest.raises(RGMError, match="make 25 paths, shared by all places, but the model has 7"):
        fit(model, textures, recipe=clip_recipe(), device="cpu")
    with pytest.raises(RGMError, match="without colour"):
        TemporalRGM.from_preset("film-clip", image=(3, 24, 24))
