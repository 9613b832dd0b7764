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
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import App, Parameter
from small_net import classification_accuracy_score
from torch import Tensor

from rgm.claims.claim import Finding
from rgm.data.images import ImageSet, to_unit
from rgm.data.load import load_data
from rgm.evaluation.bound import evaluate
from rgm.evaluation.image_sets import frechet_distance
from rgm.evaluation.judge import judge_of
from rgm.evaluation.locality import locality
from rgm.evaluation.sample_quality import Quality, Reference, quality, reference, sampled
from rgm.evaluation.split import infer_split
from rgm.evaluation.statistics import Estimate, exactly, mean_over_draws
from rgm.loading import load_checkpoint
from rgm.model.generative import RGM
from rgm.storage.files import write_json, write_text


@dataclass(frozen=True)
class Target:
    """What packaged weights must reach in a measure, and what is hoped for."""

    least: float | None = None
    most: float | None = None
    aim: str = ""


TARGETS: dict[str, dict[str, Target]] = {
    "mnist": {
        "concept": Target(0.995, aim="99.65 %"),
        "codes": Target(64, aim="64"),
        "needed": Target(62, aim="64"),
        "error": Target(most=0.0038, aim="0.003"),
        "reconstructions": Target(0.9935, aim="99.5 %"),
        "samples": Target(0.988, aim="99.3 %"),
        "worst": Target(0.978, aim="98.7 %"),
        "frechet": Target(most=2.2, aim="1.5"),
        "recall": Target(0.95, aim="0.98"),
        "diversity": Target(0.95, 1.05, aim="0.98 to 1.02"),
        "gap": Target(most=0.6, aim="0.3"),
        "nearest": Target(0.95, 1.05, aim="0.98 to 1.02"),
        "rate": Target(most=1.015, aim="1.015"),
        "own": Target(0.78, aim="85 %"),
        "near": Target(0.9995, aim="100 %"),
    },
    "fashion-mnist": {
        "samples": Target(0.9, aim="94 %"),
        "worst": Target(0.75, aim="85 %"),
        "error": Target(most=0.008, aim="0.006"),
        "frechet": Target(most=10, aim="4"),
        "recall": Target(0.75, aim="0.9"),
    },
    "cifar10": {
        "concept": Target(0.72, aim="88 %"),
        "needed": Target(960, aim="1,024"),
        "samples": Target(0.55, aim="80 %"),
        "worst": Target(0.3, aim="60 %"),
        "recall": Target(0.4, aim="0.8"),
        "near": Target(0.92, aim="99 %"),
    },
}
"""The targets of the packaged weights, by data set and measure."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of the page: the measure, what real images give, and what is asked and hoped."""

    name: str
    measure: Estimate
    form: str
    real: Estimate | None = None
    target: Target | None = None

    @property
    def cells(self) -> list[str]:
        """The row as a table shows it."""
        return [
            self.name,
            shown(self.measure, self.form),
            "–" if self.real is None else self.form.format(self.real.estimate),
            self.asked,
            self.target.aim if self.target else "–",
            "–" if self.target is None else "yes" if self.reached else "**no**",
        ]

    @property
    def asked(self) -> str:
        """What was asked, in words."""
        if self.target is None:
            return "–"
        low, high = (
            None if bound is None else self.form.format(bound) for bound in (self.target.least, self.target.most)
        )
        if low and high:
            return f"{low} to {high}"
        return f"at least {low}" if low else f"at most {high}"

    @property
    def reached(self) -> bool:
        """Whether the estimate lies where it was asked to; so it does where nothing is asked."""
        found, target = self.measure.estimate, self.target or Target()
        return (target.least is None or found >= target.least) and (target.most is None or found <= target.most)


def shown(found: Estimate, form: str) -> str:
    """Return an estimate with its interval, or alone where it has none."""
    if found.low == found.high:
        return form.format(found.estimate)
    return f"{form} ({form} to {form})".format(found.estimate, found.low, found.high)


