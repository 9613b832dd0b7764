import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from rgm.errors import RGMError
from rgm.export.hub import push, push_to_hub, save_folder
from rgm.loading import load_checkpoint
from rgm.model.spatial import SpatialRGM

IMAGES = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_a_saved_folder_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("quick").eval()
    folder = model.save_pretrained(tmp_path / "model")
    found = SpatialRGM.from_pretrained(folder)
    assert not found.training
    assert torch.equal(found.infer(IMAGES).concept, model.infer(IMAGES).concept)
    config = json.loads((folder / "config.json").read_text())
    assert config["library"] == "rgm"
    assert config["model"]["levels"][0]["states"] == 64
    assert not (folder / "README.md").exists()  # the card is the Hub's


def test_the_card_has_the_evidence(tmp_path: Path) -> None:
    measure = {"name": "concept_accuracy", "unit": "share", "estimate": 0.9876, "low": 0.98, "high": None}
    claims = [
        {"claim": "abstraction", "subject": who, "verdict": "supported", "measures": [measure]}
        for who in ("model", "untrained")
    ]
    source = tmp_path / "run"
    SpatialRGM.from_pretrained("mnist").save_pretrained(source)
    save_folder(tmp_path / "plain", load_checkpoint(source))
    assert "claims were not tested for this model" in (tmp_path / "plain" / "README.md").read_text()
    evidence = source / "evidence.json"
    evidence.write_text(json.dumps({"version": 1, "data": "digits", "claims": claims}))
    save_folder(tmp_path / "hub", load_checkpoint(source))
    card = (tmp_path / "hub" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: rgm\n")
    assert card.count("| abstraction | supported | concept_accuracy | 0.988 share | 0.98 to – |") == 1
    assert (tmp_path / "hub" / "evidence.json").read_bytes() == evidence.read_bytes()
    evidence.write_text("{}")
    with pytest.raises(RGMError, match="no evidence that can be read"):
        save_folder(tmp_path / "other", load_checkpoint(source))
    assert not (tmp_path / "other").exists()


class Hub:
    """A Hub in memory: repositories, and their files."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}

    def create_repo(self, name: str, **_: Any) -> str:
        self.files.setdefault(name, {})
        return f"https://hub/{name}"

    def upload_folder(self, *, repo_id: str, folder_path: Path, **_: Any) -> None:
        self.files[repo_id] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}


def test_up_to_the_hub_and_down_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: hub)

    def download(name: str, file: str, **_: Any) -> str:
        (tmp_path / file).write_bytes(hub.files[name][file])
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    model = SpatialRGM.from_pretrained("mnist")
    assert push_to_hub(model, "someone/digits") == "https://hub/someone/digits"
    assert set(hub.files["someone/digits"]) == {"model.safetensors", "config.json", "README.md"}
    found = SpatialRGM.from_pretrained("someone/digits")
    assert torch.equal(found.infer(IMAGES).concept, model.infer(IMAGES).concept)


def test_errors_of_the_hub_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise OSError("no way\nto the Hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(Hub, "create_repo", refuse)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: Hub())
    with pytest.raises(
        RGMError, match="no model at someone/digits, and it could not be downloaded from the Hub: no way to the Hub"
    ):
        SpatialRGM.from_pretrained("someone/digits")
    with pytest.raises(RGMError, match="someone/digits could not be written on the Hub: no way to the Hub"):
        push(tmp_path, "someone/digits")


def test_a_name_on_the_hub_is_asked_for_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The library imports its modules when they are first used: others in this process have done so."""
    program = "from rgm.cli import main; import sys; sys.argv = ['rgm', 'info', 'runs/first']; main()"
    nowhere = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=nowhere, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no model at runs/first" in done.stderr
    assert "http://127.0.0.1:9 does not answer" in done.stderr
