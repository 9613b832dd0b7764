"""The application: help, exit codes, the one line of an error."""

import json
import re
import signal
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path
from unittest.mock import patch

import pytest
from command_line import done, inside, outside, refused

from rgm.cli import app
from rgm.presets import PRESETS
from rgm.storage.checkpoint import FILE

COMMANDS = (
    "run",
    "train",
    "experiment",
    "evaluate",
    "compare",
    "encode",
    "decode",
    "sample",
    "complete",
    "info",
    "pack",
    "export",
    "judge",
    "explore",
    "cache",
    "doctor",
)

HELP = """
import contextlib, io, json, sys
from rgm.cli.app import app
told = {}
for command in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        app([*command.split(), "--help"])
    told[command] = said.getvalue()
    assert "torch" not in sys.modules and "matplotlib" not in sys.modules, command
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    result = subprocess.run([sys.executable, "-c", HELP, "", *COMMANDS], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found: dict[str, str] = json.loads(result.stdout)
    return found


def test_help_lists_every_command_but_the_former_name_of_one(helps: dict[str, str]) -> None:
    listed = {line.split()[1] for line in helps[""].splitlines() if line.startswith("│ ")}
    assert {*COMMANDS} <= listed
    assert "store" not in listed


def test_help_of_training_lists_the_presets_with_their_lines(helps: dict[str, str]) -> None:
    for command in ("run", "train"):
        said = " ".join(helps[command].split())
        for name, preset in PRESETS.items():
            assert f"• {name}: {preset.help}" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_imports_no_torch(helps: dict[str, str], command: str) -> None:
    assert f"Example: rgm {command}" in " ".join(helps[command].split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--data", "mnits"), "did you mean 'mnist'"),
        (("train", "--data", "digits", "--preset", "standart"), "did you mean 'standard'"),
        (("train", "--data", "digits", "--estimator", "reimax"), "did you mean 'reinmax'"),
        (("train", "--data", "digits", "--device", "cdua"), "did you mean 'cuda'"),
        (("train", "--data", "digits", "--epochs", "-1"), "the number of epochs is a finite number above 0, but is -1"),
        (
            ("train", "--data", "digits", "--epochs", "inf"),
            "the number of epochs is a finite number above 0, but is inf",
        ),
        (("train", "--data", "digits", "--preset", "counting", "--epochs", "1e9"), "at most 1,000,000, but is 1e+09"),
        (("train", "--data", "digits", "--batch-size", "0"), "batch size"),
        (("train", "--data", "digits", "--seed", "-1"), "a seed must lie in 0 … 9223372036854775807, but is -1"),
        (("train", "--data", "digits", "--size", "100000000"), "must lie in 4 … 4096"),
        (("sample", "nowhere", "--out", "x.npz", "--seed", 2**64), "Must be < 9223372036854775808"),
        (("judge", "--data", "digits", "--out", "/"), "cannot write /: it is a folder"),
        (("train", "--data", "/no/such/folder"), "no folder of images"),
        (("train", "--prset", "seed"), "--prset"),
        (("train", "--epochs", "many"), "many"),
        (("trian",), "trian"),
        (("info", "nowhere"), "no model at nowhere"),
        (("decode", "nowhere", "codes.npz", "--out", "x.npz"), "no model at nowhere"),
    ],
)
def test_what_the_user_can_mend(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = refused(*arguments, *(("--out", out) if arguments[0] == "train" else ()))
    assert message in line
    assert not (out / FILE).exists()
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PermissionError(13, "Permission denied", "secret.npz"), 2, "rgm: secret.npz: permission denied"),
        (MemoryError(), 2, "rgm: not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 2, "rgm: not enough memory"),
        (RuntimeError("a bug"), 1, "please report it"),
    ],
)
def test_an_error_from_below(
    error: Exception, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(app, "app", fail)
    monkeypatch.setattr(app.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        app.main()
    assert left.value.code == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_quiet(helps: dict[str, str], command: str) -> None:
    assert "--quiet" in helps[command]


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "rgm: interrupted"),
        (signal.SIGTERM, 143, "rgm: terminated"),
        (signal.SIGHUP, 129, "rgm: stopped, as its terminal was closed"),
    ],
)
def test_a_signal_is_answered_outside_training(number: signal.Signals, code: int, said: str) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(number)

    before = signal.getsignal(number)
    try:
        with patch("rgm.loading.load_checkpoint", interrupted):
            found = inside("info", "mnist")
    finally:
        signal.signal(number, before)
    assert (found.code, found.errors.strip()) == (code, said)


def test_signals_that_are_ignored_stay_ignored() -> None:
    code = "import signal; from rgm.cli import main; import sys; sys.argv = ['rgm', 'info', 'mnist']\n"
    code += "import rgm.loading as l; load = l.load_checkpoint\n"
    code += "l.load_checkpoint = lambda m: [signal.raise_signal(n) for n in IGNORED] and load(m)\nmain()"
    names = "signal.SIGINT, signal.SIGTERM, signal.SIGHUP"
    code = f"import signal; IGNORED = ({names}); [signal.signal(n, signal.SIG_IGN) for n in IGNORED]; {code}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_resuming_and_replacing_exclude_each_other() -> None:
    assert "give one of them" in refused("train", "--data", "digits", "--resume", "--overwrite")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    line = refused("train", "--data", "digits", "--out", tmp_path / "file" / "run")
    assert "cannot write" in line


def test_doctor_says_where_things_are() -> None:
    said = done("doctor", COLUMNS="200", RGM_CACHE_DIR="/nowhere")
    assert "intact: pretrained on mnist" in said
    assert "/nowhere" in said
    extras = set(metadata("rgm").get_all("Provides-Extra")) - {"dev"}
    assert extras == set(re.findall(r"extra (\w+)", said))


@pytest.mark.parametrize("encoding", ["ascii", "cp949", "cp1252"])
def test_what_a_stream_cannot_encode_is_replaced(encoding: str) -> None:
    for command in (("train", "--help"), ("export", "--help"), ("info", "mnist")):
        assert done(*command, PYTHONIOENCODING=encoding)


def test_what_the_terminal_cannot_encode_is_replaced() -> None:
    assert "7 ? 7 grid" in " ".join(outside("train", "--help", PYTHONIOENCODING="ascii").stdout.split())