def page(title: str, lines: list[Line], facts: dict[str, str], notes: list[str], command: str) -> str:
    """Return the page."""
    head = ["measure", "estimate (95 % interval)", "real images", "threshold", "target", "threshold met"]
    rows = [head, ["---"] * len(head), *(line.cells for line in lines)]
    return "\n".join(
        [
            f"# {title}",
            "",
            "Every measure with its interval and threshold. Generated by the command at the end; the full numbers are "
            "in the JSON file of the same name.",
            "",
            *("| " + " | ".join(row) + " |" for row in rows),
            "",
            *notes,
            "",
            "## Reproduction",
            "",
            f"`{command}`",
            "",
            *(f"- {name}: {value}" for name, value in facts.items()),
            "",
        ]
    )


def accuracy_gap(model: RGM, real: Reference, train: ImageSet, test: ImageSet) -> Estimate:
    """Return the accuracy that a small net loses, in percentage points, by learning from samples, not real images."""
    assert train.labels is not None
    generator = torch.Generator(model.device).manual_seed(real.seed)
    gaps = []
    for draw, (places, _) in enumerate(real.pairs):
        samples = classification_accuracy_score(*sampled(model, real.per_concept, generator), test, real.seed + draw)
        known = to_unit(real.known[places])
        images = classification_accuracy_score(known, train.labels[places], test, real.seed + draw)
        gaps.append(100 * (images - samples))
    return mean_over_draws(gaps, "percentage points")


def between_training(real: Reference) -> Estimate:
    """Return the Fréchet distance of two disjoint sets of training images, on both of which the judge was trained."""
    distances = [
        frechet_distance(first.features, real.judge.predict(to_unit(real.known[second])).features)
        for first, (_, second) in zip(real.real, real.pairs, strict=True)
    ]
    return mean_over_draws(distances, "squared feature units")


def with_nearest(marks: Quality, real: Reference) -> Quality:
    """Return the quality with the distance of the training images to the nearest other one."""
    known = to_unit(real.known)
    distances = [float(nearest_other(known[places], known).mean()) for places, _ in real.pairs]
    measured = replace(marks.real, nearest_ratio=mean_over_draws([one / real.nearest for one in distances], "ratio"))
    return replace(marks, real=measured)


def nearest_other(images: Tensor, known: Tensor) -> Tensor:
    """Return the distance of each image, one of the known, to its nearest other one, root mean squared over pixels."""
    known = known.flatten(1)
    norms, found = known.square().sum(dim=1), []
    for some in images.flatten(1).split(500):
        index = torch.addmm(norms, some, known.T, alpha=-2).topk(2, dim=1, largest=False).indices
        found.append((known[index] - some[:, None]).square().mean(dim=2).sqrt().amax(dim=1))
    return torch.cat(found)


app = App(help=__doc__)


