"""Requests of the page of films, and invalid ones."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from film_models import flow_explorer, forked, memory_explorer
from starlette.testclient import TestClient

from rgm import RGMError, TemporalRGM
from rgm.explorer.films import FilmExplorer, film_explorer
from rgm.explorer.server import HOST, application
from rgm.loading import FilmCheckpoint
from rgm.storage.checkpoint import Origin
from rgm.training.fit import fit


@pytest.fixture(scope="module")
def memory() -> FilmExplorer:
    return memory_explorer()


@pytest.fixture(scope="module")
def flow() -> FilmExplorer:
    return flow_explorer()


def client(service: FilmExplorer) -> TestClient:
    return TestClient(application(service), base_url=f"http://{HOST}:8765", raise_server_exceptions=False)


def post(service: FilmExplorer, name: str, **body: Any) -> Any:
    response = client(service).post(f"/api/{name}", content=json.dumps(body))
    assert response.status_code == 200, response.text
    return response.json()


def text(array: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=np.uint8).tobytes()).decode()


def frames(answer: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(answer), dtype=np.uint8).reshape(-1, 8, 8)


def test_the_page_needs_no_other_server(memory: FilmExplorer) -> None:
    for path in memory.files:
        response = client(memory).get(f"/{path}")
        assert response.status_code == 200
        assert "http://" not in response.text.replace("http://www.w3.org", "")
    assert client(memory).get("/app.js").status_code == 404


def test_the_description_of_the_models(memory: FilmExplorer, flow: FilmExplorer) -> None:
    about = client(memory).get("/api/about").json()
    assert [level["grid"] for level in about["levels"]] == [[4, 4], [2, 2], [1, 1]]
    assert [level["span"] for level in about["levels"]] == [1, 2, 2]
    assert (about["kind"], about["films"], about["frames"], about["window"]) == ("memory", 1, 48, 64)
    assert about["motions"] is None
    about = client(flow).get("/api/about").json()
    assert len(about["motions"]) == 5
    assert (about["kind"], about["films"], about["paths"]) == ("flow", 2, True)


def test_a_film_is_read_as_by_the_model(memory: FilmExplorer) -> None:
    film = post(memory, "film", index=0, start=4)["frames"]
    assert np.array_equal(frames(film), forked()[4:].numpy())
    found = post(memory, "infer", frames=film)
    expected = memory.model.infer(forked()[4:])
    assert found["path"] == expected.path[0].tolist()
    assert found["levels"] == [level[0].tolist() for level in expected.states[:-1]]
    assert found["evidence_nats"] == pytest.approx(float(expected.log_evidence_nats))
    assert (found["hidden"], found["wrong"]) == (0, 0)
    assert np.array_equal(frames(found["restored"]), forked()[4:].numpy())


def test_hidden_pixels_are_filled_in(memory: FilmExplorer) -> None:
    """A frame that is hidden is known from the event that it is a part of, and half of every frame from the rest."""
    film = forked().numpy()
    hidden = np.zeros(film.shape, dtype=bool)
    hidden[2], hidden[:, :, 4:] = True, True
    seen = np.where(hidden, 77, film)  # whatever is there is not seen
    found = post(memory, "infer", frames=text(seen), hidden=text(np.packbits(hidden)))
    assert found["hidden"] == hidden.sum()
    assert np.array_equal(frames(found["restored"]) > 128, film > 128)
    found = post(memory, "infer", frames=text(255 - film), hidden=text(np.packbits(np.ones(film.shape, dtype=bool))))
    assert 0 < found["wrong"] <= found["hidden"] == film.size


def test_what_may_follow_and_the_film_that_does(memory: FilmExplorer) -> None:
    film = forked().numpy()
    path = post(memory, "infer", frames=text(film))["path"]
    a, b, c = path[0], path[1], path[3]
    choices = post(memory, "successors", frames=text(film[:2]), event=a)["choices"]
    assert {choice["event"] for choice in choices[:2]} == {b, c}
    assert [choice["probability"] for choice in choices[:2]] == pytest.approx([0.5, 0.5], abs=1e-3)
    shown = {choice["event"]: frames(choice["frames"]) for choice in choices}
    assert np.array_equal(shown[c], film[6:8])
    after = frames(post(memory, "follow", frames=text(film[:2]), event=c, steps=30, seed=3)["frames"])
    assert np.array_equal(after[:2], film[6:8])
    assert len(after) == 30
    drawn = [frames(post(memory, "continue", frames=text(film[:2]), steps=2, seed=seed)["frames"]) for seed in range(8)]
    assert {one.tobytes() for one in drawn} == {film[2:4].tobytes(), film[6:8].tobytes()}


def test_a_flows_paths_are_chosen_and_followed(flow: FilmExplorer) -> None:
    film = flow.films[1].numpy()
    found = post(flow, "infer", frames=text(film))
    assert len(found["path"]) == len(film) - 1
    assert found["levels"] == []
    choices = post(flow, "successors", frames=text(film[:5]), event=found["path"][3])["choices"]
    for choice in choices[:2]:
        after = post(flow, "follow", frames=text(film[:5]), event=choice["event"], steps=6, seed=1)["frames"]
        assert np.array_equal(frames(after)[0], frames(choice["frames"])[0])


def test_a_flow_of_neighbourhoods_says_that_it_has_no_path(flow: FilmExplorer) -> None:
    near = FilmExplorer(flow.model.by_neighbourhoods(3), flow.films, "near")
    assert client(near).get("/api/about").json()["paths"] is False
    film = text(near.films[0].numpy())
    assert post(near, "infer", frames=film)["path"] == []
    assert len(frames(post(near, "continue", frames=film, steps=4, seed=0)["frames"])) == 4
    refused = client(near).post("/api/successors", content=json.dumps({"frames": film, "event": 0}))
    assert refused.status_code == 422
    assert "neighbourhood" in refused.json()["error"]


def test_invalid_requests_are_refused_with_a_reason(memory: FilmExplorer) -> None:
    film = text(forked().numpy())
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("film", {"index": 1}, "1 films of 48 frames"),
        ("film", {"index": 0, "start": 48}, "frame 49 of film 1"),
        ("infer", {"frames": "AAAA"}, "expected 1 to 64 frames of 8 × 8"),
        ("infer", {"frames": ""}, "expected 1 to 64 frames"),
        ("infer", {"frames": "?"}, "base64"),
        ("infer", {"frames": text(np.zeros((65, 8, 8)))}, "expected 1 to 64 frames"),
        ("infer", {"frames": film, "hidden": "AAAA"}, "a bit for each of 3,072 pixels"),
        ("successors", {"frames": film, "event": 99}, "an event of this model must lie in 0 …"),
        ("follow", {"frames": film, "event": 0, "steps": 10**6}, "steps"),
        ("follow", {"frames": film, "event": -1, "steps": 2}, "event"),
        ("continue", {"frames": film, "steps": 0}, "steps"),
        ("continue", {"frames": film, "steps": 1, "more": 1}, "more"),
    ]
    for name, body, reason in wrong:
        response = client(memory).post(f"/api/{name}", content=json.dumps(body))
        assert response.status_code == 422, (name, body, response.text)
        assert reason in response.json()["error"]


def test_without_its_films_a_model_shows_what_it_draws(memory: FilmExplorer, tmp_path: Path) -> None:
    origin = Origin(preset="film-memory", data=str(tmp_path / "gone.npz"), classes=(), seed=0)
    found = film_explorer(FilmCheckpoint(model=memory.model, file=tmp_path, origin=origin), "a memory", None)
    assert not found.own
    assert found.films.shape == (8, 64, 8, 8)
    known = {frame.numpy().tobytes() for frame in forked()}
    assert {frame.numpy().tobytes() for frame in found.films.flatten(0, 1)} == known


def test_frames_that_are_too_large_for_the_page_are_refused() -> None:
    model = TemporalRGM.from_preset("film-latent", image=(3, 1024, 1024))
    with pytest.raises(RGMError, match=r"3 × 1024 × 1024 are too large for the page"):
        FilmExplorer(model, torch.zeros(1, 2, 1024, 1024, 3, dtype=torch.uint8), "large")
    model = TemporalRGM.from_preset("film-latent", image=(1, 256, 256))
    assert FilmExplorer(model, torch.zeros(1, 2, 256, 256, dtype=torch.uint8), "less").window == 32


def test_colour_keeps_its_channels() -> None:
    frames = torch.stack([forked(), forked() // 3, forked() * 0], dim=-1)
    model = TemporalRGM.from_preset("film-memory", image=(3, 8, 8), tones=4)
    service = FilmExplorer(fit(model, frames, device="cpu").model, frames[None], "colour")
    found = post(service, "infer", frames=text(frames.numpy()))
    assert np.frombuffer(base64.b64decode(found["restored"]), np.uint8).tolist() == frames.flatten().tolist()
