"""The pages made from packaged weights: none is stale, and a stale one is found."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def renew() -> ModuleType:
    spec = importlib.util.spec_from_file_location("renew", ROOT / "benchmarks" / "renew.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_page_is_stale(renew: ModuleType) -> None:
    assert renew.stale() == []
    assert set(renew.recorded()) == set(renew.PAGES)


def test_pages_are_stale_once_their_weights_change(
    renew: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"other weights")
    usual = renew.packaged
    monkeypatch.setattr(renew, "packaged", lambda name: other if name == "cifar10" else usual(name))
    assert renew.stale() == [name for name, page in renew.PAGES.items() if "cifar10" in page.weights]
    assert len(renew.stale()) >= 3
