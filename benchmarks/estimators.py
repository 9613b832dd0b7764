"""Estimators of a discrete code's gradient, compared at equal budget.

Every estimator trains the codes and the concept of `standard` on MNIST's training split for equally many steps of 64
images, with the same images in the same order for equal seeds; the validation split says what came of it, with hard
codes. Learning rate and temperature are each estimator's own, the best of a few by squared error on the validation
split, at a seed that the comparison does not use.

    python benchmarks/estimators.py --steps 600

Rows are written as they come, and one that is there already, made with the same settings, is not made again.
"""

import json
import platform
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from cyclopts import App, Parameter
from scipy import stats

from rgm.data.images import ImageSet
from rgm.data.load import load_data
from rgm.files import write_json, write_text
from rgm.model.config import ModelConfig, preset
from rgm.model.estimator import Estimator, Gumbel, ReinMax, StraightThrough, VectorQuantised
from rgm.model.spatial import SpatialRGM
from rgm.training.loop import summary, train
from rgm.training.recipe import Recipe, recipe

SEEDS = range(5)
PILOT_SEED = 100
RATES = (1e-3, 3e-3)
CANDIDATES: tuple[tuple[Estimator, ...], ...] = (
    (Gumbel(temperature=1.0), Gumbel(temperature=0.5)),
    (StraightThrough(temperature=1.0), StraightThrough(temperature=0.5)),
    (VectorQuantised(),),
    (ReinMax(temperature=1.0), ReinMax(temperature=1.3)),
)
"""Each estimator at the temperatures that it is tried at."""
TRAININGS = len(RATES) * sum(map(len, CANDIDATES)) + len(SEEDS) * len(CANDIDATES)
MEASURES = {
    "squared_error": ("squared error", "{:.5f}", min),
    "perplexity": ("perplexity", "{:.1f}", max),
    "codes_in_use": ("codes in use", "{:.1f}", max),
    "concept_accuracy": ("concept accuracy", "{:.4f}", max),
    "cpu_s": ("CPU seconds", "{:.0f}", min),
}
"""Name, how to show it, and which of two is better."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What makes one training, beside the data."""

    estimator: Estimator
    learning_rate: float
    steps: int
    seed: int

    @property
    def model(self) -> ModelConfig:
        """The architecture of `standard` with this estimator of its grid."""
        config = preset("standard", (1, 28, 28), 10)
        grid, concept = config.levels
        grid = replace(grid, recognition=replace(grid.recognition, estimator=self.estimator))
        return replace(config, levels=(grid, concept))

    @property
    def recipe(self) -> Recipe:
        """The stage of `standard` that trains the codes, for this many steps."""
        stage = recipe("standard").stages[0]
        return Recipe(
            stages=(replace(stage, epochs=0, least_steps=self.steps, learning_rate=self.learning_rate),)
        )


def measured(setting: Setting, images: ImageSet, validation: ImageSet) -> dict[str, float]:
    """Train one model; return its measures on the validation split and the processor seconds of training."""
    torch.manual_seed(setting.seed)
    model = SpatialRGM(config=setting.model)
    start = time.process_time()
    train(model, images, setting.recipe, seed=setting.seed)
    return {"cpu_s": time.process_time() - start, **summary(model, validation)}


class Rows:
    """The trainings done so far, in a JSON file that holds every one as soon as it ends."""

    def __init__(self, path: Path, facts: dict[str, Any], images: ImageSet, validation: ImageSet) -> None:
        self.path, self.facts, self.images, self.validation = path, facts, images, validation
        found = json.loads(path.read_text()) if path.is_file() else {}
        self.rows: list[dict[str, Any]] = found["rows"] if found.get("facts") == facts else []

    def of(self, setting: Setting) -> dict[str, float]:
        """Return the measures of a setting, trained where they are not there yet."""
        plain = json.loads(json.dumps(asdict(setting)))
        for row in self.rows:
            if row["setting"] == plain:
                return row["validation"]
        measures = measured(setting, self.images, self.validation)
        self.rows.append({"setting": plain, "validation": measures})
        self.write()
        shown = "  ".join(f"{name} {value:.4g}" for name, value in measures.items())
        print(f"{len(self.rows)}/{TRAININGS}  {setting}  {shown}", flush=True)
        return measures

    def write(self, **conclusions: Any) -> None:
        """Write the file: where it ran, the rows, and what is concluded from them."""
        write_json(self.path, {"version": 1, "facts": self.facts, **conclusions, "rows": self.rows})


def interval(values: Iterable[float]) -> dict[str, float]:
    """Return the mean of independent values and its 95 % interval, by Student's t with n − 1 degrees of freedom."""
    array = np.array(list(values))
    mean, reach = array.mean(), stats.t.ppf(0.975, len(array) - 1) * stats.sem(array)
    return {"estimate": float(mean), "low": float(mean - reach), "high": float(mean + reach)}


