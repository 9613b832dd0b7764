"""What hostile inputs once brought down, each as it was found."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rgm.claims.record import estimates
from rgm.data.idx import read_idx
from rgm.errors import RGMError
from rgm.evaluation.judge import Judge, JudgeConfig, load_judge
from rgm.export.arrays import read_codes
from rgm.export.hub import save_folder
from rgm.loading import load_checkpoint
from rgm.model.spatial import SpatialRGM
from rgm.storage.checkpoint import packaged
from rgm.storage.tensors import read_tensors, write_tensors


def test_codes_whose_header_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    """NumPy would take eight terabytes before it read the first value."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": (10**10, 10, 10)})
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "codes.npz", "w", compression) as archive:
            archive.writestr("z1.npy", header.getvalue() + bytes(80))
        with pytest.raises(RGMError, match=r"claims 10000000000 × 10 × 10 values, more than it holds"):
            read_codes(tmp_path / "codes.npz")


def test_an_idx_file_that_claims_a_terabyte(tmp_path: Path) -> None:
    (tmp_path / "idx").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 10**4, 10**4, 10**4) + bytes(100))
    with pytest.raises(RGMError, match=r"claims 1,000,000,000,000 bytes .* but 100 follow"):
        read_idx(tmp_path / "idx")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("levels", 0, "recognition", "refine"), 10**9),
        (("levels", 0, "prior", "layers"), 10**9),
        (("levels", 0, "states"), 0),
        (("levels", 0, "recognition", "widths"), []),
        (("levels", 0, "recognition", "widths"), [10**12]),
        (("levels", 0, "prior", "heads"), 0),
        (("decoder", "hidden"), -1),
        (("pixels", "sigma"), float("nan")),
        (("image",), [1, 10**6, 10**6]),
    ],
)
def test_numbers_that_no_model_has(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    """A thousand million layers would be built for as long as memory lasts."""
    header, tensors = read_tensors(packaged("mnist"), "rgm")
    part = header["model"]
    for key in place[:-1]:
        part = part[key]
    assert place[-1] in part or isinstance(part, list)
    part[place[-1]] = value
    write_tensors(tmp_path / "model.safetensors", "rgm", header, tensors)
    with pytest.raises(RGMError, match="has a configuration that this rgm cannot read"):
        load_checkpoint(tmp_path / "model.safetensors")


def test_grids_so_large_that_their_places_fill_the_memory(tmp_path: Path) -> None:
    """No weight has the size of the grid, so none shows what it would take."""
    header, tensors = read_tensors(packaged("mnist"), "rgm")
    header["model"]["image"] = [1, 2**16, 2**16]
    header["model"]["levels"][0]["grid"] = [2**14, 2**14]
    write_tensors(tmp_path / "model.safetensors", "rgm", header, tensors)
    with pytest.raises(RGMError, match=r"would need 18,.* MiB besides its weights, where 256 are allowed"):
        load_checkpoint(tmp_path / "model.safetensors")


@pytest.mark.parametrize("wrong", [{"width": 0}, {"width": 10**12}, {"channels": -1}, {"depth": 3}])
def test_judges_that_are_none(tmp_path: Path, wrong: dict[str, int]) -> None:
    config = {"channels": 1, "classes": 2, "width": 1, "trained_on": ""}
    judge = Judge(JudgeConfig(channels=1, classes=2, width=1))
    write_tensors(tmp_path / "judge", "judge", config | wrong, judge.state_dict())
    with pytest.raises(RGMError, match="carries a configuration of no judge"):
        load_judge(tmp_path / "judge")


@pytest.mark.parametrize("wrong", [{"estimate": "0.5"}, {"low": "x"}, {"unit": 3}])
def test_evidence_whose_numbers_are_none(tmp_path: Path, wrong: dict[str, Any]) -> None:
    measure = {"name": "share", "unit": "share", "estimate": 0.5, "low": 0.4, "high": 0.6} | wrong
    claims = [{"claim": "locality", "subject": "model", "measures": [measure]}]
    run = SpatialRGM.from_pretrained("mnist").save_pretrained(tmp_path / "run")
    (run / "evidence.json").write_text(json.dumps({"claims": claims}))
    with pytest.raises(RGMError, match="no evidence that can be read"):
        save_folder(tmp_path / "hub", load_checkpoint(run))
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("claim", [None, 3, ["locality"]])
def test_evidence_without_names(tmp_path: Path, claim: Any) -> None:
    measure = {"name": "share", "estimate": 0.5}
    claims = [{"claim": claim, "subject": "model", "measures": [measure]}]
    (tmp_path / "evidence.json").write_text(json.dumps({"claims": claims}))
    with pytest.raises(RGMError, match="no evidence that can be read"):
        estimates(tmp_path / "evidence.json")
