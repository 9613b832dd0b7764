import json
from pathlib import Path

import pytest
from PIL import Image

from rgm.data.load import load_data
from rgm.errors import RGMError
from rgm.loading import load_checkpoint
from rgm.pipeline import labels_known, run
from rgm.training.config import RunConfig
from rgm.training.run import plan_run


@pytest.mark.slow
@pytest.mark.usefixtures("measured_briefly")
def test_a_run_without_labels_ends_with_a_report(tmp_path: Path) -> None:
    finished = run(RunConfig(data="digits", labels=0, epochs=0.2), tmp_path, controls=False)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["labels"] == 0
    assert metrics["test"]["concept_accuracy"] == finished.measures["concept_accuracy"]
    assert json.loads((tmp_path / "config.json").read_text())["run"]["labels"] == 0
    assert "the concepts are clusters, named after the classes" in finished.report.read_text()


def test_a_training_with_few_labels_says_how_many(tmp_path: Path) -> None:
    plan_run(RunConfig(data="digits", labels=30, epochs=0.2)).carry_out(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["labels"] == 30
    train = load_data("digits", "train")
    assert labels_known(30, train) == f"30 of {len(train):,}, balanced over the classes"
    assert labels_known(None, train) == f"all {len(train):,}"


@pytest.mark.slow
@pytest.mark.usefixtures("measured_briefly")
def test_a_folder_without_classes_gives_clusters(tmp_path: Path) -> None:
    digits = load_data("digits", "train")
    (tmp_path / "images").mkdir()
    for number, image in enumerate(digits.images[:120]):
        Image.fromarray(image[0].numpy()).save(tmp_path / "images" / f"{number}.png")
    finished = run(RunConfig(data=str(tmp_path / "images"), epochs=0.2), tmp_path / "run")
    assert load_checkpoint(tmp_path / "run").origin.classes == tuple(f"cluster {k}" for k in range(10))
    assert "concept_accuracy" not in finished.measures
    assert "none: the concepts are clusters" in finished.report.read_text()
    with pytest.raises(RGMError, match="has none: leave --labels out"):
        run(RunConfig(data=str(tmp_path / "images"), labels=20), tmp_path / "other")
    assert not (tmp_path / "other").exists()