@app.default
def main(
    model: str,
    *,
    data: Annotated[str | None, Parameter(help="A data set; else the model's own.")] = None,
    data_dir: Annotated[Path | None, Parameter(help="Folder that holds mnist/; else $RGM_DATA_DIR.")] = None,
    judge_file: Annotated[Path | None, Parameter(help="Where a trained judge is kept, to be used again.")] = None,
    draws: Annotated[int, Parameter(help="Independent sets of samples.")] = 3,
    seed: int = 0,
    out: Annotated[Path, Parameter(help="The page; the JSON file lies beside it.")] = Path("docs/results.md"),
) -> None:
    """Measure a model and write the page."""
    checkpoint = load_checkpoint(model)
    rgm, name = checkpoint.model, data or checkpoint.origin.data
    size = checkpoint.model.config.image[1]
    train, test = (load_data(name, split, data_dir=data_dir, size=size) for split in ("train", "test"))
    judge = judge_of(train, kept=judge_file)
    split = infer_split(rgm, test, judge)
    codes = evaluate(split, train, seed=seed)
    cells = locality(rgm, test, judge, seed=seed)
    against = reference(judge, train, test, draws=draws, seed=seed)
    marks = with_nearest(quality(rgm, against), against)
    gap, between = accuracy_gap(rgm, against, train, test), between_training(against)
    assert test.labels is not None
    assert codes.concept_accuracy is not None
    changes = cells.findings()
    own, near = (Finding.of(name, changes[name]).found for name in ("own_patch_share", "patch_plus_2_share"))
    assert split.reconstructions_recognised is not None
    samples, real, percent = marks.samples, marks.real, "{:.1%}"
    recognised = split.reconstructions_recognised.estimate()
    needed = codes.needed_codes
    rows: dict[str, tuple[str, Estimate, str, Estimate | None]] = {
        "concept": ("concept accuracy", codes.concept_accuracy, "{:.2%}", None),
        "codes": ("codes in use", exactly(codes.codes_in_use, "codes"), "{:.0f}", None),
        "needed": ("needed codes", exactly(needed, "codes"), "{:.0f}", None),
        "error": ("mean squared error", codes.squared_error, "{:.4f}", None),
        "reconstructions": ("reconstructions recognised", recognised, percent, None),
        "samples": ("samples recognised", samples.recognised, percent, real.recognised),
        "worst": ("… of the worst concept", samples.worst_recognised, percent, real.worst_recognised),
        "frechet": (
            f"Fréchet distance relative to real images, {marks.images:,} images",
            samples.frechet_ratio,
            "{:.2f}",
            real.frechet_ratio,
        ),
        "recall": ("recall relative to real images", samples.recall_ratio, "{:.2f}", real.recall_ratio),
        "diversity": ("diversity relative to real images", samples.diversity_ratio, "{:.2f}", real.diversity_ratio),
        "gap": ("classification accuracy score below real, points", gap, "{:.2f}", None),
        "nearest": (
            "distance to the nearest training image, relative to real images",
            samples.nearest_ratio,
            "{:.2f}",
            real.nearest_ratio,
        ),
        "rate": ("rate of test codes relative to training codes", codes.rate_ratio, "{:.3f}", None),
        "own": ("change inside the cell's own patch", own, percent, None),
        "near": ("change inside the patch + 2 pixels", near, percent, None),
    }
    targets = TARGETS.get(Path(name).name, {})
    lines = [
        Line(name=title, measure=measure, form=form, real=reality, target=targets.get(key))
        for key, (title, measure, form, reality) in rows.items()
    ]
    facts = {
        "model": f"`{model}`: preset {checkpoint.origin.preset}, seed {checkpoint.origin.seed}, "
        f"{sum(p.numel() for p in rgm.parameters()):,} parameters",
        "data": f"{test.source}, {len(test):,} test images, SHA-256 {test.sha256[:16]}…",
        "samples": f"{draws} draws of {marks.images:,}, as many per concept as among the test images",
        "judge": f"accuracy {split.judge_accuracy:.2%} on the test images",
        "floor": f"Fréchet distance {shown(real.frechet_distance, '{:.4f}')} from {marks.images:,} training images to "
        f"the test images; {shown(between, '{:.4f}')} between two sets of training images, on both of which "
        "the judge was trained",
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
            "quality": asdict(marks) | {"accuracy_gap": asdict(gap), "between_training": asdict(between)},
        },
    )
    notes = [
        '"Real images" are training images in place of samples, under the same protocol; the judge was trained on '
        "these images, and their nearest training image is the nearest other one. Intervals are over images "
        "(bootstrap) for means and shares, and over draws for sets of samples. Thresholds and targets are set for "
        "the packaged weights of this data set."
    ]
    command = shlex.join(["python", "benchmarks/results.py", *sys.argv[1:]])
    write_text(out, page(f"Results: {test.source}", lines, facts, notes, command))
    for line in lines:
        print(" | ".join(line.cells))


if __name__ == "__main__":
    app()
