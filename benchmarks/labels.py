"""How right the concept is that `standard` learns from few labels, or none, on MNIST.

Each draw of the labels is a seed of its own, which also seeds the training. The codes and the concept are trained as
`rgm train --labels N` trains them; the prior, which is trained after them and does not touch the concept, is left out.
The test split is looked at once, at the end of each training.

    python benchmarks/labels.py --labels 100

Rows are written as they come, and one that is there already, made with the same settings, is not made again.
"""

import json
import platform
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter

from rgm.data.labels import few_labels
from rgm.data.load import load_data
from rgm.measures import matching
from rgm.model.spatial import SpatialRGM
from rgm.storage.files import write_json
from rgm.training.loop import NeuralTrainer
from rgm.training.recipe import Recipe, recipe
from rgm.training.summary import summary

app = App(help=__doc__)


@app.default
def main(
    *,
    labels: Annotated[int, Parameter(help="Labels that training may know.")] = 100,
    draws: Annotated[int, Parameter(help="Draws of the labels, seeds 0, 1, …")] = 5,
    out: Annotated[Path, Parameter(help="The JSON file.")] = Path("docs/labels.json"),
    data_dir: Annotated[Path | None, Parameter(help="Folder that holds mnist/; else $RGM_DATA_DIR.")] = None,
) -> None:
    """Train on several draws of the labels and write what came of each."""
    torch.set_num_threads(1)
    images, validation, test = (
        load_data("mnist", split, data_dir=data_dir) for split in ("train", "validation", "test")
    )
    codes = recipe("standard").with_hidden_labels().stages[0]
    setting = {"labels": labels, "stage": json.loads(json.dumps(asdict(codes)))}
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"] if out.is_file() else []
    for seed in range(draws):
        if any(row["setting"] == setting and row["seed"] == seed for row in rows):
            continue
        torch.manual_seed(seed)
        model = SpatialRGM.from_preset("standard")
        start = time.process_time()
        known = few_labels(images, labels, seed=seed)
        training = NeuralTrainer(model, known, validation, Recipe(stages=(codes,)), seed=seed)
        training.run(lambda _: None, lambda _, record: print(record, flush=True))
        seconds = time.process_time() - start
        if not labels:
            read = torch.cat([model.read(part / 255)[-1] for part in validation.images.split(500)]).flatten()
            assert validation.labels is not None
            model.rename_concepts(matching(read, validation.labels, model.num_classes))
        found = {split.split: summary(model, split) for split in (validation, test)}
        rows.append({"setting": setting, "seed": seed, "cpu_s": round(seconds), **found})
        facts = {
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "rgm": version("rgm"),
        }
        write_json(out, {"version": 1, "facts": facts, "rows": rows})
    accuracies = [row["test"]["concept_accuracy"] for row in rows if row["setting"] == setting]
    print(f"test accuracy, {labels} labels: mean {sum(accuracies) / len(accuracies):.4f} of {accuracies}")


if __name__ == "__main__":
    app()
