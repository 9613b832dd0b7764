import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rgm.errors import RGMError
from rgm.storage.tensors import VERSION, DamagedError, read_tensors, write_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int64), "c": torch.tensor(3.0)}
HEADER = {"size": 3, "word": "naïve", "share": 1e-05}
anywhere = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.safetensors"
    write_tensors(path, "kind", HEADER, TENSORS)
    return path


def test_tensors_round_trip(file: Path) -> None:
    header, tensors = read_tensors(file, "kind")
    assert header == HEADER
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    before = file.read_bytes()
    write_tensors(file, "kind", HEADER, TENSORS)
    assert file.read_bytes() == before


@anywhere
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_any_flipped_bit_is_noticed(tmp_path: Path, place: float, bit: int) -> None:
    path = tmp_path / "flipped.safetensors"
    write_tensors(path, "kind", HEADER, TENSORS)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(RGMError, match=r"flipped\.safetensors"):
        read_tensors(path, "kind")


@anywhere
@given(st.floats(0, 1, exclude_max=True))
def test_cut_short_at_any_length(tmp_path: Path, share: float) -> None:
    path = tmp_path / "short.safetensors"
    write_tensors(path, "kind", HEADER, TENSORS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DamagedError, match="not a whole safetensors file"):
        read_tensors(path, "kind")


def test_an_oversized_header_is_refused_before_allocation(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    path = tmp_path / "large.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(DamagedError, match="not a whole safetensors file"):
        read_tensors(path, "kind")


def test_a_newer_version_suggests_an_update(file: Path) -> None:
    newer = file.read_bytes().replace(rb"\"version\": 1", rb"\"version\": 7")
    assert newer != file.read_bytes()
    file.write_bytes(newer)
    with pytest.raises(RGMError, match=rf"newer rgm \(format 7, this one reads up to {VERSION}\): update rgm"):
        read_tensors(file, "kind")


def test_files_of_another_kind_and_no_files(file: Path, tmp_path: Path) -> None:
    with pytest.raises(RGMError, match=r"no entry 'other' \(it has kind\)"):
        read_tensors(file, "other")
    save_file({"x": torch.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(RGMError, match=r"no entry 'kind' \(it has none\)"):
        read_tensors(tmp_path / "foreign", "kind")
    save_file({"x": torch.zeros(3)}, tmp_path / "text", metadata={"kind": "no JSON"})
    with pytest.raises(DamagedError, match="not rgm's"):
        read_tensors(tmp_path / "text", "kind")
    with pytest.raises(RGMError, match=r"cannot read .*nowhere"):
        read_tensors(tmp_path / "nowhere", "kind")
