"""The application: its commands, and the exit code of whatever ends one."""

import atexit
import errno
import gc
import io
import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

from cyclopts import App, CycloptsError

from rgm.cli.codes import complete, decode, encode, sample
from rgm.cli.compress import compress, decompress
from rgm.cli.doctor import doctor
from rgm.cli.explore import explore
from rgm.cli.films import predict
from rgm.cli.measure import compare, evaluate, experiment
from rgm.cli.models import export, info, judge, pack
from rgm.cli.play import play
from rgm.cli.terminal import STOPPING
from rgm.cli.train import cache, run, train
from rgm.errors import RGMError
from rgm.runtime.threads import settle_threads

ISSUES = "https://github.com/rgm-developers/rgm/issues"

ENDINGS = {129: "stopped, as its terminal was closed", 143: "terminated"}
"""What is said of a command that a signal has ended, by exit code."""

app = App(
    name="rgm",
    help="Renormalizing generative models of images and films: train them, test their three claims, use their codes.",
    version_flags=["--version"],
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)
for command in (run, train, experiment, evaluate, compare, encode, decode, sample, complete, predict, play):
    app.command(command)
for command in (compress, decompress):
    app.command(command)
for command in (info, pack, export, judge, explore, cache, doctor):
    app.command(command)
app.command(cache, name="store", show=False)  # its former name


def main() -> None:
    """Run the command line, and turn errors into exit codes: 2 for what the user can correct, 1 for a bug."""
    settle_threads()
    atexit.register(gc.freeze)  # else Python looks for garbage in all of PyTorch once more as it ends: half a second
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal or pipe cannot encode
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    for number in STOPPING:
        if number != signal.SIGINT and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except (RGMError, CycloptsError) as error:
        _leave(2, " ".join(str(error).split()))
    except KeyboardInterrupt:
        _leave(130, "interrupted")
    except SystemExit as stopped:
        if stopped.code not in ENDINGS:
            raise
        _leave(stopped.code, ENDINGS[stopped.code])
    except BrokenPipeError:  # the reader of our output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            if error.filename is None:
                raise
            _leave(2, f"{error.filename}: {(error.strerror or str(error)).lower()}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(2, "no space left on the device that the output goes to: free some")
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
            _leave(2, "not enough memory for this request: ask for fewer or smaller images")
        traceback.print_exc()
        _leave(1, f"this is a bug; please report it with the lines above at {ISSUES}")


def _leave(code: int, message: str) -> NoReturn:
    with suppress(OSError):  # a terminal that is gone
        print(f"rgm: {message}", file=sys.stderr)
    raise SystemExit(code) from None
