"""Estimators of a discrete code's gradient, compared at equal budget.

Every estimator trains the codes and the concept of `standard` on MNIST's training split for equally many steps of 64
images, with the same images in the same order for equal seeds; the validation split says what came of it, with
hard codes. Learning rate, temperature and the weight of the usage term are each estimator's own: the best of a
few by squared error on the validation split, at a seed that the comparison does not use.

    python benchmarks/estimators.py --steps 400

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
from rgm.model.config import ModelConfig, preset
from rgm.model.estimator import Estimator, Gumbel, ReinMax, StraightThrough, VectorQuantised
from rgm.model.spatial import SpatialRGM
from rgm.storage.files import write_json, write_text
from rgm.training.loop import train
from rgm.training.recipe import Recipe, Weights, recipe
from rgm.training.summary import summary

SEEDS = range(5)
PILOT_SEED = 100
MEASURES = {
    "squared_error": ("squared error", "{:.5f}", min),
    "codes_in_use": ("codes in use", "{:.1f}", max),
    "concept_accuracy": ("concept accuracy", "{:.4f}", max),
    "cpu_s": ("CPU seconds", "{:.0f}", min),
}
"""Name, how to show it, and which of two is better."""
SETTING = ["estimator", "temperature", "learning rate", "usage weight"]
PILOTED = ["squared_error", "concept_accuracy"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What makes one training, beside the data."""

    estimator: Estimator
    learning_rate: float
    usage: float
    steps: int
    seed: int

    @property
    def model(self) -> ModelConfig:
        """The architecture of `standard` with 32 codes of this estimator, whose embeddings do not start as patches."""
        config = preset("standard", (1, 28, 28), 10)
        grid, concept = config.levels
        recognition = replace(grid.recognition, patches=False, estimator=self.estimator)
        grid = replace(grid, states=32, recognition=recognition)
        return replace(config, levels=(grid, concept))

    @property
    def recipe(self) -> Recipe:
        """The stage of `standard` that trains the codes, for this many steps of 64 images, with weights tuned with 32
        codes of vector quantisation; no codes are moved for their cost, which only a codebook has.
        """
        stage = recipe("standard").stages[0]
        weights = Weights(reconstruction=10.0, concept=0.3, codebook=1.0, usage=self.usage, locality=40.0)
        return Recipe(
            stages=(
                replace(
                    stage,
                    epochs=0,
                    least_steps=self.steps,
                    learning_rate=self.learning_rate,
                    batch_size=64,
                    relocation=None,
                    weights=weights,
                ),
            )
        )

    @property
    def cells(self) -> list[str]:
        """The estimator, its temperature, the learning rate and the usage weight, as a table shows them."""
        temperature = getattr(self.estimator, "temperature", None)
        return [
            self.estimator.kind,
            "–" if temperature is None else f"{temperature:g}",
            f"{self.learning_rate:g}",
            f"{self.usage:g}",
        ]


