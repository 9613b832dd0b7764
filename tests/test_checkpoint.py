import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rgm.checkpoint import FILE, Origin, find_model, load, load_checkpoint, packaged, save_model
from rgm.errors import RGMError
from rgm.model.catalogue import PRESETS
from rgm.model.spatial import SpatialRGM

ORIGIN = Origin(preset="seed", data="digits", classes=("a", "b"), seed=4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / FILE
    save_model(path, SpatialRGM(), ORIGIN)
    return path


@pytest.mark.parametrize("name", PRESETS)
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


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        torch.manual_seed(0)
        save_model(tmp_path / name, SpatialRGM(), ORIGIN)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_a_checkpoint_folder_and_a_run_folder_are_models(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / FILE).write_bytes(saved.read_bytes())
    for path in (saved, saved.parent, tmp_path, tmp_path / "checkpoints"):
        assert load(path).num_classes == 10


def test_half_precision_is_half_the_file_and_read_as_float32(saved: Path, tmp_path: Path) -> None:
    model = load(saved)
    save_model(tmp_path / FILE, model, ORIGIN, dtype=torch.float16)
    assert (tmp_path / FILE).stat().st_size < 0.6 * saved.stat().st_size
    found = load(tmp_path)
    for name, tensor in found.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-3, atol=1e-6)


def test_what_lies_at_a_path_comes_before_packaged_weights_of_that_name(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model("mnist") == packaged("mnist")
    Path("mnist").mkdir()  # a folder of data, say
    assert find_model("mnist") == packaged("mnist")
    (Path("mnist") / FILE).write_bytes(saved.read_bytes())
    assert find_model("mnist") == Path("mnist") / FILE
    with pytest.raises(RGMError, match="unknown packaged model 'mnits': did you mean 'mnist'"):
        SpatialRGM.from_pretrained("mnits")


def test_missing_says_where(tmp_path: Path) -> None:
    with pytest.raises(RGMError, match="no model at"):
        load(tmp_path / "nowhere")
    with pytest.raises(RGMError, match="no model in the folder"):
        load(tmp_path)


@given(st.floats(0, 0.999))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cut_short_at_any_length(saved: Path, tmp_path: Path, share: float) -> None:
    whole = saved.read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RGMError, match="not a whole safetensors file"):
        load(tmp_path)


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    (tmp_path / FILE).write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(RGMError, match="not a whole safetensors file"):
        load(tmp_path)


def test_not_ours(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(3)}, tmp_path / FILE)
    with pytest.raises(RGMError, match="not a model of rgm"):
        load(tmp_path)


def _edited(saved: Path, tmp_path: Path, old: str, new: str) -> Path:
    whole = saved.read_bytes()
    assert old.encode() in whole
    assert len(old) == len(new)
    (tmp_path / FILE).write_bytes(whole.replace(old.encode(), new.encode()))
    return tmp_path


def test_a_newer_version_says_update(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RGMError, match="newer rgm"):
        load(_edited(saved, tmp_path, r"\"version\": 1", r"\"version\": 7"))


def test_an_unknown_key_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RGMError, match=r"cannot read: .*sigmo"):
        load(_edited(saved, tmp_path, r"\"sigma\"", r"\"sigmo\""))


def test_another_architecture_names_the_tensor(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RGMError, match="do not fit the architecture"):
        load(_edited(saved, tmp_path, r"\"states\": 10", r"\"states\": 12"))


def test_an_unwritable_place_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RGMError, match="cannot write"):
        save_model(tmp_path / "file" / FILE, SpatialRGM(), ORIGIN)
