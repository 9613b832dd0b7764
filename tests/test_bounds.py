"""Long work takes no more memory than short work: resident memory, of processes that do nothing else."""

import json
import subprocess
import sys

import pytest

HEAD = """
import json, gc, torch
def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1])
torch.set_num_threads(1)
seen = []
"""

EPOCHS = """
from dataclasses import replace
from rgm.data.load import load_data
from rgm.model.spatial import SpatialRGM
from rgm.training.loop import NeuralTrainer
from rgm.training.recipe import recipe
data = load_data("digits", "train")
few = replace(data, images=data.images[:32], labels=data.labels[:32])
plan = recipe("seed").adjusted(epochs=200.0, batch_size=16)
training = NeuralTrainer(SpatialRGM(), few, few, plan, seed=0)
training.run(lambda _: None, lambda t, _: t.position.epoch % 10 or seen.append(resident()))
print(json.dumps(seen))
"""

REQUESTS = """
from starlette.testclient import TestClient
from rgm import load
from rgm.explorer.server import application
from rgm.explorer.service import Explorer
page = application(Explorer(load("mnist"), tuple("0123456789"), "mnist"))
client = TestClient(page, base_url="http://127.0.0.1:8765")
for number in range(1000):
    z1 = [[number % 7] * 7] * 7
    body = {"z1": z1} if number % 2 else {"z1": z1, "concept": number % 10, "cell": [3, 3]}
    assert client.post("/api/decode" if number % 2 else "/api/palette", json=body).status_code == 200
    if number % 50 == 49:
        seen.append(resident())
print(json.dumps(seen))
"""


def _resident(program: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", HEAD + program], check=True, capture_output=True, timeout=280)
    found: list[int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_two_hundred_epochs_leave_memory_flat() -> None:
    seen = _resident(EPOCHS)
    assert len(seen) == 20
    assert max(seen[2:]) < 1.05 * seen[1]


@pytest.mark.slow
def test_a_thousand_requests_leave_memory_flat() -> None:
    seen = _resident(REQUESTS)
    assert len(seen) == 20
    assert max(seen[2:]) < 1.05 * seen[1]
