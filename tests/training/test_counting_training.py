"""Training of counting models: run folders, resuming, errors."""

import json
from dataclasses import replace

import pytest
import torch

from rgm.counting.exemplars import ExemplarRecipe, PaperLearner
from rgm.counting.fitting import adjusted
from rgm.counting.learning import EMRecipe
from rgm.counting.model import CountingRGM
from rgm.errors import RGMError
from rgm.loading import load_checkpoint
from rgm.runtime.progress import StepRecord
from rgm.training.config import RunConfig
from rgm.training.run import plan_run

COUNTING = RunConfig(data="digits", preset="counting", seed=3)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    return plan_run(COUNTING).carry_out(out)


def test_a_run_folder_is_complete(uninterrupted):
    names = {path.name for path in uninterrupted.folder.iterdir()}
    assert {"config.json", "model.safetensors", "metrics.json", "metrics.jsonl", "timing.jsonl", "checkpoints"} <= names
    metrics = json.loads((uninterrupted.folder / "metrics.json").read_text())
    assert metrics["data"] == "digits"
    assert metrics["preset"] == "counting"
    assert metrics["test"]["concept_accuracy"] > 0.96
    stages = [json.loads(line)["stage"] for line in (uninterrupted.folder / "metrics.jsonl").read_text().splitlines()]
    assert stages == ["states", "prototypes", "pass 1"]


def test_a_saved_model_is_the_same_model(uninterrupted):
    loaded = load_checkpoint(uninterrupted.folder)
    assert isinstance(loaded.model, CountingRGM)
    assert loaded.model.config == uninterrupted.model.config
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.model.log_weight(images), uninterrupted.model.log_weight(images), rtol=0, atol=0)
    assert loaded.unfinished is None


LATER = [pytest.param(after, marks=pytest.mark.slow) for after in (8, 19)]


@pytest.mark.parametrize("after", [3, *LATER])  # within the states, at their end, at the end of all
def test_resumed_training_is_bit_identical(uninterrupted, tmp_path, after):
    def stop(record: StepRecord) -> None:
        if record.step == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan_run(COUNTING).carry_out(tmp_path, watch=stop)
    assert load_checkpoint(tmp_path / "checkpoints").unfinished is not None
    resumed = plan_run(COUNTING).carry_out(tmp_path, resume=True)
    assert resumed.history == uninterrupted.history
    assert (tmp_path / "metrics.json").read_bytes() == (uninterrupted.folder / "metrics.json").read_bytes()
    assert (tmp_path / "model.safetensors").read_bytes() == (uninterrupted.folder / "model.safetensors").read_bytes()


def test_a_run_interrupted_in_its_first_step_can_be_resumed(tmp_path, monkeypatch):
    def killed(*_: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr("rgm.counting.learning.Learner.step", killed)
    with pytest.raises(SystemExit):
        plan_run(COUNTING).carry_out(tmp_path)
    assert load_checkpoint(tmp_path).unfinished.numbers["steps_done"] == 0


def test_another_recipe_does_not_resume(tmp_path):
    def stop(_: StepRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plan_run(COUNTING).carry_out(tmp_path, watch=stop)
    with pytest.raises(RGMError, match=r"belongs to a run with other options \(epochs None then, 11.0 now\)"):
        plan_run(replace(COUNTING, epochs=11.0)).carry_out(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"estimator": "gumbel"}, "--estimator"),
        ({"binarise": "none"}, "--binarise"),
        ({"precision": "bfloat16"}, "--precision"),
        ({"compile": True}, "--compile"),
        ({"labels": 100}, "--labels"),
        ({"epochs": 2.0}, "--epochs"),
        ({"batch_size": 0}, "batch size"),
    ],
)
def test_options_of_networks_are_refused(options, names):
    with pytest.raises(RGMError, match=names):
        plan_run(replace(COUNTING, **options))


def test_epochs_are_passes():
    assert adjusted(EMRecipe(), epochs=11.0, batch_size=None).passes == 2
    assert adjusted(EMRecipe(), epochs=9.0, batch_size=5) == EMRecipe(passes=0, batch_size=5)
    with pytest.raises(RGMError, match="takes one pass over the images"):
        plan_run(replace(COUNTING, preset="paper", epochs=2.0))


def test_images_without_labels_are_refused(tmp_path):
    from PIL import Image

    for number in range(30):
        Image.new("L", (28, 28), number).save(tmp_path / f"{number}.png")
    with pytest.raises(RGMError, match="no labels"):
        plan_run(replace(COUNTING, data=str(tmp_path)))


def test_a_single_cell_is_refused():
    with pytest.raises(RGMError, match="too small"):
        plan_run(replace(COUNTING, size=4))


def test_the_paper_shuffles_images_sorted_by_class():
    images = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    labels = torch.arange(2).repeat_interleave(20)
    model = CountingRGM.from_preset("paper", image=(1, 8, 8), classes=2)
    recipe = ExemplarRecipe(images=10, exemplars=2)
    sorted_, mixed = (PaperLearner(model, recipe, images, given) for given in (labels, labels.roll(1)))
    assert set(sorted_.labels.tolist()) == {0, 1}
    assert sorted_.images[:, 0, 0, 0].tolist() != list(range(10))
    assert mixed.images[:, 0, 0, 0].tolist() == list(range(10))
