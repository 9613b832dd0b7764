"""Running the command line in tests: in a process of its own as a user does, or in this one, which is faster."""

import io
import logging
import os
import re
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from rgm.cli import main


def outside(*arguments: object, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, as a user does."""
    result = subprocess.run(
        [sys.executable, "-m", "rgm", *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=240,
        env=os.environ | environment,
    )
    if check:
        assert result.returncode == 0, result.stderr
    return result


@dataclass
class Said:
    """What a command answered: its exit code, what it printed, and what it said or logged beside."""

    code: int
    out: str
    errors: str


def inside(*arguments: object, **environment: str) -> Said:
    """Run a command in this process: starting Python anew takes longer than most of them."""
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    out, errors = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    terminated = signal.getsignal(signal.SIGTERM)
    logged = logging.StreamHandler(errors)
    logging.getLogger("rgm").addHandler(logged)
    try:
        with (
            patch.dict(os.environ, environment),
            patch.object(sys, "argv", ["rgm", *map(str, arguments)]),
            redirect_stdout(out),
            redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            main()
    finally:
        logging.getLogger("rgm").removeHandler(logged)
        signal.signal(signal.SIGTERM, terminated)
    code = ended.value.code or 0
    assert isinstance(code, int)
    return Said(code, *(stream.buffer.getvalue().decode(encoding) for stream in (out, errors)))


def done(*arguments: object, **environment: str) -> str:
    """Run a command in this process that ends well, and return what it printed."""
    said = inside(*arguments, **environment)
    assert said.code == 0, said.errors
    return said.out


def refused(*arguments: object, **environment: str) -> str:
    """Run a command that the user can mend: exit code 2, one line, no traceback."""
    said = inside(*arguments, **environment)
    return one_line(said.code, said.errors)


def refused_outside(*arguments: object) -> str:
    """Do the same in a process of its own, where shapes are not checked before our own code sees them."""
    result = outside(*arguments, check=False)
    return one_line(result.returncode, result.stderr)


def one_line(code: int, said: str) -> str:
    assert code == 2, said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert lines[0].startswith("rgm: ")
    return lines[0]


def assert_evidence(found: dict[str, Any]) -> None:
    assert (found["version"], found["data"]) == (1, "digits")
    assert [(c["claim"], c["subject"]) for c in found["claims"]] == [
        ("abstraction", "model"),
        ("instantiation", "model"),
        ("locality", "model"),
    ]
    for claim in found["claims"]:
        assert claim["verdict"] in ("supported", "not supported", "undecided")
        for measure in claim["measures"]:
            assert measure["low"] <= measure["estimate"] <= measure["high"]
            assert measure["side"] in ("above", "below", "between", "equals")
        names = {re.sub(r"_\d+$", "", one["name"]) for one in claim["context"]}  # some end in a sample size
        assert {"calibration_error", "frechet_ratio", "encoder_area"} & names


def arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of an .npz file, closed."""
    with np.load(path) as found:
        return dict(found)
