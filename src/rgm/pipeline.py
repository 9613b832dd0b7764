"""The main job, end to end: data → training → model → experiments → report."""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from rgm.claims.claim import Claim
from rgm.claims.decisions import control_decisions, decisions
from rgm.claims.record import record
from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet
from rgm.data.letters import letters
from rgm.data.load import apart, load_data
from rgm.data.named import NAMED, at_hand
from rgm.errors import RGMError
from rgm.evaluation.abstraction import Abstraction
from rgm.evaluation.exactness import Exactness, exactness
from rgm.evaluation.instantiation import Instantiation
from rgm.evaluation.judge import Classifier, given_judge, judge_of
from rgm.evaluation.levels import Levels
from rgm.evaluation.locality import Locality
from rgm.evaluation.measurements import Measurements, measure, undecidable_reason
from rgm.model.generative import RGM
from rgm.presets import PRESETS
from rgm.report.figures import experiment_figures, experiment_motions, png
from rgm.report.page import Report, write_report
from rgm.runtime.progress import Callback, Say, Watch
from rgm.storage.files import folder_lock, own_folder, write_bytes, write_json
from rgm.training.config import RunConfig
from rgm.training.folder import JUDGE, holds_run, own_run_folder
from rgm.training.run import Plan, RunResult, plan_run

T = TypeVar("T")
Result = Abstraction | Instantiation | Locality | Exactness
OUT_OF_DISTRIBUTION = 2000
"""Out-of-distribution images of each kind: at most so many."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished run: its data's name, its test measures by name, its claims, its report."""

    data: str
    measures: Mapping[str, float]
    claims: Sequence[Claim]
    report: Path


def run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    controls: bool = True,
    judge: Path | None = None,
    watch: Watch = lambda _: None,
    say: Say = lambda _: None,
    callbacks: Sequence[Callback] = (),
    command: str = "rgm run",
) -> Finished:
    """Train, run the three experiments on the test split, decide the claims, and write all of it and the report.

    Without `controls`, the claims are put to the model alone. What is known is written at once: `evidence.json` after
    every claim, figures and `metrics.json` after every experiment. Raises RGMError for what the user can mend.
    """
    start = time.perf_counter()
    say("reading the data")
    plan = plan_run(config)
    if judge is not None:
        given_judge(judge, plan.sets[0])  # refused before the training
    own_run_folder(out, config.data)
    with folder_lock(out):
        trained = plan.carry_out(out, resume=resume, overwrite=overwrite, watch=watch, callbacks=callbacks)
        return _examined(plan, trained, out, controls, judge, watch, say, command, start)


def _examined(
    plan: Plan,
    trained: RunResult,
    out: Path,
    controls: bool,
    given: Path | None,
    watch: Watch,
    say: Say,
    command: str,
    start: float,
) -> Finished:
    """Do what follows the training: measure, decide, report."""
    config, (train, validation, test) = plan.config, plan.sets
    model, seed = trained.model, config.seed
    measures = dict(trained.test)
    metrics = json.loads((out / "metrics.json").read_text())
    drawn: list[Path] = []

    def keep(result: Result) -> None:
        """Write what was measured."""
        measures.update(result.measures())
        write_json(out / "metrics.json", metrics | {"test": measures})
        drawn.extend(write_figures(result, out / "figures"))

    judge = None if train.labels is None else _judge(train, given, out, seed, watch)
    test = replace(test, classes=trained.origin.classes)
    measured = measure(model, train, test, judge, seed=seed, needed=trained.needed)
    say("reading the test images")
    keep(measured.abstraction)
    decided: list[Claim] = []
    for claim in decisions(measured, say=say):
        decided.append(claim)
        write_evidence(decided, trained.origin.data, out)
        if claim.claim == "abstraction" and not claim.undecided:
            drawn.extend(write_figures(measured.levels, out / "figures"))
    keep(measured.locality)
    say("samples and completions")
    instances = measured.instantiation(_attempted(lambda: measured.quality) if measured.real else None)
    keep(instances)
    exact = None
    if isinstance(model, CountingRGM) and test.labels is not None:
        say("exact evidence")
        exact = exactness(model, judge, test, other_kinds(test), seed=seed)
        write_json(out / "exactness.json", _experiment_record("exactness", exact))
        keep(exact)
    if controls:
        for claim in control_decisions(measured, train, watch=watch, say=say):
            decided.append(claim)
            write_evidence(decided, trained.origin.data, out)
    say("the report")
    report = Report(
        data_source=test.source,
        fallback=config.data == "auto" and test.name == "digits",
        sets=[(part.split, len(part), part.sha256) for part in (train, validation, test)],
        preset=config.preset,
        preset_summary=PRESETS[config.preset].help,
        command=command,
        facts={
            "seed": str(config.seed),
            "epochs": f"{metrics['epochs']:g}",
            "labels": labels_known(metrics["labels"], train),
            "training": f"{trained.elapsed_s:.0f} s on {model.device.type}, {torch.get_num_threads()} threads",
            "everything": f"{time.perf_counter() - start:.0f} s",
            "parameters": f"{model.size:,}",
            "versions": f"rgm {version('rgm')}, PyTorch {torch.__version__}, Python {platform.python_version()}",
            "machine": f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores",
        },
        history=trained.history,
        claims=decided,
        abstraction=measured.abstraction,
        levels=None if undecidable_reason(test) else measured.levels,
        instantiation=instances,
        locality=measured.locality,
        judge_accuracy=measured.split.judge_accuracy,
        exactness=exact,
        drawn={path.stem: path.read_bytes() for path in drawn if path.suffix == ".png"},
    )
    page = write_report(out / "report.html", report)
    return Finished(data=trained.origin.data, measures=measures, claims=decided, report=page)


