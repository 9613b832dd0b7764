"""`rgm experiment`, `rgm evaluate` and `rgm compare`."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import assert_evidence, done, inside, refused
from PIL import Image

from rgm.errors import RGMError
from rgm.pipeline import own_results
from rgm.storage.checkpoint import FILE, packaged


@pytest.mark.slow
def test_evaluate(run: Path, tmp_path: Path) -> None:
    done("evaluate", run, "--split", "validation", "--samples", 2, "--out", tmp_path)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert (found["data"], found["split"]) == ("digits", "validation")
    bound = found["measures"]["free_energy_nats"]
    assert bound["low"] <= bound["estimate"] <= bound["high"]
    assert "at least one sample" in refused("evaluate", run, "--samples", 0)
    assert "at least one image" in refused("evaluate", run, "--importance-images", 0)


@pytest.mark.slow
@pytest.mark.usefixtures("measured_briefly")
def test_claims_are_put_to_a_model_and_written(run: Path, tmp_path: Path) -> None:
    text = done("evaluate", run, "--claims", "--samples", 1, "--out", tmp_path)
    found = json.loads((tmp_path / "evidence.json").read_text())
    for claim in found["claims"]:
        assert f"{claim['claim']} · model: {claim['verdict']}" in text
    assert_evidence(found)
    drawn = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"renormalization.png", "locality-atlas.png"} <= drawn


@pytest.mark.slow
@pytest.mark.usefixtures("measured_briefly")
def test_models_are_compared_side_by_side(run: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.safetensors"
    done("pack", run, "--out", packed)
    text = done("compare", run, packed, "--out", tmp_path, COLUMNS="200")
    assert "concept accuracy" in text
    kept = json.loads((tmp_path / "comparison.json").read_text())
    assert kept["models"] == [str(run), str(packed)]
    accuracy = kept["measures"][0]
    assert accuracy["name"] == "concept_accuracy"
    assert accuracy["differences"][1]["paired"]
    assert abs(accuracy["differences"][1]["estimate"]) < 0.01  # half precision hardly matters
    page = (tmp_path / "comparison.html").read_text()
    assert str(packed) in page
    assert "http" not in page
    assert "two different models" in refused("compare", run, run)
    assert "two different models" in refused("compare", run)


def test_claims_about_other_classes_are_undecided_and_say_why(run: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for index in range(4):
                Image.new("L", (28, 28), 30 * index).save(folder / f"{index}.png")
    out = tmp_path / "out"
    done("evaluate", run, "--data", tmp_path / "pets", "--claims", "--samples", 1, "--out", out)
    found = json.loads((out / "evidence.json").read_text())["claims"]
    assert [claim["verdict"] for claim in found] == ["undecided"] * 3
    assert all("none that are the model's" in claim["reason"] for claim in found)
    assert all(claim["measures"] == [] for claim in found)


LONG = [pytest.param(name, marks=pytest.mark.slow) for name in ("instantiation", "locality")]


@pytest.mark.parametrize("name", ["abstraction", *LONG])
def test_experiment(run: Path, tmp_path: Path, name: str) -> None:
    done("experiment", name, run, "--out", tmp_path)
    numbers = json.loads((tmp_path / f"{name}.json").read_text())["measures"]
    whole = json.loads((run / "metrics.json").read_text())["test"]
    assert numbers == {key: pytest.approx(whole[key], abs=1e-5) for key in numbers}
    assert list(tmp_path.glob(f"{name}*.png"))


def test_labels_of_other_classes_are_ignored(run: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for index in range(10):
            path = tmp_path / "images" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((28, 28), 20 * index, dtype=np.uint8)).save(path)
    told = inside("evaluate", run, "--data", tmp_path / "images", "--samples", 1, "--out", tmp_path).errors
    assert told.count("are not the model's concepts: its labels are ignored") == 1
    assert json.loads((tmp_path / "evaluation.json").read_text())["measures"]["concept_accuracy"] is None
    done("experiment", "locality", run, "--data", tmp_path / "images", "--out", tmp_path)
    assert "changed_concept_recognised" not in json.loads((tmp_path / "locality.json").read_text())["measures"]


@pytest.mark.slow
def test_a_counted_model_is_evaluated_and_its_exactness_shown(counted: Path, tmp_path: Path) -> None:
    done("evaluate", counted, "--samples", 1, "--out", tmp_path)
    measures = json.loads((tmp_path / "evaluation.json").read_text())["measures"]
    exact, bound = (measures[name]["estimate"] for name in ("importance_bound_nats", "free_energy_nats"))
    assert abs(exact / bound - 1) < 0.2  # of a part of the images, and of all
    done("experiment", "exactness", counted, "--out", tmp_path)
    record = json.loads((tmp_path / "exactness.json").read_text())
    assert record["intervals"].keys() == record["measures"].keys()
    assert record["measures"]["completed_quadrants_recognised"] > 0.8
    assert (tmp_path / "exactness-completion.png").is_file()
    done("experiment", "locality", counted, "--out", tmp_path)
    assert json.loads((tmp_path / "locality.json").read_text())["measures"]["own_patch_share"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("evaluate", "mnist"), "evaluation.json"),
        (("evaluate", "mnist", "--claims"), "figures/renormalization.png"),
        (("compare", "mnist", packaged("mnist")), "comparison.html"),
        (("experiment", "locality", "mnist"), "locality-map.png"),
        (("experiment", "abstraction", "mnist"), "abstraction.json"),
    ],
)
def test_results_replace_no_files_of_the_users_own(tmp_path: Path, command: tuple[object, ...], name: str) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    line = refused(*command, "--data", "digits", "--out", tmp_path / "out")
    assert f"such as {name}: name another folder" in line
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_results_are_replaced_and_a_run_takes_its_own(tmp_path: Path) -> None:
    for _ in range(2):
        own_results(tmp_path / "out", "evaluation", "digits")
        (tmp_path / "out" / "evaluation.json").write_text("ours")
    (tmp_path / "out" / "locality.json").write_text("mine")
    with pytest.raises(RGMError, match=r"not the experiment locality's, such as locality\.json"):
        own_results(tmp_path / "out", "locality", "digits")
    (tmp_path / "run").mkdir()
    for name in (FILE, "evaluation.json"):
        (tmp_path / "run" / name).touch()
    assert own_results(tmp_path / "run", "evaluation", "digits") == tmp_path / "run"


def test_results_are_not_written_among_images(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").touch()
    for out in (tmp_path, tmp_path / "cat"):
        with pytest.raises(RGMError, match="is the folder of the images"):
            own_results(out, "evaluation", str(tmp_path))
    assert not list(tmp_path.rglob(".rgm"))
    own_results(tmp_path / "results", "evaluation", str(tmp_path))