def candidates(steps: int) -> list[list[Setting]]:
    """Return what each estimator is tried at: one setting for all, and that with one thing changed at a time.

    `standard` weighs the usage term 0.005. ReinMax has one temperature, at which its gradient is right to second order.
    """
    tried = []
    for first, *cooler in (
        (Gumbel(), Gumbel(temperature=0.5)),
        (StraightThrough(), StraightThrough(temperature=0.5)),
        (VectorQuantised(),),
        (ReinMax(),),
    ):
        base = Setting(estimator=first, learning_rate=3e-3, usage=0.05, steps=steps, seed=PILOT_SEED)
        changed = [replace(base, usage=0.005), replace(base, learning_rate=1e-3)]
        tried.append([base, *changed, *(replace(base, estimator=other) for other in cooler)])
    return tried


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
        print(f"{len(self.rows)}  {' '.join(setting.cells)} seed {setting.seed}  {shown}", flush=True)
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
    facts: dict[str, Any],
    command: str,
    pilots: dict[Setting, dict[str, float]],
    found: dict[Setting, dict[str, list[float]]],
) -> str:
    """Return the page: what was compared, the table, who won by how much, what was tried, and where it ran."""
    lines = [
        "# Comparison of estimators",
        "",
        "The four estimators, compared at an equal training budget. Generated by the command at the end; the numbers "
        "of every training are in [estimators.json](estimators.json).",
        "",
        "Every estimator trains 32 codes and the concept, with the encoder, the decoder and the `codes` stage of "
        "`standard`, but without the patches that its codebook starts from, "
        f"for {facts['steps']:,} steps of 64 images on MNIST's training split; equal seeds use the same images in "
        "the same order. Measures are of the **validation** split, with hard codes: means over "
        f"{len(SEEDS)} seeds, with 95 % t-intervals. Seconds are of one processor thread, training alone.",
        "",
        *table([*SETTING, *(title for title, *_ in MEASURES.values())]),
    ]
    for setting, values in found.items():
        measures = [shown(interval(values[name]), form) for name, (_, form, _) in MEASURES.items()]
        lines.append(row([*setting.cells, *measures]))
    lines += ["", "## Best estimator by measure", ""]
    by_name = {str(setting.estimator.kind): values for setting, values in found.items()}
    lines += [f"- {verdict(measure, by_name)}" for measure in MEASURES]
    lines += [
        "",
        "## Hyperparameters",
        "",
        "Temperature, learning rate and the weight of the usage term are selected for each estimator: the best of "
        f"those below by squared error, one training each at seed {PILOT_SEED}, which is none of the {len(SEEDS)} "
        f"above. The weight {recipe('standard').stages[0].weights.usage:g} is that of `standard`. All other weights "
        "were tuned with vector quantisation, which favours it.",
        "",
        *table([*SETTING, *(MEASURES[name][0] for name in PILOTED), "chosen"]),
    ]
    for pilot, measured in pilots.items():
        measures = [MEASURES[name][1].format(measured[name]) for name in PILOTED]
        chosen = any(replace(setting, seed=PILOT_SEED) == pilot for setting in found)
        lines.append(row([*pilot.cells, *measures, "yes" if chosen else ""]))
    lines += [
        "",
        "## Environment",
        "",
        f"`{command}` on {facts['machine']}, one thread; Python {facts['python']}, PyTorch {facts['torch']}.",
    ]
    return "\n".join(lines) + "\n"


def table(titles: list[str]) -> list[str]:
    """Return the head of a Markdown table."""
    return [row(titles), row(["---"] * len(titles))]


def row(cells: list[str]) -> str:
    """Return a line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def verdict(measure: str, values: dict[str, dict[str, list[float]]]) -> str:
    """Return a line: which estimator has the best mean, and its paired difference to the next over the seeds."""
    title, form, better = MEASURES[measure]
    sign = 1 if better is max else -1
    first, second, *_ = sorted(values, key=lambda name: -sign * sum(values[name][measure]))
    pairs = zip(values[first][measure], values[second][measure], strict=True)
    gap = interval(sign * (one - two) for one, two in pairs)
    line = f"**{title}**: {first}, better than {second} by {shown(gap, form)}"
    return line + ("." if gap["low"] > 0 else ": undecided, because the interval of the paired differences contains 0.")


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
    steps: Annotated[int, Parameter(help="Steps of every training.")] = 1_000,
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
    pilots: dict[Setting, dict[str, float]] = {}
    chosen: list[Setting] = []
    for settings in candidates(steps):
        pilots |= {pilot: rows.of(pilot) for pilot in settings}
        chosen.append(min(settings, key=lambda pilot: pilots[pilot]["squared_error"]))
    # Seed by seed, so that a comparison cut short has each estimator equally often.
    made = [[rows.of(replace(setting, seed=seed)) for setting in chosen] for seed in SEEDS]
    found = {
        setting: {name: [measures[name] for measures in column] for name in MEASURES}
        for setting, *column in zip(chosen, *made, strict=True)
    }
    rows.write(
        compared=[
            {"estimator": asdict(setting.estimator), "learning_rate": setting.learning_rate, "usage": setting.usage}
            | {name: interval(numbers) for name, numbers in values.items()}
            for setting, values in found.items()
        ]
    )
    command = shlex.join(["python", "benchmarks/estimators.py", *sys.argv[1:]])
    write_text(out / "estimators.md", page(facts, command, pilots, found))
    print(f"Wrote {out / 'estimators.md'}")


if __name__ == "__main__":
    app()
