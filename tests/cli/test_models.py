"""`rgm info`, `rgm pack`, `rgm export` and `rgm judge`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from command_line import done, refused

from rgm.counting.model import CountingRGM
from rgm.loading import load_checkpoint, save_model
from rgm.storage.checkpoint import FILE, Origin


def test_info_and_version(run: Path) -> None:
    text = done("info", run)
    assert "standard" in text
    assert "7 × 7 grid of 64 states" in text
    assert done("--version").strip() == "0.2.0"


def test_a_packed_run_is_half_as_large_and_the_same_model(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    done("pack", run, "--out", out)
    assert out.stat().st_size < 0.6 * (run / FILE).stat().st_size
    told = [[line for line in done("info", path).splitlines() if line.startswith("│")] for path in (out, run)]
    assert told[0] == told[1] != []
    assert "no model at nowhere" in refused("pack", "nowhere", "--out", out)


def test_a_shared_model_says_which_folder_it_learned_from_but_not_where(tmp_path: Path) -> None:
    origin = Origin(classes=("a", "b"), preset="counting", data=str(tmp_path / "pictures"), seed=0)
    save_model(tmp_path / FILE, CountingRGM.from_preset("counting", image=(1, 8, 8), classes=2), origin)
    done("pack", tmp_path, "--out", tmp_path / "small.safetensors")
    assert load_checkpoint(tmp_path / "small.safetensors").origin == replace(origin, data="pictures")
    done("export", tmp_path, "--hub", tmp_path / "hub")
    assert "model of pictures" in (tmp_path / "hub" / "README.md").read_text()


def test_a_tree_is_written_for_pymdp_and_networks_are_not(tmp_path: Path) -> None:
    model = CountingRGM.from_preset("counting", image=(1, 8, 8), classes=2)
    origin = Origin(classes=("a", "b"), preset="counting", data="digits", seed=0)
    save_model(tmp_path / FILE, model, origin)
    out = tmp_path / "new" / "tree.npz"
    assert f"Wrote {out}" in done("export", tmp_path, "--pymdp", out)
    with np.load(out, allow_pickle=False) as arrays:
        assert arrays["A_2"].shape == (4, 128, 600)
    assert "made of networks" in refused("export", "mnist", "--pymdp", tmp_path / "x.npz")
    assert "it is a folder" in refused("export", tmp_path, "--pymdp", tmp_path)
    assert "nothing to write" in refused("export", tmp_path)
    assert not (tmp_path / "x.npz").exists()


def test_a_counted_model_is_packed_and_shared(counted: Path, tmp_path: Path) -> None:
    done("pack", counted, "--out", tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").stat().st_size < 0.6 * (counted / FILE).stat().st_size
    for model in (counted, tmp_path / "small.safetensors"):
        done("encode", model, "--out", tmp_path / f"{model.name}.npz")
    with np.load(tmp_path / "run.npz") as full, np.load(tmp_path / "small.safetensors.npz") as small:
        assert (full["concept"].argmax(axis=1) == small["concept"].argmax(axis=1)).mean() > 0.98
    done("export", counted, "--hub", tmp_path / "hub")
    assert "from rgm import CountingRGM" in (tmp_path / "hub" / "README.md").read_text()
    assert isinstance(CountingRGM.from_pretrained(tmp_path / "hub"), CountingRGM)


def test_what_a_counted_model_has_not_is_refused(counted: Path, run: Path, tmp_path: Path) -> None:
    assert "no networks" in refused("export", counted, "--onnx", tmp_path)
    assert "no networks" in refused("explore", counted, "--export", tmp_path)
    assert "exact evidence is of counting models" in refused("experiment", "exactness", run, "--out", tmp_path)
