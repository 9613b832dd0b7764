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

from rgm.claims.claim import CLAIMS, Claim, record, thresholds
from rgm.claims.controls import control_claims
from rgm.claims.hypotheses import (
    abstraction_claim,
    instantiation_claim,
    locality_claim,
    references,
    undecidable_reason,
)
from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet
from rgm.data.letters import letters
from rgm.data.load import load_data
from rgm.data.named import NAMED, at_hand
from rgm.errors import RGMError
from rgm.evaluation.abstraction import Abstraction, abstraction
from rgm.evaluation.exactness import Exactness, exactness
from rgm.evaluation.instantiation import Instantiation, Judged, instantiation
from rgm.evaluation.judge import Judge, judge_of
from rgm.evaluation.levels import Renormalization
from rgm.evaluation.locality import Locality, locality
from rgm.evaluation.reading import Reading, read_split
from rgm.evaluation.sample_quality import Quality
from rgm.model.generative import RGM
from rgm.presets import PRESETS
from rgm.report.figures import experiment_figures, experiment_motions, png
from rgm.report.page import Report, write_report
from rgm.runtime.progress import Callback, Say, Watch
from rgm.storage.files import folder_lock, write_bytes, write_json
from rgm.training.config import RunConfig
from rgm.training.run import Plan, RunResult, plan_run

JUDGE = "judge.safetensors"
Result = Abstraction | Instantiation | Locality | Exactness
OUT_OF_DISTRIBUTION = 2000
"""Images of each other kind that exact evidence is held against: at most so many."""


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
    controls: bool = True,
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
    with folder_lock(out):
        trained = plan.carry_out(out, resume=resume, watch=watch, callbacks=callbacks)
        return _examined(plan, trained, out, controls, watch, say, command, start)


def _examined(
    plan: Plan,
    trained: RunResult,
    out: Path,
    controls: bool,
    watch: Watch,
    say: Say,
    command: str,
    start: float,
) -> Finished:
    """Do what follows the training."""
    config, (train, validation, test) = plan.config, plan.sets
    model, seed = trained.model, config.seed
    measures = dict(trained.test)

    def keep(result: Result) -> None:
        """Write what an experiment found."""
        measures.update(result.measures())
        metrics = json.loads((out / "metrics.json").read_text())
        write_json(out / "metrics.json", metrics | {"test": measures})
        write_figures(result, out / "figures")

    judge = None if train.labels is None else judge_of(train, kept=out / JUDGE, seed=seed, watch=watch)
    test = replace(test, classes=trained.origin.classes)
    say("reading the test images")
    reading = read_split(model, test, judge, needed=trained.needed)
    first = abstraction(model, test, judge, reading)
    keep(first)
    decided: list[Claim] = []
    for claim in claims(
        model, train, test, folder=out, reading=reading, controls=controls, seed=seed, watch=watch, say=say
    ):
        decided.append(claim)
        write_evidence(decided, trained.origin.data, out)
    mine = {claim.claim: claim.source for claim in decided if claim.subject == "model"}
    say("samples and completions")
    drawn, changes = mine["instantiation"], mine["locality"]
    second = instantiation(model, test, judge, judged=_judged(drawn), seed=seed)
    keep(second)
    third = changes if isinstance(changes, Locality) else locality(model, test, judge, seed=seed)
    keep(third)
    exact = None
    if isinstance(model, CountingRGM) and test.labels is not None:
        say("exact evidence")
        exact = exactness(model, judge, test, other_kinds(test), seed=seed)
        write_json(out / "exactness.json", _experiment_record("exactness", exact))
        keep(exact)
    say("the report")
    metrics = json.loads((out / "metrics.json").read_text())
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
        abstraction=first,
        instantiation=second,
        locality=third,
        judge_accuracy=reading.judge_accuracy,
        exactness=exact,
    )
    page = write_report(out / "report.html", report)
    return Finished(data=trained.origin.data, measures=measures, claims=decided, report=page)


def _judged(source: object) -> Judged | None:
    """Return what the judge said of the samples that the claim of instantiation was decided by, if they were drawn."""
    if not isinstance(source, Quality):
        return None
    marks = source.samples
    return Judged(
        count=source.draws * source.images,
        share=marks.recognised.estimate,
        by_concept=torch.tensor([share.estimate for share in marks.recognised_by_concept]),
    )


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
    seed: int = 0,
    watch: Watch = lambda _: None,
) -> Result:
    """Run one experiment on a test split.

    The judge is the data set's: packaged, or kept in `folder`, the model's run folder, or else trained on `train`.
    """
    judge: Judge | None = None
    if train.labels is not None:
        kept = folder / JUDGE if folder else None
        judge = judge_of(train, kept=kept, seed=seed, watch=watch)
    match name:
        case "abstraction":
            return abstraction(model, test, judge)
        case "instantiation":
            drawn = None
            if judge is not None:
                against = references(judge, train, test, seed=seed)
                drawn = instantiation_claim(model, against, test, thresholds(test.name)).source
            return instantiation(model, test, judge, judged=_judged(drawn), seed=seed)
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
    found = {"letters": letters(min(OUT_OF_DISTRIBUTION, len(test)), test.shape)}
    channels, *size = test.shape
    for name, known in NAMED.items():
        if name != test.name and at_hand(known) and not {name, test.name} <= {"mnist", "digits"}:
            height, width = size
            found[name] = load_data(name, "test", size=(height, width), channels=channels).images[
                :OUT_OF_DISTRIBUTION
            ]
    return found


def claims(
    model: RGM,
    train: ImageSet,
    test: ImageSet,
    *,
    folder: Path | None,
    reading: Reading | None = None,
    controls: bool = False,
    seed: int = 0,
    watch: Watch = lambda _: None,
    say: Say = lambda _: None,
) -> Iterator[Claim]:
    """Yield the three claims about a model, and with `controls` those about what must fail, as they are decided.

    `reading`: what `read_split` gave of the test split, where it has been read already. The judge is found as in
    `experiment`. Where the images do not allow a verdict, all three are undecided.
    """
    reason = undecidable_reason(test)
    if reason:
        for name in CLAIMS:
            yield Claim(claim=name, subject="model", measures=(), undecided=reason)
        return
    judge = judge_of(train, kept=folder / JUDGE if folder else None, seed=seed, watch=watch)
    limits = thresholds(test.name)
    say("claim 1 of 3: abstraction")
    yield abstraction_claim(model, judge, test, limits, reading=reading)
    say("claim 2 of 3: instantiation")
    yield instantiation_claim(model, references(judge, train, test, seed=seed), test, limits)
    say("claim 3 of 3: locality")
    yield locality_claim(model, judge, test, limits, seed=seed)
    if controls:
        yield from control_claims(model, judge, train, test, limits, seed=seed, watch=watch, say=say)


def write_evidence(decided: Sequence[Claim], data: str, folder: Path) -> list[Path]:
    """Write claims as `evidence.json`, and the figures of the last one where it is about the model; return the figures.

    Called after every claim, so that none that was decided is lost.
    """
    write_json(folder / "evidence.json", record(decided, data))
    last = decided[-1]
    if last.subject == "model" and not isinstance(last.source, Quality | None):
        return write_figures(last.source, folder / "figures")
    return []


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
