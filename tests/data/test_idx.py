import contextlib
import gzip
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rgm.data.idx import read_idx
from rgm.errors import RGMError


def idx_bytes(values: torch.Tensor) -> bytes:
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.numpy().tobytes()


VALUES = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("compress", [False, True])
def test_reads_what_was_written(tmp_path: Path, compress: bool) -> None:
    content = idx_bytes(VALUES)
    (tmp_path / "x").write_bytes(gzip.compress(content) if compress else content)
    assert torch.equal(read_idx(tmp_path / "x"), VALUES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"PNG....", "not an IDX file"),
        (b"\0\0\x0d\x01" + bytes(8), "not an IDX file"),
        (b"\0\0\x08\x03\0\0", "cut short within its header"),
        (idx_bytes(VALUES)[:-1], "cut short: its header claims 24 bytes"),
        (idx_bytes(VALUES) + b"x", "too long"),
        (struct.pack(">BBBBII", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1), "cut short"),
        (struct.pack(">BBBBIII", 0, 0, 8, 3, 0, 2**32 - 1, 2**32 - 1), "is empty"),
        (gzip.compress(idx_bytes(VALUES), mtime=0)[:-6], "damaged gzip"),
    ],
)
def test_refuses_with_the_reason_and_the_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file-idx3-ubyte").write_bytes(content)
    with pytest.raises(RGMError, match=message) as caught:
        read_idx(tmp_path / "file-idx3-ubyte")
    assert "file-idx3-ubyte" in str(caught.value)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(RGMError, match="cannot read"):
        read_idx(tmp_path / "nothing")


@given(st.binary(max_size=200))
@example(idx_bytes(VALUES))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_a_tensor_or_our_error(tmp_path: Path, content: bytes) -> None:
    for prefix in (b"", b"\0\0\x08", b"\x1f\x8b"):
        (tmp_path / "x").write_bytes(prefix + content)
        with contextlib.suppress(RGMError):
            assert read_idx(tmp_path / "x").dtype == torch.uint8