def page(
    facts: dict[str, Any], command: str, chosen: list[Setting], values: list[dict[str, list[float]]]
) -> str:
    """Return the page: what was compared, the table, who won by how much, and where it ran."""
    count = len(SEEDS)
    lines = [
        "# Estimators, compared",
        "",
        "Written by the command at the end; the numbers of every training are in [estimators.json](estimators.json).",
        "",
        "Every estimator trains the codes and the concept of `standard` (the `codes` stage, "
        f"{facts['steps']:,} steps of 64 images) on MNIST's training split; equal seeds see the same images in the same order. Measures are of the "
        f"**validation** split with hard codes: means over {count} seeds, with 95 % t-intervals. Learning rate and "
        f"temperature are the best of those tried (rates {' and '.join(f'{r:g}' for r in RATES)}; two temperatures "
        f"where there is one), by squared error on the validation split at seed {PILOT_SEED}, which is none of the "
        f"{count}. All else, the weights of the loss above all, is what `standard` was tuned to with vector "
        "quantisation, which favours it. Seconds are of one processor thread, training alone.",
        "",
        "| estimator | temperature | rate | " + " | ".join(title for title, *_ in MEASURES.values()) + " |",
        "| --- " * (3 + len(MEASURES)) + "|",
    ]
    for setting, found in zip(chosen, values, strict=True):
        temperature = getattr(setting.estimator, "temperature", None)
        cells = [
            setting.estimator.kind,
            "–" if temperature is None else f"{temperature:g}",
            f"{setting.learning_rate:g}",
        ]
        cells += [shown(interval(found[measure]), form) for measure, (_, form, _) in MEASURES.items()]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "## Who won", ""]
    by_name: dict[str, dict[str, list[float]]] = {
        setting.estimator.kind: found for setting, found in zip(chosen, values, strict=True)
    }
    lines += [f"- {verdict(measure, by_name)}" for measure in MEASURES]
    lines += [
        "",
        "## Where it ran",
        "",
        f"`{command}` on {facts['machine']}, one thread; Python {facts['python']}, PyTorch {facts['torch']}.",
    ]
    return "\n".join(lines) + "\n"


def verdict(measure: str, values: dict[str, dict[str, list[float]]]) -> str:
    """Return a line: which estimator has the best mean, and its paired difference to the next over the seeds."""
    title, form, better = MEASURES[measure]
    sign = 1 if better is max else -1
    first, second, *_ = sorted(values, key=lambda name: -sign * sum(values[name][measure]))
    pairs = zip(values[first][measure], values[second][measure], strict=True)
    gap = interval(sign * (one - two) for one, two in pairs)
    line = f"**{title}**: {first}, better than {second} by {shown(gap, form)}"
    return line + (
        "." if gap["low"] > 0 else ": undecided, since the interval of the paired differences holds 0."
    )


def shown(found: dict[str, float], form: str) -> str:
    """Return an interval as text."""
    return f"{form} ({form} to {form})".format(found["estimate"], found["low"], found["high"])


def processor() -> str:
    """Return the processor's name where the system tells it."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.is_file() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


app = App(help=__doc__)


@app.default
def main(
    *,
    steps: Annotated[int, Parameter(help="Steps of every training.")] = 600,
    out: Annotated[Path, Parameter(help="Folder for estimators.json and estimators.md.")] = Path("docs"),
    data_dir: Annotated[Path | None, Parameter(help="Folder that holds mnist/; else $RGM_DATA_DIR.")] = None,
) -> None:
    """Compare the estimators and write the table."""
    torch.set_num_threads(1)
    images, validation = (load_data("mnist", split, data_dir=data_dir) for split in ("train", "validation"))
    facts = {
        "steps": steps,
        "data": {part.split: part.sha256 for part in (images, validation)},
        "machine": f"{processor()}, {platform.system()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rgm": version("rgm"),
    }
    rows = Rows(out / "estimators.json", facts, images, validation)
    chosen = []
    for estimators in CANDIDATES:
        pilots = [
            Setting(estimator=estimator, learning_rate=rate, steps=steps, seed=PILOT_SEED)
            for estimator in estimators
            for rate in RATES
        ]
        chosen.append(min(pilots, key=lambda pilot: rows.of(pilot)["squared_error"]))
    made = [[rows.of(replace(setting, seed=seed)) for setting in chosen] for seed in SEEDS]
    values = [
        {name: [row[name] for row in column] for name in MEASURES} for column in zip(*made, strict=True)
    ]
    rows.write(
        compared=[
            {"estimator": asdict(setting.estimator), "learning_rate": setting.learning_rate}
            | {name: interval(numbers) for name, numbers in found.items()}
            for setting, found in zip(chosen, values, strict=True)
        ]
    )
    command = shlex.join(["python", "benchmarks/estimators.py", *sys.argv[1:]])
    write_text(out / "estimators.md", page(facts, command, chosen, values))
    print(f"Wrote {out / 'estimators.md'}")


if __name__ == "__main__":
    app()
