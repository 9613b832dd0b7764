"""Shapes are checked while tests run; tests on MNIST need it, and must have it in CI."""

import os
import resource

from jaxtyping import install_import_hook

# Before anything of rgm is imported, so that every annotated function is checked.
_hook = install_import_hook("rgm", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402

from rgm.data.images import ImageSet  # noqa: E402
from rgm.data.load import load_data  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = not os.environ.get("RGM_DATA_DIR")
    for item in items:
        if missing and item.get_closest_marker("mnist") and os.environ.get("CI") != "true":
            item.add_marker(pytest.mark.skip(reason="needs MNIST: set RGM_DATA_DIR"))


MOST_GIB = 4.0


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The suite fits a small machine: itself and the largest process that it starts, together."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    taken = sum(resource.getrusage(who).ru_maxrss for who in whose) / 2**20
    print(f"\npeak memory: {taken:.2f} GiB")
    if taken > MOST_GIB:
        print(f"the suite may take {MOST_GIB} GiB")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    return load_data("digits", "train")
