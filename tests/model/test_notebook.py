"""Every code cell of the notebook runs unchanged but for the import line."""

import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

CELLS = Path(__file__).with_name("notebook_cells.py").read_text().split("# %%\n")[1:]


class FewDigits(Dataset[tuple[torch.Tensor, int]]):
    """Replaces torchvision's MNIST: the same interface, a few embedded digits."""

    def __init__(self, root: str, train: bool, download: bool, transform: object) -> None:  # noqa: ARG002
        from rgm import load_data

        data = load_data("digits", "train")
        assert data.labels is not None
        self.images, self.labels = data.images[:256].float() / 255, data.labels[:256]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], int(self.labels[index])


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = types.ModuleType("torchvision")
    datasets = types.ModuleType("torchvision.datasets")
    transforms = types.ModuleType("torchvision.transforms")
    vars(datasets)["MNIST"] = FewDigits
    vars(transforms).update(Compose=lambda steps: steps, ToTensor=lambda: None)
    vars(package).update(datasets=datasets, transforms=transforms)
    for module in (package, datasets, transforms):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return


@pytest.mark.usefixtures("torchvision")
def test_every_cell_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    torch.manual_seed(0)
    names: dict[str, object] = {}
    assert len(CELLS) == 5
    with warnings.catch_warnings():
        # The notebook samples without `dim`, which PyTorch deprecates.
        warnings.filterwarnings("ignore", message="Implicit dimension choice")
        # matplotlib converts tensors to arrays by NumPy's newest interface.
        warnings.filterwarnings("ignore", message="__array__ implementation")
        for cell in CELLS:
            exec(compile(cell, "notebook", "exec"), names)
    plt.close("all")
    assert capsys.readouterr().out.count("Epoch") == 3
    assert isinstance(names["generated"], torch.Tensor)
    assert names["generated"].shape == (5, 1, 28, 28)
    assert names["recon_local"].shape == (1, 1, 28, 28)  # type: ignore[attr-defined]


def test_cells_are_the_notebooks_own() -> None:
    """The cells are verbatim but for the import line."""
    text = "".join(CELLS)
    assert text.count("from rgm import SpatialRGM") == 1
    assert "src.models" not in text
