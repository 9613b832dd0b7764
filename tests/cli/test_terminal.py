"""A log says where a run is; a signal is acted on after the step under way."""

import signal

import pytest

from rgm.cli import terminal
from rgm.cli.terminal import progress
from rgm.runtime.progress import StepRecord


def record(step: int, stage: str = "codes", steps: int = 100) -> StepRecord:
    return StepRecord(stage=stage, step=step, steps=steps, images=1, loss=0.5, terms={})


def test_a_log_has_a_line_a_stage_and_one_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with progress() as watch:
        watch.say("reading the data")
        for step in range(1, 71):  # a second a step
            now[0] += 1.0
            watch(record(step))
        now[0] += 1.0
        watch(record(71, stage="prior"))
        now[0] += 1.0
        watch(record(100, stage="prior"))
    assert capsys.readouterr().err.splitlines() == [
        "[0:00] reading the data",
        "[0:01] codes: step 1 of 100, loss 0.5000",
        "[0:31] codes: step 31 of 100, loss 0.5000, 1:09 left",
        "[1:01] codes: step 61 of 100, loss 0.5000, 0:39 left",
        "[1:11] prior: step 71 of 100, loss 0.5000",
        "[1:12] prior: step 100 of 100, loss 0.5000, 0:00 left",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=True) as watch:
        watch.say("reading the data")
        watch(record(1))
    assert capsys.readouterr().err == ""


def test_a_signal_waits_for_the_step_under_way_and_is_acted_on_at_once_where_none_is() -> None:
    with progress(quiet=True) as watch:
        watch(record(1))
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            watch(record(2))
        watch(record(100))  # the last: nothing is trained now
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
        assert ended.value.code == 143
        watch(record(3))
        signal.raise_signal(signal.SIGHUP)
        with pytest.raises(SystemExit) as ended:
            watch(record(4))
        assert ended.value.code == 129


@pytest.mark.parametrize("goes_on", ["", "the same command continues"])
def test_what_is_said_of_an_interruption_is_of_its_command(goes_on: str, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        with progress(quiet=True, goes_on=goes_on) as watch:
            watch(record(1))
            signal.raise_signal(signal.SIGINT)
            watch(record(2))

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert capsys.readouterr().err == (f"rgm: stopped; {goes_on}\n" if goes_on else "")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with progress(quiet=True) as watch:
            watch(record(1))
            signal.raise_signal(signal.SIGINT)
            watch(record(2))
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
