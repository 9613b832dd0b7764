"""Progress on a terminal, and a training that can be interrupted between two steps."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rgm.progress import StepRecord, Watch


class _Bars:
    """A bar for each kind of work, with the loss, its terms, images a second and the time left."""

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


@contextmanager
def progress(quiet: bool = False) -> Iterator[Watch]:
    """Give a `watch` that draws progress where stderr is a terminal, and that Ctrl-C and SIGTERM interrupt.

    A signal is acted on after the step under way, so that the checkpoint that is left is whole: Ctrl-C raises
    KeyboardInterrupt, SIGTERM SystemExit(143). A second Ctrl-C is acted on at once.
    """
    pending: list[BaseException] = []
    training = False
    drawn: _Bars | None = None

    def on_signal(number: int, _frame: FrameType | None) -> None:
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(143)
        if pending or not training:
            raise error
        pending.append(error)

    def watch(record: StepRecord) -> None:
        nonlocal training
        if drawn:
            drawn.show(record)
        training = record.step < record.steps and not pending
        if pending:
            print("rgm: stopped; a checkpoint is left, and --resume goes on from it", file=sys.stderr)
            raise pending.pop()

    in_main = threading.current_thread() is threading.main_thread()
    before = {
        number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM) if in_main
    }
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}  [dim]{task.fields[terms]}[/dim]"),
    )
    try:
        if quiet or not console.is_terminal:
            yield watch
            return
        with Progress(*columns, console=console) as bars:
            drawn = _Bars(bars)
            yield watch
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
