"""What every model of films promises: files, shapes, masks, and one clear line for what it is not given."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rgm import RGMError, TemporalRGM, load
from rgm.data.made_films import bouncing_balls
from rgm.loading import load_checkpoint, load_film_checkpoint
from rgm.presets import FILMS
from rgm.temporal.config import TemporalConfig
from rgm.temporal.fitting import merge
from rgm.temporal.flow_learning import FlowRecipe
from rgm.temporal.latent_learning import LatentRecipe
from rgm.training.fit import fit

QUICK = {
    "film-memory": None,
    "film-latent": LatentRecipe(tolerances=(0.0,), passes=1),
    "film-flow": FlowRecipe(starts=1, trial=4, passes=5, own_paths=0, border_passes=1),
}
ANSWERING = [name for name in FILMS if name != "film-clip"]
"""The others answer every call; `film-clip`, tested in test_grey_neighbourhoods.py, has no path of a whole frame."""


def film(colour: bool = False, grey: bool = False) -> torch.Tensor:
    frames = bouncing_balls(12, ((1, 2),), height=8, width=6, radius=1.5)
    if grey:
        frames = (frames.int() * (1 + torch.arange(12) % 3)[:, None, None] // 3).to(torch.uint8)
    return torch.stack([frames, frames // 3, frames * 0], dim=-1) if colour else frames


def trained(name: str, frames: torch.Tensor, tones: int = 2) -> TemporalRGM:
    image = (3 if frames.ndim == 4 else 1, *frames.shape[1:3])
    model = TemporalRGM.from_preset(name, image=image, tones=tones)
    if name == "film-flow":  # as many paths as are quick
        model = TemporalRGM(replace(model.config, dynamics=replace(model.config.dynamics, paths=5, reach=1, sight=2)))
    result = fit(model, frames, recipe=QUICK[name], device="cpu")
    assert result.model is model
    return model


@pytest.mark.parametrize("name", ANSWERING)
@pytest.mark.parametrize("kind", ["black and white", "grey", "colour"])
def test_every_preset_answers_every_call(name: str, kind: str) -> None:
    frames = film(colour=kind == "colour", grey=kind == "grey")
    model = trained(name, frames, tones=2 if kind == "black and white" else 4)
    shape, generator = tuple(frames.shape), torch.Generator().manual_seed(0)
    mask = torch.rand(12, 8, 6, generator=generator) < 0.8
    found = model.infer(frames, mask)
    assert found.frames.shape == (1, *shape)
    assert 0 <= float(found.frames.min()) <= float(found.frames.max()) <= 1
    assert found.log_evidence_nats.shape == (1,)
    assert float(model.log_prob(frames, mask)) == pytest.approx(float(found.log_evidence_nats), rel=1e-5)
    assert float(model.log_prob(frames, mask)) > float(model.log_prob(frames))
    for source in (None, generator):
        assert model.predict(frames[:5], 4, generator=source).frames.shape == (1, 9, *shape[1:])
        filled = model.complete(frames, mask, generator=source).frames
        tones = model.config.tones - 1
        known = (frames.float() / 255 * tones).round() / tones
        shown = mask if frames.ndim == 3 else mask[..., None].expand_as(frames)
        assert torch.allclose(filled[0][shown], known[shown], atol=1e-6)
    sampled = model.sample(5, 3, generator=generator)
    assert sampled.frames.shape == (3, 5, *shape[1:])
    nats = model.next_frames(frames)
    assert nats.marginal_nats.shape == (1, 11)
    bits, told = model.dynamics.retold(model.tones(frames))
    assert bits.shape == (1,)
    assert told.shape[:2] == (1, 12)


@pytest.mark.parametrize("name", ANSWERING)
def test_models_of_films_are_stored_and_loaded(name: str, tmp_path: Path) -> None:
    frames = film()
    model = trained(name, frames)
    model.save_pretrained(tmp_path / "model")
    for again in (TemporalRGM.from_pretrained(tmp_path / "model"), load(tmp_path / "model")):
        assert isinstance(again, TemporalRGM)
        assert again.config == model.config
        assert torch.equal(again.infer(frames).frames, model.infer(frames).frames)
    assert load_film_checkpoint(tmp_path / "model").model.size == model.size
    with pytest.raises(RGMError, match="is a model of films"):
        load_checkpoint(tmp_path / "model")
    with pytest.raises(RGMError, match="is a model of images"):
        load_film_checkpoint("mnist")


def test_equal_fits_give_equal_models() -> None:
    first, second = (trained("film-flow", film()) for _ in range(2))
    for name, table in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], table), name


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((12, 8, 6), dtype=np.uint8), "constant"),
        (np.ones((12, 9, 6), dtype=np.uint8), "model's frames are 1 × 8 × 6"),
        (np.ones((12, 8, 6, 3), dtype=np.uint8), "model's frames are 1 × 8 × 6"),
        (np.ones((1, 8, 6), dtype=np.uint8), "at least 2 frames"),
        (np.eye(8, 6, dtype=np.uint8)[None].repeat(3, 0) * 255, "an event spans 4 frames"),
    ],
)
def test_films_that_teach_nothing_are_told(frames: np.ndarray, message: str) -> None:
    model = TemporalRGM.from_preset("film-memory", image=(1, 8, 6))
    with pytest.raises(RGMError, match=message) as told:
        fit(model, frames, device="cpu")
    assert "\n" not in str(told.value)


def test_what_a_model_is_not_given_is_told() -> None:
    model = TemporalRGM.from_preset("film-memory", image=(1, 8, 6))
    with pytest.raises(RGMError, match="has seen no films yet"):
        model.infer(film())
    model = trained("film-memory", film())
    with pytest.raises(RGMError, match="a mask is true where"):
        model.infer(film(), torch.ones(12, 8, 7, dtype=torch.bool))
    with pytest.raises(RGMError, match="a mask is true where"):
        model.infer(film(), torch.ones(12, 8, 6))
    with pytest.raises(RGMError, match="a mask must be a tensor or an array of numbers"):
        model.infer(film(), "x")
    with pytest.raises(RGMError, match="the number of frames must"):
        model.predict(film(), 0)
    with pytest.raises(RGMError, match="the number of films must"):
        model.sample(3, 0)
    with pytest.raises(RGMError, match="without labels, epochs"):
        fit(model, film(), [0], device="cpu")  # type: ignore[call-overload]
    with pytest.raises(RGMError, match="did you mean 'film-flow'"):
        TemporalRGM.from_preset("film-flw")
    with pytest.raises(RGMError, match="is a SpatialRGM"):
        TemporalRGM.from_preset("standard")
    with pytest.raises(RGMError, match="memories are merged where"):
        merge(model, trained("film-memory", film(), tones=4))
    with pytest.raises(RGMError, match="1 or 3 channels"):
        TemporalConfig(image=(2, 8, 6), dynamics=model.config.dynamics)


def test_what_may_follow_an_event_is_as_often_as_it_did() -> None:
    """A B A C A B A C: B and C follow A as often, and A follows both."""
    a, b, c = torch.zeros(3, 4, 4, dtype=torch.uint8).unbind(0)
    a[0], b[1], c[2] = 255, 255, 255
    frames = torch.stack([a, b, a, c] * 2)
    model = TemporalRGM.from_preset("film-memory", image=(1, 4, 4))
    dynamics = replace(model.config.dynamics, doublings=0, jump=0.1)
    model = fit(TemporalRGM(replace(model.config, dynamics=dynamics)), frames, device="cpu").model
    path = model.infer(frames).path[0].tolist()
    first, second, third = path[0], path[1], path[3]
    found = model.successors(frames[:1], first)
    expected = {first: 0.1 / 2, second: 0.9 / 2 + 0.1 / 4, third: 0.9 / 2 + 0.1 / 4}
    assert dict(zip(found.number.tolist(), found.probability.tolist(), strict=True)) == pytest.approx(expected)
    shown = dict(zip(found.number.tolist(), found.frames, strict=True))
    for number, frame in ((first, a), (second, b), (third, c)):
        torch.testing.assert_close(shown[number][0], frame.float() / 255)
    assert len(model.successors(frames[:1], first, most=1).number) == 1
    after = model.follow(frames[:1], third, 40, generator=torch.Generator().manual_seed(0))
    assert after.path[0, 0] == third
    torch.testing.assert_close(after.frames[0, 0], c.float() / 255)
    assert len(set(after.path[0].tolist())) == 3
    with pytest.raises(RGMError, match=r"an event of this model must lie in 0 … 2, but is 3"):
        model.successors(frames[:1], 3)
    with pytest.raises(RGMError, match="one film, but 2"):
        model.follow(frames[None, :2].expand(2, -1, -1, -1), first, 4)


@pytest.mark.parametrize("name", ANSWERING)
def test_an_event_that_is_chosen_begins_what_follows(name: str) -> None:
    frames = film()
    model = trained(name, frames)
    found = model.successors(frames, 0, most=3)
    assert found.probability.tolist() == sorted(found.probability.tolist(), reverse=True)
    for number, shown in zip(found.number.tolist(), found.frames, strict=True):
        after = model.follow(frames, number, 6, generator=torch.Generator().manual_seed(1))
        assert int(after.path[0, 0]) == number
        assert after.frames.shape == (1, 6, 8, 6)
        torch.testing.assert_close(after.frames[0, : len(shown)], shown)
    if name == "film-flow":
        after = model.dynamics.follow_path(model.tones(frames[-1:]), found.number[:1, None])
        torch.testing.assert_close(found.frames[0, 0], after[0, 1, 0].clamp(0, 1))
        with pytest.raises(RGMError, match=r"by_neighbourhoods\(None\)"):
            model.by_neighbourhoods(3).successors(frames, 0)
