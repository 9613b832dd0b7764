"""Progress on a terminal, and a training that can be interrupted between two steps."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rgm.runtime.progress import StepRecord

PATIENCE_S = 30.0
"""Without a terminal, a training says where it is at least this often."""


class _Bars:
    """A bar for each kind of work, with the loss, its terms, images a second and the time left; a line for the rest."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}
        self.seen: dict[TaskID, int] = {}

    def show(self, record: StepRecord) -> None:
        kind = "judge" if record.stage == "judge" else "model"
        if kind not in self.tasks:
            self.tasks[kind] = self.progress.add_task(kind, total=record.steps, rate="", terms="")
            self.progress.update(self.tasks[kind], completed=record.step - 1)
        task = self.tasks[kind]
        self.seen[task] = self.seen.get(task, 0) + record.images
        fields: dict[str, Any] = {}
        if record.step % 10 == 0 or record.step == record.steps:
            elapsed = self.progress.tasks[self.progress.task_ids.index(task)].elapsed or 0.0
            parts = {"loss": record.loss, **record.terms}
            fields = {
                "rate": f"{self.seen[task] / max(elapsed, 1e-3):,.0f} images/s",
                "terms": "  ".join(f"{name} {value:.4f}" for name, value in parts.items()),
            }
        self.progress.update(
            task, completed=record.step, total=record.steps, description=record.stage, **fields
        )

    def say(self, text: str) -> None:
        self.progress.console.print(f"[dim]{escape(text)} …[/dim]", highlight=False)


class _Lines:
    """A line for each stage, and one every half minute of a training, for a log."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.stage, self.began, self.first = "", self.start, 0

    def show(self, record: StepRecord) -> None:
        now = time.monotonic()
        begins = record.stage != self.stage
        if begins:
            self.stage, self.began, self.first = record.stage, now, record.step
        elif now < self.last + PATIENCE_S and record.step < record.steps:
            return
        done = record.step - self.first
        left = f", {_duration((now - self.began) / done * (record.steps - record.step))} left" if done else ""
        self._print(f"{record.stage}: step {record.step:,} of {record.steps:,}, loss {record.loss:.4f}{left}")

    def say(self, text: str) -> None:
        self._print(text)

    def _print(self, text: str) -> None:
        self.last = time.monotonic()
        print(f"[{_duration(self.last - self.start)}] {text}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """Return minutes and seconds, such as 2:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Watcher:
    """Watches a training, and is told what comes after it; see `progress`."""

    def __init__(self, drawn: "_Bars | _Lines | None") -> None:
        self.drawn = drawn
        self.pending: list[BaseException] = []
        self.training = False

    def __call__(self, record: StepRecord) -> None:
        """Show a step, and raise what a signal asked for while it was under way."""
        if self.drawn:
            self.drawn.show(record)
        self.training = record.step < record.steps and not self.pending
        if self.pending:
            print("rgm: stopped; a checkpoint is left, and --resume goes on from it", file=sys.stderr)
            raise self.pending.pop()

    def say(self, text: str) -> None:
        """Show what is done next."""
        if self.drawn:
            self.drawn.say(text)

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Remember a signal until the step under way is done; act on it at once where none is, or on a second one."""
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(143)
        if self.pending or not self.training:
            raise error
        self.pending.append(error)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Watcher]:
    """Give what shows progress on stderr, and what Ctrl-C and SIGTERM interrupt.

    On a terminal, bars; in a log, a line a stage and one every half minute; nothing where `quiet`. A signal is acted on
    after the step under way, so that the checkpoint that is left is whole: Ctrl-C raises KeyboardInterrupt, SIGTERM
    SystemExit(143). A second Ctrl-C is acted on at once.
    """
    console = Console(stderr=True)
    watcher = Watcher(None)
    in_main = threading.current_thread() is threading.main_thread()
    before = {
        number: signal.signal(number, watcher.on_signal)
        for number in (signal.SIGINT, signal.SIGTERM)
        if in_main
    }
    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}  [dim]{task.fields[terms]}[/dim]"),
    )
    try:
        if quiet:
            yield watcher
        elif not console.is_terminal:
            watcher.drawn = _Lines()
            yield watcher
        else:
            with Progress(*columns, console=console) as bars:
                watcher.drawn = _Bars(bars)
                yield watcher
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
