"""Progress on a terminal, and training that can be interrupted between two steps."""

import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from rgm.runtime.progress import StepRecord

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.table import Table
    from rich.text import Text

PATIENCE_S = 30.0
"""Without a terminal, training prints a line at least this often."""


RESUMES = "--resume continues from the last checkpoint"
"""How an interrupted training goes on."""
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals that end a command."""


class _Bars:
    """A bar for each model in training, with loss, terms, images per second and time left; a line for other work."""

    def __init__(self, progress: "Progress") -> None:
        self.progress = progress
        self.tasks: "dict[str, TaskID]" = {}
        self.seen: "dict[TaskID, int]" = {}

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
        self.progress.update(task, completed=record.step, total=record.steps, description=record.stage, **fields)

    def say(self, text: str) -> None:
        from rich.markup import escape

        self.progress.console.print(f"[dim]{escape(text)} …[/dim]", highlight=False)


class _Lines:
    """A line at the start of each stage and every half minute of training, for a log."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.stage, self.began, self.first = "", self.start, 0

    def show(self, record: StepRecord) -> None:
        now = time.monotonic()
        if record.stage != self.stage:
            self.stage, self.began, self.first = record.stage, now, record.step
        elif now < self.last + PATIENCE_S and record.step < record.steps:
            return
        done = record.step - self.first
        left = f", {_duration((now - self.began) / done * (record.steps - record.step))} left" if done else ""
        self.say(f"{record.stage}: step {record.step:,} of {record.steps:,}, loss {record.loss:.4f}{left}")

    def say(self, text: str) -> None:
        self.last = time.monotonic()
        print(f"[{_duration(self.last - self.start)}] {text}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """Return minutes and seconds, such as 2:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Watcher:
    """Shows the steps of a training and the work around it, and handles signals; see `progress`."""

    def __init__(self) -> None:
        self.display: _Bars | _Lines | None = None
        self.pending: list[BaseException] = []
        self.training = False

    def __call__(self, record: StepRecord) -> None:
        """Show a step, and raise the interruption that a signal asked for during it."""
        self.training = record.step < record.steps and not self.pending
        if self.pending:
            raise self.pending.pop()
        if self.display:
            self.display.show(record)

    def say(self, text: str) -> None:
        """Show what is done next."""
        if self.display:
            self.display.say(text)

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Defer a signal to the end of the current step; act at once outside training, or on a second signal."""
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        if self.pending or not self.training:
            raise error
        self.pending.append(error)


@contextmanager
def progress(quiet: bool = False, *, goes_on: str = "") -> Iterator[Watcher]:
    """Return a watcher that shows progress on stderr and lets Ctrl-C, SIGTERM and a hang-up interrupt training.

    On a terminal, bars; in a log, a line at each stage and every half minute; nothing if `quiet`. A signal takes effect
    after the current step, so that the checkpoint is complete: Ctrl-C raises KeyboardInterrupt, the others SystemExit
    of 128 and their number. A second one takes effect at once. Signals that the process ignores stay ignored. `goes_on`
    says how an interrupted command is continued, if it can be.
    """
    from rich.console import Console  # imported with the first progress, so that `rgm --help` answers at once
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}  [dim]{task.fields[terms]}[/dim]"),
    )
    watcher, console = Watcher(), Console(stderr=True)
    in_main = threading.current_thread() is threading.main_thread()
    with ExitStack() as stack:
        for number in STOPPING if in_main else ():
            if signal.getsignal(number) is signal.SIG_IGN:
                continue
            stack.callback(signal.signal, number, signal.signal(number, watcher.on_signal))
        if not quiet and console.is_terminal:
            watcher.display = _Bars(stack.enter_context(Progress(*columns, console=console)))
        elif not quiet:
            watcher.display = _Lines()
        try:
            yield watcher
        except (KeyboardInterrupt, SystemExit):
            with suppress(OSError):  # a terminal that is gone
                if goes_on:
                    print(f"rgm: stopped; {goes_on}", file=sys.stderr)
            raise


def show(shown: "Table | Text") -> None:
    """Print a table, or a line that the terminal may wrap."""
    from rich.console import Console
    from rich.text import Text

    Console(markup=False).print(shown, soft_wrap=isinstance(shown, Text))


def show_measures(title: str, measures: Mapping[str, float]) -> None:
    """Print measures by name."""
    from rgm.cli.tables import measure_table

    show(measure_table(title, measures))
