"""Killed trainings resume bit-identically."""

import multiprocessing
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from rgm.errors import RGMError
from rgm.storage.checkpoint import CHECKPOINTS, FILE, step_files
from rgm.training.config import RunConfig
from rgm.training.run import plan_run

KILLS = 20
CONFIG = RunConfig(data="digits", preset="seed", epochs=3.0, batch_size=64, device="cpu")


def _train(out: Path, resume: bool) -> None:
    torch.set_num_threads(1)
    plan_run(CONFIG).carry_out(out, resume=resume, checkpoint_every_s=0.0)  # a checkpoint at every step


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Restore global settings that training changes."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def starts() -> multiprocessing.context.ForkServerContext:
    """Processes that start with PyTorch imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rgm.training.run", "sklearn.datasets", __name__])
    return context


@pytest.fixture(scope="module")
def uninterrupted(starts: multiprocessing.context.ForkServerContext, once: Callable[..., Path]) -> Path:
    """An uninterrupted training."""

    def make(folder: Path) -> None:
        process = starts.Process(target=_train, args=(folder, False))
        process.start()
        process.join(120)
        assert process.exitcode == 0

    return once("uninterrupted", make)


def same(one: Path, two: Path) -> None:
    for name in (FILE, "metrics.jsonl", "metrics.json", "config.json"):
        equal = (one / name).read_bytes() == (two / name).read_bytes()
        assert equal, f"{name} differs"  # without pytest's byte-by-byte comparison


def _progress(process: BaseProcess, out: Path, before: set[str], moment: float) -> None:
    """Wait until the process has saved a new checkpoint or ended, and then for a moment."""
    deadline = time.monotonic() + 60
    while process.is_alive() and {file.name for file in step_files(out / CHECKPOINTS)} <= before:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(moment)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_training_killed_twenty_times_is_bit_identical(
    starts: multiprocessing.context.ForkServerContext, uninterrupted: Path, tmp_path: Path
) -> None:
    moments, steps = random.Random(0), []
    for _ in range(KILLS):
        seen = {file.name for file in step_files(tmp_path / CHECKPOINTS)}
        process = starts.Process(target=_train, args=(tmp_path, True))
        process.start()
        _progress(process, tmp_path, seen, moments.uniform(0, 0.05))
        process.kill()
        process.join(30)
        assert process.exitcode == -signal.SIGKILL
        steps.append(step_files(tmp_path / CHECKPOINTS)[0].name)
    assert not (tmp_path / FILE).exists()
    assert len(set(steps)) == KILLS  # it progressed every time, and never finished
    process = starts.Process(target=_train, args=(tmp_path, True))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    same(uninterrupted, tmp_path)
    assert len(step_files(tmp_path / CHECKPOINTS)) == 3
    assert not list(tmp_path.rglob(".rgm-*"))  # no temporary files remain


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_resumed(
    uninterrupted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(uninterrupted, out)
    newest, *_ = step_files(out / CHECKPOINTS)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    for name in (FILE, "metrics.jsonl", "metrics.json"):
        (out / name).unlink()
    _train(out, resume=True)
    assert f"{newest} is not as it was written: its checksum differs" in caplog.text
    same(uninterrupted, out)


def test_a_run_killed_after_its_last_checkpoint_writes_its_results(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "late"
    shutil.copytree(uninterrupted, out)
    for name in (FILE, "metrics.jsonl", "metrics.json", "config.json"):
        (out / name).unlink()
    _train(out, resume=True)
    same(uninterrupted, out)


def test_other_images_labels_or_precision_are_another_run(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "other"
    shutil.copytree(uninterrupted, out)
    for name, value in (("labels", 500), ("precision", "bfloat16"), ("size", 32)):
        other = replace(CONFIG, **{name: value})
        with pytest.raises(RGMError, match=rf"belongs to a run with other options \({name} .* then, {value} now\)"):
            plan_run(other).carry_out(out, resume=True)


def test_results_of_an_earlier_model_are_removed(uninterrupted: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(uninterrupted, out)
    (out / "figures").mkdir()
    old = [out / "evidence.json", out / "locality.json", out / "report.html", out / "figures" / "patch.png"]
    for path in old:
        path.touch()
    plan_run(replace(CONFIG, seed=2, epochs=0.1)).carry_out(out)
    assert not any(path.exists() for path in old)
    assert (out / FILE).exists()


def test_a_second_training_into_a_folder_is_refused(
    starts: multiprocessing.context.ForkServerContext, tmp_path: Path
) -> None:
    process = starts.Process(target=_train, args=(tmp_path, False))
    process.start()
    _progress(process, tmp_path, set(), 0)
    with pytest.raises(RGMError, match="is being written by another process: wait for it to end"):
        plan_run(CONFIG).carry_out(tmp_path)
    assert process.is_alive()
    process.kill()
    process.join(30)


def test_a_full_disk_stops_training_and_the_last_checkpoint_is_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, written = replace(CONFIG, epochs=1.0), 0

    def full(_: int) -> None:
        nonlocal written
        written += 1
        if written > 12:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(RGMError, match="No space left on device"):
            plan_run(short).carry_out(tmp_path, checkpoint_every_s=0.0)
    left = len(step_files(tmp_path / CHECKPOINTS))
    assert left == 3
    result = plan_run(short).carry_out(tmp_path, resume=True)
    assert result.history[-1].step == 23
