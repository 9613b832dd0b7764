"""Shapes are checked while tests run; tests on MNIST need it, and must have it in CI; what is costly is made once."""

import os
import resource
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

# Several workers share the cores: one thread for each, set before PyTorch counts them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

from jaxtyping import install_import_hook

# Started in the background, a suite inherits ignored signals, which tests send.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

# Before anything of rgm is imported, so that every annotated function is checked.
_hook = install_import_hook("rgm", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402
from filelock import FileLock  # noqa: E402

from rgm.data.images import ImageSet  # noqa: E402
from rgm.data.load import load_data  # noqa: E402
from rgm.evaluation.judge import Judge, judge_of  # noqa: E402
from rgm.evaluation.measurements import SampleSizes, measure  # noqa: E402
from rgm.export.onnx import export  # noqa: E402
from rgm.loading import load_checkpoint, save_model  # noqa: E402
from rgm.model.spatial import SpatialRGM  # noqa: E402
from rgm.storage.checkpoint import FILE, Origin  # noqa: E402
from rgm.training.loop import train  # noqa: E402
from rgm.training.recipe import Recipe, recipe  # noqa: E402

Make = Callable[[Path], object]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items[:] = _long_ones_first(items, getattr(config, "workerinput", {}).get("workercount", 1))
    missing = not os.environ.get("RGM_DATA_DIR")
    for item in items:
        if missing and item.get_closest_marker("mnist") and os.environ.get("CI") != "true":
            item.add_marker(pytest.mark.skip(reason="needs MNIST: set RGM_DATA_DIR"))


def _long_ones_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Deal the tests directly in tests/ out first: notebooks and examples, the longest, must not be left for last."""
    whole = Path(__file__).parent
    long = [item for item in items if item.path.parent == whole]
    rest = [item for item in items if item.path.parent != whole]
    share = -(-len(rest) // workers)
    return [item for n in range(workers) for item in (*long[n::workers], *rest[n * share : (n + 1) * share])]


MOST_GIB = 5.0
peaks: list[float] = []
"""What each worker took, as it told the process that started it."""


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_testnodedown(node: Any) -> None:
    peaks.append(getattr(node, "workeroutput", {}).get("peak", 0.0))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The suite fits a small machine: a worker and the largest process that it starts, together."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    taken = sum(resource.getrusage(who).ru_maxrss for who in whose) / 2**20
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak"] = taken
        return
    found = peaks or [taken]  # where there are workers, this process only hands tests out
    print(f"\npeak memory: {' + '.join(f'{one:.2f}' for one in found)} GiB")
    if max(found) > MOST_GIB:
        print(f"the suite may take {MOST_GIB} GiB")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """Return what gives a folder that is filled once a session, by whichever worker needs it first."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def made(name: str, make: Make) -> Path:
        folder, whole = shared / f"once-{name}", shared / f"once-{name}.whole"
        with FileLock(shared / f"once-{name}.lock"):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what one that failed has left
                folder.mkdir()
                make(folder)
                whole.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    return load_data("digits", "train")


@pytest.fixture(scope="session")
def digits_judge(digits: ImageSet) -> Judge:
    """The packaged judge of the embedded digits."""
    return judge_of(digits)


@pytest.fixture(scope="session")
def test_digits() -> ImageSet:
    return load_data("digits", "test")


@pytest.fixture(scope="session")
def learned(once: Callable[..., Path], digits: ImageSet) -> SpatialRGM:
    """Trained as is usual, but for a prior of half the batch, without Muon: enough for every claim to hold."""

    def make(folder: Path) -> None:
        torch.manual_seed(1)
        model = SpatialRGM.from_preset("standard")
        codes, prior, *_ = recipe("standard").stages
        short = (replace(codes, epochs=1), replace(prior, least_steps=300, batch_size=32, muon=0.0))
        trained = train(model, digits, Recipe(stages=short), seed=1).model
        save_model(folder / FILE, trained, Origin(preset="standard", data="digits", classes=digits.classes, seed=1))

    found = load_checkpoint(once("learned", make)).model
    assert isinstance(found, SpatialRGM)
    return found


@pytest.fixture(scope="session")
def exported(once: Callable[..., Path]) -> Callable[[str], tuple[SpatialRGM, Path]]:
    """Return what gives a model, the packaged weights or an untrained preset, and a folder with its ONNX graphs."""

    def found(name: str) -> tuple[SpatialRGM, Path]:
        torch.manual_seed(0)
        packaged = name == "pretrained"
        model = SpatialRGM.from_pretrained("mnist") if packaged else SpatialRGM.from_preset(name).eval()
        return model, once(f"graphs-{name}", lambda folder: export(model, folder))

    return found


@pytest.fixture
def few_images_for_needed_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Needed codes are counted on a few images: after a short training, they take longer than all the rest."""
    monkeypatch.setattr("rgm.training.summary.NEEDED_IMAGES", 20)


@pytest.fixture
def measured_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few samples and changes are measured: for what surrounds the numbers, in this process."""
    few = SampleSizes(samples=100, cells=4, concepts=32)
    monkeypatch.setattr("rgm.pipeline.measure", partial(measure, sizes=few))


@pytest.fixture(scope="session")
def shipped() -> SpatialRGM:
    """The packaged weights: for what holds of any model."""
    return SpatialRGM.from_pretrained("mnist")
