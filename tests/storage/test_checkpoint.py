from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from rgm.errors import RGMError
from rgm.loading import load, load_checkpoint, save_model
from rgm.model.spatial import SpatialRGM
from rgm.presets import NETWORKS
from rgm.storage.checkpoint import FILE, Origin, find_model, packaged, step_file
from rgm.storage.tensors import read_tensors, write_tensors

ORIGIN = Origin(preset="seed", data="digits", classes=("a", "b"), seed=4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / FILE
    save_model(path, SpatialRGM(), ORIGIN)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip_keeps_everything(name: str, tmp_path: Path, generator: torch.Generator) -> None:
    model = SpatialRGM.from_preset(name, image=(1, 32, 32)).eval()
    save_model(tmp_path / FILE, model, ORIGIN)
    found = load_checkpoint(tmp_path)
    assert found.model.config == model.config
    assert found.origin == ORIGIN
    images = torch.rand(2, 1, 32, 32, generator=generator)
    assert torch.equal(found.model.infer(images).reconstruction, model.infer(images).reconstruction)
    drawn = [m.sample(1, 3, generator=torch.Generator().manual_seed(0)).z1 for m in (found.model, model)]
    assert torch.equal(drawn[0], drawn[1])


def test_equal_models_give_bit_identical_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        torch.manual_seed(0)
        save_model(tmp_path / name, SpatialRGM(), ORIGIN)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_a_checkpoint_folder_and_a_run_folder_are_models(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    step_file(tmp_path / "checkpoints", 7).write_bytes(saved.read_bytes())
    for path in (saved, saved.parent, tmp_path, tmp_path / "checkpoints"):
        assert load(path).num_classes == 10


def test_half_precision_halves_the_file_and_loads_as_float32(saved: Path, tmp_path: Path) -> None:
    model = load(saved)
    save_model(tmp_path / FILE, model, ORIGIN, dtype=torch.float16)
    assert (tmp_path / FILE).stat().st_size < 0.6 * saved.stat().st_size
    found = load(tmp_path)
    for name, tensor in found.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_a_path_comes_before_packaged_weights_of_its_name(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model("mnist") == packaged("mnist")
    Path("mnist").mkdir()  # for example a folder of data
    assert find_model("mnist") == packaged("mnist")
    (Path("mnist") / FILE).write_bytes(saved.read_bytes())
    assert find_model("mnist") == Path("mnist") / FILE
    with pytest.raises(RGMError, match=r"at mnits: did you mean 'mnist'\? name a run folder, .* packaged weights"):
        SpatialRGM.from_pretrained("mnits")


def test_missing_models(tmp_path: Path) -> None:
    with pytest.raises(RGMError, match="no model at"):
        load(tmp_path / "nowhere")
    with pytest.raises(RGMError, match="no model in the folder"):
        load(tmp_path)


def _rewritten(saved: Path, path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """An intact file with a valid checksum, and another header."""
    header, tensors = read_tensors(saved, "rgm")
    edit(header)
    write_tensors(path, "rgm", header, tensors)
    return path


def test_not_ours(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(3)}, tmp_path / FILE)
    with pytest.raises(RGMError, match="not of the requested kind: its header has no entry 'rgm'"):
        load(tmp_path)


def test_an_unknown_key_is_refused(saved: Path, tmp_path: Path) -> None:
    file = _rewritten(saved, tmp_path / FILE, lambda header: header["model"].update(sigmo=1))
    with pytest.raises(RGMError, match=r"cannot read: .*sigmo"):
        load(file)


def test_another_architecture_names_the_tensor(saved: Path, tmp_path: Path) -> None:
    file = _rewritten(saved, tmp_path / FILE, lambda header: header["model"]["levels"][1].update(states=12))
    with pytest.raises(RGMError, match="do not fit the architecture"):
        load(file)


def test_an_architecture_that_claims_too_much_takes_no_memory(saved: Path, tmp_path: Path) -> None:
    for states in (10**12, 2**62):
        file = _rewritten(
            saved, tmp_path / FILE, lambda header, states=states: header["model"]["levels"][0].update(states=states)
        )
        with pytest.raises(RGMError, match=r"do not fit the architecture|cannot read"):
            load(file)


def test_the_newest_intact_checkpoint_is_loaded(saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "checkpoints"
    for step in (9, 10, 11):
        origin = replace(ORIGIN, seed=step)
        save_model(step_file(folder, step), load(saved), origin)
    assert find_model(tmp_path) == find_model(folder) == step_file(folder, 11)
    assert load_checkpoint(tmp_path).origin.seed == 11
    newest = step_file(folder, 11)
    newest.write_bytes(newest.read_bytes()[:-1])
    for path in (folder, tmp_path):
        caplog.clear()
        assert load_checkpoint(path).origin.seed == 10
        assert f"{newest} is not a whole safetensors file" in caplog.text
        assert "the checkpoint before it is used" in caplog.text
    with pytest.raises(RGMError, match="not a whole"):  # an explicit path is never replaced by another
        load_checkpoint(newest)
    for step in (9, 10):
        step_file(folder, step).write_bytes(b"")
    with pytest.raises(RGMError, match=r"no checkpoint in .* is intact"):
        load_checkpoint(folder)


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RGMError, match="cannot write"):
        save_model(tmp_path / "file" / FILE, SpatialRGM(), ORIGIN)
