"""The main job, end to end: data → training → model → experiments → report."""

import json
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet
from rgm.data.letters import letters
from rgm.data.load import load_data
from rgm.data.named import NAMED, at_hand
from rgm.errors import RGMError
from rgm.evidence.claims import CLAIMS, Claim, record, thresholds
from rgm.evidence.controls import control_claims
from rgm.evidence.exactness import Exactness, exactness
from rgm.evidence.hypotheses import abstraction_claim, instantiation_claim, locality_claim, unfit
from rgm.evidence.quality import Quality
from rgm.evidence.renormalization import Renormalization
from rgm.experiments.abstraction import Abstraction, abstraction
from rgm.experiments.instantiation import Instantiation, instantiation
from rgm.experiments.locality import Locality, locality
from rgm.files import claimed, write_bytes, write_json
from rgm.judge import Judge, judge_accuracy, judge_of
from rgm.model.catalogue import PRESETS
from rgm.model.generative import RGM
from rgm.progress import Callback, Watch
from rgm.report.figures import experiment_figures, experiment_motions, png
from rgm.report.page import Report, write_report
from rgm.training.config import RunConfig
from rgm.training.run import Plan, RunResult, plan_run

JUDGE = "judge.safetensors"
Result = Abstraction | Instantiation | Locality | Exactness
STRANGERS = 2000
"""Images of each other kind that exact evidence is held against: at most so many."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished run: its data's name, its test measures by name, its report."""

    data: str
    measures: Mapping[str, float]
    report: Path


def run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    controls: bool = True,
    watch: Watch = lambda _: None,
    callbacks: Sequence[Callback] = (),
    command: str = "rgm run",
) -> Finished:
    """Train, run the three experiments on the test split, decide the claims, and write all of it and the report.

    Without `controls`, the claims are put to the model alone. Raises RGMError for what the user can mend.
    """
    start = time.perf_counter()
    plan = plan_run(config)
    with claimed(out):
        trained = plan.carry_out(out, resume=resume, watch=watch, callbacks=callbacks)
        return _examined(plan, trained, out, controls, watch, command, start)


def _examined(
    plan: Plan, trained: RunResult, out: Path, controls: bool, watch: Watch, command: str, start: float
) -> Finished:
    """Do what follows the training."""
    config, (train, validation, test) = plan.config, plan.sets
    judge = None if train.labels is None else judge_of(train, kept=out / JUDGE, seed=config.seed, watch=watch)
    classes = trained.origin.classes
    test = replace(test, classes=classes)
    decided = list(
        claims(trained.model, train, test, folder=out, controls=controls, seed=config.seed, watch=watch)
    )
    results = (
        abstraction(trained.model, test, judge),
        instantiation(trained.model, test, judge, seed=config.seed),
        _changes(decided) or locality(trained.model, test, judge, seed=config.seed),
    )
    exact = None
    if isinstance(trained.model, CountingRGM) and test.labels is not None:
        exact = exactness(trained.model, judge, test, other_kinds(test), seed=config.seed)
        write_json(out / "exactness.json", _experiment_record("exactness", exact))
    write_evidence(decided, trained.origin.data, out)
    measures = dict(trained.test)
    everything: list[Result] = [*results, *([exact] if exact else [])]
    for result in everything:
        measures |= result.measures()
        if result is not _changes(decided):  # whose figures are there
            write_figures(result, out / "figures")
    metrics = json.loads((out / "metrics.json").read_text())
    write_json(out / "metrics.json", metrics | {"test": measures})
    report = Report(
        data_source=test.source,
        fallback=config.data == "auto" and test.name == "digits",
        sets=[(part.split, len(part), part.sha256) for part in (train, validation, test)],
        preset=config.preset,
        preset_summary=PRESETS[config.preset],
        command=command,
        facts={
            "seed": str(config.seed),
            "epochs": f"{metrics['epochs']:g}",
            "labels": labels_known(metrics["labels"], train),
            "training": f"{trained.elapsed_s:.0f} s on {trained.model.device.type}, {torch.get_num_threads()} threads",
            "everything": f"{time.perf_counter() - start:.0f} s",
            "parameters": f"{trained.model.size:,}",
            "versions": f"rgm {version('rgm')}, PyTorch {torch.__version__}, Python {platform.python_version()}",
            "machine": f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores",
        },
        history=trained.history,
        claims=decided,
        abstraction=results[0],
        instantiation=results[1],
        locality=results[2],
        judge_accuracy=None if judge is None else judge_accuracy(judge, test),
        exactness=exact,
    )
    return Finished(
        data=trained.origin.data, measures=measures, report=write_report(out / "report.html", report)
    )