def _judge(train: ImageSet, given: Path | None, folder: Path | None, seed: int, watch: Watch) -> Classifier:
    if given is not None:
        return given_judge(given, train)
    return judge_of(train, kept=folder / JUDGE if folder else None, seed=seed, watch=watch)


def _attempted(measure: Callable[[], T]) -> T | None:
    """Return a result, or None where it cannot be measured."""
    try:
        return measure()
    except RGMError:
        return None


def labels_known(count: int | None, train: ImageSet) -> str:
    """Return how many labels a training knew, in words."""
    if count is None:
        return f"all {len(train):,}"
    if count:
        return f"{count:,} of {len(train):,}, balanced over the classes"
    named = ", named after the classes that they match best on the validation images"
    return "none: the concepts are clusters" + (named if train.labels is not None else "")


def experiment(
    name: str,
    model: RGM,
    train: ImageSet,
    test: ImageSet,
    *,
    folder: Path | None,
    judge: Path | None = None,
    seed: int = 0,
    watch: Watch = lambda _: None,
) -> Result:
    """Run one experiment on a test split.

    The judge is the file `judge`, or else packaged, kept in the run's `folder`, or trained on `train`.
    """
    found = None if train.labels is None else _judge(train, judge, folder, seed, watch)
    measured = measure(model, train, test, found, seed=seed)
    match name:
        case "abstraction":
            return measured.abstraction
        case "instantiation":
            return measured.instantiation(_attempted(lambda: measured.quality) if found else None)
        case "locality":
            return measured.locality
        case "exactness":
            if not isinstance(model, CountingRGM):
                raise RGMError("exact evidence is of counting models: train one with --preset counting or paper")
            return exactness(model, found, test, other_kinds(test), seed=seed)
    raise ValueError(f"there is no experiment {name!r}")


def other_kinds(test: ImageSet) -> dict[str, Tensor]:
    """Return images of other kinds than a test split's, by name: letters, and the known sets that are at hand."""
    found = {"letters": letters(min(OUT_OF_DISTRIBUTION, len(test)), test.shape)}
    channels, *size = test.shape
    for name, known in NAMED.items():
        if name != test.name and at_hand(known) and not {name, test.name} <= {"mnist", "digits"}:
            height, width = size
            found[name] = load_data(name, "test", size=(height, width), channels=channels).images[:OUT_OF_DISTRIBUTION]
    return found


def claims(
    model: RGM,
    train: ImageSet,
    test: ImageSet,
    *,
    folder: Path | None,
    judge: Path | None = None,
    controls: bool = False,
    seed: int = 0,
    watch: Watch = lambda _: None,
    say: Say = lambda _: None,
) -> tuple[Measurements, Iterator[Claim]]:
    """Return what is measured of a model, and the claims about it and the `controls`, as they are decided."""
    classifier = None if undecidable_reason(test) else _judge(train, judge, folder, seed, watch)
    measured = measure(model, train, test, classifier, seed=seed)
    found = decisions(measured, say=say)
    if controls:
        found = chain(found, control_decisions(measured, train, watch=watch, say=say))
    return measured, found


def own_results(folder: Path, kind: str, data: str) -> Path:
    """Return a folder for the results of a `kind`: `evaluation`, `comparison`, or an experiment's name.

    Raises RGMError for the data's folder, or one with files that would be replaced and that rgm has not written.
    """
    apart(data, folder)
    match kind:
        case "evaluation":
            what = "an evaluation"
            names = [
                "evaluation.json",
                "evidence.json",
                *(f"figures/{stem}*" for stem in ("renormalization", "locality")),
            ]
        case "comparison":
            what, names = "a comparison", ["comparison.json", "comparison.html"]
        case _:
            what, names = f"the experiment {kind}", [f"{kind}.json", f"{kind}*.png", f"{kind}*.gif"]
    return own_folder(folder, names, holds_run, what)


def write_evidence(decided: Sequence[Claim], data: str, folder: Path) -> Path:
    """Write claims as `evidence.json`: called after every claim, so that none that was decided is lost."""
    path = folder / "evidence.json"
    write_json(path, record(decided, data))
    return path


def write_figures(result: Result | Levels, folder: Path) -> list[Path]:
    """Write a result's figures as PNG files and its animations as GIF files, and return their paths."""
    files = {f"{stem}.png": png(figure) for stem, figure in experiment_figures(result).items()}
    files |= {f"{stem}.gif": content for stem, content in experiment_motions(result).items()}
    if not folder.exists():  # else its marker says what it is; figures are never data
        own_folder(folder, (), lambda _: True, "figures")
    for name, content in files.items():
        write_bytes(folder / name, content)
    return [folder / name for name in files]


def write_experiment(name: str, result: Result, folder: Path) -> list[Path]:
    """Write an experiment's figures and its numbers as `NAME.json`, and return the paths."""
    numbers = folder / f"{name}.json"
    write_json(numbers, _experiment_record(name, result))
    return [*write_figures(result, folder), numbers]


def _experiment_record(name: str, result: Result) -> dict[str, object]:
    """Return an experiment's numbers for JSON, with their intervals where it has them."""
    record: dict[str, object] = {"version": 1, "experiment": name, "measures": result.measures()}
    if isinstance(result, Exactness):
        record["intervals"] = {name: asdict(found) for name, found in result.estimates().items()}
    return record
