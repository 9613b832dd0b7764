"""Distributed training equals training in one process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rgm.data.load import from_arrays
from rgm.distributions.noise import BatchSlice, Source, bernoulli, exponential, integers, uniform
from rgm.errors import RGMError
from rgm.loading import load_checkpoint
from rgm.model.spatial import SpatialRGM
from rgm.runtime.distributed import Processes, current, gathered, mean, total
from rgm.storage.checkpoint import step_files
from rgm.training.loop import NeuralTrainer
from rgm.training.recipe import recipe

TOGETHER = Path(__file__).with_name("together.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "draw",
    [
        lambda n, source: uniform((n, 3), source, CPU),
        lambda n, source: integers(2, 9, (n,), source, CPU),
        lambda n, source: exponential(torch.empty(n, 4, 3, 2), source),
        lambda n, source: exponential(torch.empty(n, 4, 3, 2).contiguous(memory_format=torch.channels_last), source),
    ],
)
def test_a_share_of_the_noise_is_the_batches_own(draw: Callable[[int, Source], torch.Tensor]) -> None:
    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(5)

    full = draw(7, seeded())
    for rank in range(3):
        rows = Processes(rank=rank, count=3).rows(7, CPU)
        assert torch.equal(draw(len(rows), BatchSlice(seeded(), rows, 7)), full[rows])
    twice = draw(14, seeded())
    share = BatchSlice(seeded(), torch.tensor([1, 4]), 7).twice()
    assert torch.equal(draw(4, share), twice[[1, 4, 8, 11]])


def test_black_and_white_is_drawn_alike() -> None:
    grey = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    full = bernoulli(grey, torch.Generator().manual_seed(5))
    rows = torch.tensor([0, 3, 6])
    part = bernoulli(grey[rows], BatchSlice(torch.Generator().manual_seed(5), rows, 7))
    assert torch.equal(part, full[rows])


@pytest.mark.parametrize(("batch", "count"), [(7, 3), (6, 2), (1, 4), (64, 5)])
def test_rows_are_dealt_out_once_and_weigh_alike(batch: int, count: int) -> None:
    everyone = [Processes(rank=rank, count=count) for rank in range(count)]
    rows = [one.rows(batch, CPU) for one in everyone if one.weight(batch)]
    assert sorted(torch.cat(rows).tolist()) == list(range(batch))
    values = torch.arange(batch).double() ** 2
    means = [one.weight(batch) * values[one.rows(batch, CPU)].mean() for one in everyone]
    assert float(sum(means)) / count == pytest.approx(float(values.mean()))


def test_one_process_adds_up_to_itself() -> None:
    x = torch.ones(3, requires_grad=True)
    assert current() == Processes()
    assert total(x) is x
    assert mean(x) is x
    assert gathered(x)[0] is x


def test_more_processes_than_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rgm.training.loop.current", lambda: Processes(rank=0, count=9))
    data = from_arrays(torch.zeros(8, 28, 28, dtype=torch.uint8), torch.arange(8))
    with pytest.raises(RGMError, match="9 processes cannot share 8 images"):
        NeuralTrainer(SpatialRGM(), data, None, recipe("seed"), seed=0)


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    """Every preset's recipe, ten steps in float64: weights and losses within 1e-9, measures to the digit."""
    places = [tmp_path / "one", tmp_path / "two"]
    for place, command in zip(places, ([sys.executable], TORCHRUN), strict=True):
        place.mkdir()
        subprocess.run([*command, str(TOGETHER), str(place)], check=True, timeout=250, capture_output=True)
    names = sorted(path.name for path in places[0].iterdir())
    assert len(names) == 7
    for name in names:
        one, two = (load_file(place / name) for place in places)
        assert one.keys() == two.keys()
        assert len(one["losses"]) == 10
        for key, value in one.items():
            torch.testing.assert_close(
                two[key], value, atol=1e-9, rtol=0, msg=lambda output, at=f"{name} {key}": f"{at}: {output}"
            )


@pytest.mark.slow
def test_a_process_that_dies_stops_the_others_and_one_goes_on_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ["train", "--data", "digits", "--preset", "seed", "--epochs", "5", "--out", str(out), "--device", "cpu"]
    command = [*TORCHRUN, "-m", "rgm", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as together:
        checkpoint = out / "checkpoints"
        start = time.monotonic()
        while not step_files(checkpoint):
            assert together.poll() is None, together.stderr and together.stderr.read()
            assert time.monotonic() < start + 120
            time.sleep(0.1)
        children = Path(f"/proc/{together.pid}/task/{together.pid}/children").read_text().split()
        workers = [int(child) for child in children if "rgm" in Path(f"/proc/{child}/cmdline").read_text()]
        assert len(workers) == 2
        killed = time.monotonic()
        os.kill(workers[1], signal.SIGKILL)
        _, output = together.communicate(timeout=60)
        assert time.monotonic() < killed + 60
        assert together.returncode != 0
        assert b"Signal 9 (SIGKILL)" in output
    done = load_checkpoint(checkpoint)
    assert done.unfinished is not None
    assert not (out / "metrics.json").exists()
    epoch = done.unfinished.numbers["position"]["epoch"]
    assert epoch >= 1
    # One process resumes the run of two, with as many epochs, but here only the next.
    alone = [sys.executable, "-m", "rgm", *options, "--resume", "--quiet"]
    subprocess.run(alone, check=True, timeout=250, env=environment, capture_output=True)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 6))