def _changes(decided: Sequence[Claim]) -> Locality | None:
    """Return the cells and concepts that were changed for the claim of locality about the model, if they were."""
    mine = (claim.source for claim in decided if claim.subject == "model")
    return next((source for source in mine if isinstance(source, Locality)), None)


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
    folder: Path,
    seed: int = 0,
    watch: Watch = lambda _: None,
) -> Result:
    """Run one experiment on a test split.

    The judge is the data set's: packaged, or kept in the model's `folder`, or else trained on `train`.
    """
    judge: Judge | None = None
    if train.labels is not None:
        kept = folder / JUDGE if folder.is_dir() else None
        judge = judge_of(train, kept=kept, seed=seed, watch=watch)
    match name:
        case "abstraction":
            return abstraction(model, test, judge)
        case "instantiation":
            return instantiation(model, test, judge, seed=seed)
        case "locality":
            return locality(model, test, judge, seed=seed)
        case "exactness":
            if not isinstance(model, CountingRGM):
                raise RGMError(
                    "exact evidence is of models that are trees of counts: train one with --preset counting or paper"
                )
            return exactness(model, judge, test, other_kinds(test), seed=seed)
    raise ValueError(f"there is no experiment {name!r}")


def other_kinds(test: ImageSet) -> dict[str, Tensor]:
    """Return images of other kinds than a test split's, by name: letters, and the known sets that are at hand."""
    found = {"letters": letters(min(STRANGERS, len(test)), test.shape)}
    channels, *size = test.shape
    for name, known in NAMED.items():
        if name != test.name and at_hand(known) and not {name, test.name} <= {"mnist", "digits"}:
            height, width = size
            found[name] = load_data(name, "test", size=(height, width), channels=channels).images[:STRANGERS]
    return found


def claims(
    model: RGM,
    train: ImageSet,
    test: ImageSet,
    *,
    folder: Path,
    controls: bool = False,
    seed: int = 0,
    watch: Watch = lambda _: None,
) -> Iterator[Claim]:
    """Yield the three claims about a model, and with `controls` those about what must fail, as they are decided.

    The judge is found as in `experiment`. Where the images do not allow a verdict, all three are undecided.
    """
    reason = unfit(test)
    if reason:
        for name in CLAIMS:
            yield Claim(claim=name, subject="model", measures=(), undecided=reason)
        return
    judge = judge_of(train, kept=folder / JUDGE if folder.is_dir() else None, seed=seed, watch=watch)
    limits = thresholds(test.name)
    yield abstraction_claim(model, judge, test, limits)
    yield instantiation_claim(model, judge, train, test, limits, seed=seed)
    yield locality_claim(model, judge, test, limits, seed=seed)
    if controls:
        yield from control_claims(model, judge, train, test, limits, seed=seed, watch=watch)


def write_evidence(decided: Sequence[Claim], data: str, folder: Path) -> list[Path]:
    """Write claims as `evidence.json`, and the figures of what the model's were read from; return the paths."""
    paths = [folder / "evidence.json"]
    write_json(paths[0], record(decided, data))
    for claim in decided:
        if claim.subject == "model" and not isinstance(claim.source, Quality | None):
            paths += write_figures(claim.source, folder / "figures")
    return paths


def write_figures(result: Result | Renormalization, folder: Path) -> list[Path]:
    """Write a result's figures as PNG files and its animations as GIF files, and return their paths."""
    files = {f"{stem}.png": png(figure) for stem, figure in experiment_figures(result).items()}
    files |= {f"{stem}.gif": content for stem, content in experiment_motions(result).items()}
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
