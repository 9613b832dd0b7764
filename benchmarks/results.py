"""Everything that is claimed of a model's samples, codes and cells, on one page: `docs/results.json` and `.md`.

    python benchmarks/results.py runs/demo

Measured on the test split with hard codes and the project's judge; samples are ancestral, at temperature 1, and none is
rejected. What depends on the judge's features or on the number of images stands beside what real training images give
in the place of samples.
"""

import os
import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import App, Parameter

from rgm.claims.claim import Finding
from rgm.data.load import load_data
from rgm.evaluation.bound import evaluate
from rgm.evaluation.judge import judge_of
from rgm.evaluation.locality import locality
from rgm.evaluation.sample_quality import quality, reference
from rgm.evaluation.split import infer_split
from rgm.evaluation.statistics import Estimate, exactly
from rgm.loading import load_checkpoint
from rgm.storage.files import write_json, write_text


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the page: the measure, what real images give, and what is asked and hoped."""

    name: str
    measure: Estimate
    form: str
    real: Estimate | None = None
    least: float | None = None
    most: float | None = None
    aim: str = ""

    @property
    def cells(self) -> list[str]:
        """The row as a table shows it."""
        return [
            self.name,
            shown(self.measure, self.form),
            "–" if self.real is None else self.form.format(self.real.estimate),
            self.asked,
            self.aim,
            "yes" if self.reached else "**no**",
        ]

    @property
    def asked(self) -> str:
        """What was asked, in words."""
        low, high = (None if bound is None else self.form.format(bound) for bound in (self.least, self.most))
        if low and high:
            return f"{low} to {high}"
        return f"at least {low}" if low else f"at most {high}"

    @property
    def reached(self) -> bool:
        """Whether the estimate lies where it was asked to."""
        found = self.measure.estimate
        return (self.least is None or found >= self.least) and (self.most is None or found <= self.most)


def shown(found: Estimate, form: str) -> str:
    """Return an estimate with its interval, or alone where it has none."""
    if found.low == found.high:
        return form.format(found.estimate)
    return f"{form} ({form} to {form})".format(found.estimate, found.low, found.high)


def page(title: str, lines: list[Line], facts: dict[str, str], notes: list[str], command: str) -> str:
    """Return the page."""
    head = ["measure", "estimate (95 % interval)", "real images instead", "asked", "aim", "reached"]
    rows = [head, ["---"] * len(head), *(line.cells for line in lines)]
    return "\n".join(
        [
            f"# {title}",
            "",
            "Written by the command at the end; the numbers in full are in the JSON file beside this page.",
            "",
            *("| " + " | ".join(row) + " |" for row in rows),
            "",
            *notes,
            "",
            "## How it was run",
            "",
            f"`{command}`",
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
            "",
        ]
    )


app = App(help=__doc__)


@app.default
def main(
    model: str,
    *,
    data: Annotated[str | None, Parameter(help="A data set; else the model's own.")] = None,
    data_dir: Annotated[Path | None, Parameter(help="Folder that holds mnist/; else $RGM_DATA_DIR.")] = None,
    draws: Annotated[int, Parameter(help="Independent sets of samples.")] = 3,
    seed: int = 0,
    out: Annotated[Path, Parameter(help="The page; the JSON file lies beside it.")] = Path("docs/results.md"),
) -> None:
    """Measure a model and write the page."""
    checkpoint = load_checkpoint(model)
    rgm, name = checkpoint.model, data or checkpoint.origin.data
    size = checkpoint.model.config.image[1]
    train, test = (load_data(name, split, data_dir=data_dir, size=size) for split in ("train", "test"))
    judge = judge_of(train)
    split = infer_split(rgm, test, judge)
    codes = evaluate(split, train, seed=seed)
    cells = locality(rgm, test, judge, seed=seed)
    marks = quality(rgm, reference(judge, train, test, draws=draws, seed=seed))
    assert marks.between_training is not None
    assert test.labels is not None
    assert codes.concept_accuracy is not None
    changes = cells.findings()
    own, near = (Finding.of(name, changes[name]).found for name in ("own_patch_share", "patch_plus_2_share"))
    assert split.reconstructions_recognised is not None
    samples, real, percent = marks.samples, marks.real, "{:.1%}"
    assert samples.accuracy_gap is not None
    lines = [
        Line(name="concept right", measure=codes.concept_accuracy, form="{:.2%}", least=0.992, aim="99.6 %"),
        Line(
            name="codes in use",
            measure=exactly(codes.codes_in_use, "codes"),
            form="{:.0f}",
            least=32,
            aim="32",
        ),
        Line(
            name="codes needed",
            measure=exactly(codes.needed_codes, "codes"),
            form="{:.0f}",
            least=31,
            aim="32",
        ),
        Line(name="squared error", measure=codes.squared_error, form="{:.4f}", most=0.0055, aim="0.004"),
        Line(
            name="reconstructions recognised",
            measure=split.reconstructions_recognised.estimate(),
            form=percent,
            least=0.988,
            aim="99.4 %",
        ),
        Line(
            name="samples recognised",
            measure=samples.recognised,
            real=real.recognised,
            form=percent,
            least=0.975,
            aim="99.2 %",
        ),
        Line(
            name="… of the worst concept",
            measure=samples.worst_recognised,
            real=real.worst_recognised,
            form=percent,
            least=0.95,
            aim="98.5 %",
        ),
        Line(
            name=f"Fréchet distance over the floor, {marks.images:,} images",
            measure=samples.frechet_ratio,
            real=real.frechet_ratio,
            form="{:.2f}",
            most=9,
            aim="3",
        ),
        Line(
            name="recall over real recall",
            measure=samples.recall_ratio,
            real=real.recall_ratio,
            form="{:.2f}",
            least=0.8,
            aim="0.95",
        ),
        Line(
            name="diversity over real diversity",
            measure=samples.diversity_ratio,
            real=real.diversity_ratio,
            form="{:.2f}",
            least=0.9,
            most=1.1,
            aim="0.97 to 1.03",
        ),
        Line(
            name="classification accuracy score below real, points",
            measure=samples.accuracy_gap,
            form="{:.2f}",
            most=1.3,
            aim="0.5",
        ),
        Line(
            name="nearest-training-image distance over real",
            measure=samples.nearest_ratio,
            real=real.nearest_ratio,
            form="{:.2f}",
            least=0.9,
            most=1.15,
            aim="0.95 to 1.05",
        ),
        Line(
            name="rate of test codes over training codes",
            measure=codes.rate_ratio,
            form="{:.3f}",
            most=1.05,
            aim="1.02",
        ),
        Line(name="change in the cell's own patch", measure=own, form=percent, least=0.5, aim="80 %"),
        Line(name="change in the patch + 2 pixels", measure=near, form=percent, least=0.96, aim="99.5 %"),
    ]
    facts = {
        "model": f"`{model}`: preset {checkpoint.origin.preset}, seed {checkpoint.origin.seed}, "
        f"{sum(p.numel() for p in rgm.parameters()):,} parameters",
        "data": f"{test.source}, {len(test):,} test images, SHA-256 {test.sha256[:16]}…",
        "samples": f"{draws} draws of {marks.images:,}, as many of a concept as among the test images",
        "judge": f"{split.judge_accuracy:.2%} of the test images right",
        "floor": f"Fréchet distance {shown(marks.floor, '{:.4f}')} from {marks.images:,} training images to the test "
        f"images; {shown(marks.between_training, '{:.4f}')} between two sets of training images, both of which the "
        "judge has learned from",
        "machine": f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores",
        "versions": f"rgm {version('rgm')}, PyTorch {torch.__version__}, Python {platform.python_version()}",
    }
    write_json(
        out.with_suffix(".json"),
        {
            "version": 1,
            "facts": facts,
            "lines": [asdict(line) | {"reached": line.reached} for line in lines],
            "evaluation": asdict(codes),
            "quality": asdict(marks),
        },
    )
    notes = [
        '"Real images instead" are training images in the place of samples, under the same protocol; the judge has '
        "learned from those, and their nearest training image is the nearest other one. Intervals are over images "
        "(bootstrap) for means and shares, over draws for sets of samples. What is asked, and the aim, are those of "
        "the packaged weights on MNIST."
    ]
    command = shlex.join(["python", "benchmarks/results.py", *sys.argv[1:]])
    write_text(out, page(f"Results: {test.source}", lines, facts, notes, command))
    for line in lines:
        print(" | ".join(line.cells))


if __name__ == "__main__":
    app()
