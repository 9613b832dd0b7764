"""Requests of the page about an agent that plays."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from play_agents import play_service
from starlette.testclient import TestClient

from rgm.explorer.play import PlayExplorer
from rgm.explorer.server import HOST, application
from rgm.report.play import painted


@pytest.fixture(scope="module")
def service() -> PlayExplorer:
    return play_service()


def ask(service: PlayExplorer, name: str, **body: Any) -> Any:
    client = TestClient(application(service), base_url=f"http://{HOST}:8765", raise_server_exceptions=False)
    return client.post(f"/api/{name}", content=json.dumps(body))


def post(service: PlayExplorer, name: str, **body: Any) -> Any:
    response = ask(service, name, **body)
    assert response.status_code == 200, response.text
    return response.json()


def picture(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=np.uint8).reshape(6, 5, 3)


def hiding(cells: np.ndarray) -> str:
    return base64.b64encode(np.packbits(cells).tobytes()).decode()


def test_the_description_of_the_game(service: PlayExplorer) -> None:
    about = service.about()
    assert about["env"] == "catch"
    assert about["image"] == [3, 6, 5]
    assert about["actions"] == ["left", "stay", "right"]
    assert about["frames"] == 4000
    assert about["states"] == len(service.agent.planned)
    for path in service.files:
        client = TestClient(application(service), base_url=f"http://{HOST}:8765")
        assert client.get(f"/{path}").status_code == 200


def test_the_agent_plays_and_what_it_expects_comes(service: PlayExplorer) -> None:
    """All that chance does in Catch is the column of a new fruit."""
    found = post(service, "begin", seed=3)
    assert (found["step"], found["taken"], found["expected"]) == (0, None, None)
    surprises = 0
    for step in range(60):
        plan = found["plan"]
        assert plan[0]["action"] == found["action"] == int(np.argmax(found["worth"]))
        assert np.array_equal(picture(plan[0]["frame"]), picture(found["frame"]))
        assert np.array_equal(picture(found["belief"]), picture(found["frame"]))
        before = found
        found = post(service, "step", game=found["game"], step=step)
        assert found["taken"] == before["action"]
        surprises += not np.array_equal(picture(found["expected"]), picture(found["frame"]))
        if len(plan) > 1:
            assert np.array_equal(picture(plan[1]["frame"]), picture(found["expected"]))
    assert (found["hits"], found["misses"]) == (10, 0)
    assert surprises <= 10


def test_actions_are_taken_over(service: PlayExplorer) -> None:
    found = post(service, "begin", seed=1)
    for step in range(4):
        found = post(service, "step", game=found["game"], step=step, action=0)
        assert found["taken"] == 0
        assert np.array_equal(picture(found["expected"]), picture(found["frame"]))
    basket = painted(np.array([[1, 0, 0, 0, 0]]), 0)[0]
    assert np.array_equal(picture(found["frame"])[-1], basket)


def test_hidden_cells_are_not_seen_and_believed_in(service: PlayExplorer) -> None:
    found = post(service, "begin", seed=2)
    cells = np.zeros((6, 5), dtype=bool)
    cells[1:5] = True  # the fruit falls behind a curtain
    for step in range(3):
        found = post(service, "step", game=found["game"], step=step, hidden=hiding(cells))
        assert found["filtered"]
        assert found["states"][0][1] > 0.9
    assert np.abs(picture(found["belief"]).astype(int) - picture(found["frame"])).max() < 12
    everything = hiding(np.ones((6, 5), dtype=bool))
    for step in range(3, 23):
        found = post(service, "step", game=found["game"], step=step, hidden=everything)
    assert found["entropy_bits"] > 1.5  # five columns for each new fruit


def test_what_is_refused(service: PlayExplorer) -> None:
    found = post(service, "begin", seed=0)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"game": found["game"], "step": 1}, "begin a new one"),
        ({"game": found["game"] + 1, "step": 0}, "begin a new one"),
        ({"game": found["game"], "step": 0, "action": 3}, "actions are 0 … 2, but 3"),
        ({"game": found["game"], "step": 0, "hidden": "AA=="}, "a bit for each of 30 cells"),
        ({"game": found["game"], "step": 0, "hidden": "?"}, "base64"),
        ({"game": found["game"]}, "step"),
    ]
    for body, reason in wrong:
        response = ask(service, "step", **body)
        assert response.status_code == 422, response.text
        assert reason in response.json()["error"]
    assert post(service, "step", game=found["game"], step=0)["step"] == 1
