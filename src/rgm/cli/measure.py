"""Commands that measure trained models: `experiment`, `evaluate` and `compare`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from rgm.cli import options
from rgm.cli.films import evaluate_film, experiment_films, is_film
from rgm.cli.terminal import progress, show, show_measures
from rgm.errors import RGMError

if TYPE_CHECKING:
    from rgm.claims.claim import Claim


def experiment(
    name: Annotated[
        Literal["abstraction", "instantiation", "locality", "exactness", "time"],
        Parameter(help="Which experiment; exactness is for counting models, time for models of films."),
    ],
    model: options.Model,
    *,
    data: options.Data = None,
    data_dir: options.DataDir = None,
    judge: options.JudgeFile = None,
    out: Annotated[Path, Parameter(help="Folder for the figures and NAME.json.")] = Path(),
    seed: options.ModelSeed = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Run one experiment on a trained model, and write its figures and its numbers.

    Example: `rgm experiment locality runs/first --out figures`
    """
    if is_film(model) or name == "time":
        experiment_films(name, model, data, data_dir, out, seed, device, quiet=quiet)
        return
    from rgm import pipeline

    checkpoint = options.load(model, device, folder=out)
    seed = checkpoint.origin.seed if seed is None else seed
    with progress(quiet) as watch:
        sets = options.read_comparable(checkpoint, data, ("train", "test"), data_dir)
        pipeline.own_results(out, name, data or checkpoint.origin.data)
        result = pipeline.experiment(
            name, checkpoint.model, *sets, folder=checkpoint.run, judge=judge, seed=seed, watch=watch
        )
    files = pipeline.write_experiment(name, result, out)
    if not quiet:
        show_measures(name, result.measures())
        print("Wrote " + ", ".join(map(str, files)))


def evaluate(
    model: options.Model,
    *,
    data: options.Data = None,
    split: options.SplitName = "test",
    data_dir: options.DataDir = None,
    judge: options.JudgeFile = None,
    claims: Annotated[bool, Parameter(help="Also evaluate the three claims.", negative="")] = False,
    controls: Annotated[options.Controls, Parameter(negative="")] = False,
    out: Annotated[Path | None, Parameter(help="Folder for evaluation.json, evidence.json, figures/.")] = None,
    samples: Annotated[int, Parameter(help="Samples of the importance-weighted bound.")] = 16,
    importance_images: Annotated[int, Parameter(help="Images of the importance-weighted bound, the first.")] = 200,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Report the free energy, its terms, calibration, codes in use and rates of a split, with 95 % intervals.

    Example: `rgm evaluate runs/first --split test --out runs/first`

    With `--claims`, also whether each of the three claims is supported, not supported or undecided, measure by measure;
    with `--controls`, the same for an untrained model, one without a grid, one whose prior is factorised, one whose
    concepts are shuffled and one that replays its training codes.
    """
    from rgm import pipeline
    from rgm.cli.tables import claim_table, evaluation_table
    from rgm.evaluation.bound import check_importance
    from rgm.evaluation.bound import evaluate as evaluated
    from rgm.evaluation.split import infer_split
    from rgm.storage.files import write_json

    if is_film(model):
        if claims or controls:
            raise RGMError(
                "the claims over time are tested by `rgm experiment time`: leave --claims and --controls out"
            )
        table = evaluate_film(model, data, split, data_dir, out, device)
        if not quiet:
            show(table)
        return
    check_importance(samples, importance_images)
    checkpoint = options.load(model, device, folder=out)
    train, test = options.read_comparable(checkpoint, data, ("train", split), data_dir)
    if out is not None:
        pipeline.own_results(out, "evaluation", data or checkpoint.origin.data)
    if claims or controls:
        decided: list[Claim] = []
        with progress(quiet) as watch:
            measured, remaining = pipeline.claims(
                checkpoint.model,
                train,
                test,
                folder=checkpoint.run,
                judge=judge,
                controls=controls,
                seed=seed,
                watch=watch,
                say=watch.say,
            )
            for claim in remaining:
                decided.append(claim)
                if out is not None:
                    pipeline.write_evidence(decided, test.name, out)
                if not quiet:
                    show(claim_table(claim))
        if out is not None and decided[0].measures:  # not where the images allow no verdict
            for result in (measured.levels, measured.locality):
                pipeline.write_figures(result, out / "figures")
        inferred = measured.split
    else:
        inferred = infer_split(checkpoint.model, test, None)
    with progress(quiet) as watch:
        found = asdict(
            evaluated(inferred, train, samples=samples, importance_images=importance_images, seed=seed, watch=watch)
        )
    if not quiet:
        show(evaluation_table(f"{model} on {len(test):,} {split} images", found))
    if out is not None:
        record = {"version": 1, "data": test.name, "split": split, "measures": found}
        write_json(out / "evaluation.json", record)


def compare(
    *models: Annotated[str, Parameter(help="Two or more, as MODEL elsewhere; the first is the reference.")],
    data: options.Data = None,
    data_dir: options.DataDir = None,
    judge: options.JudgeFile = None,
    out: Annotated[Path | None, Parameter(help="Folder for comparison.html and comparison.json.")] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Evaluate the three claims on several models and print them side by side, each with its difference to the first.

    Example: `rgm compare runs/first mnist --out comparison`

    Differences are paired where both models are measured on the same test images: these are resampled together.
    """
    from rgm import pipeline
    from rgm.claims.comparison import compare as compared
    from rgm.cli.tables import comparison_table
    from rgm.report.page import write_comparison
    from rgm.storage.files import write_json

    if len(set(models)) != len(models) or len(models) < 2:
        raise RGMError(f"a comparison needs at least two different models, but got {len(set(models))}")
    found: dict[str, list[Claim]] = {}
    checkpoints = {model: options.load(model, device, folder=out) for model in models}
    name = data or checkpoints[models[0]].origin.data
    if out is not None:
        pipeline.own_results(out, "comparison", name)
    for model, checkpoint in checkpoints.items():
        sets = options.read_comparable(checkpoint, name, ("train", "test"), data_dir)
        found[model] = []
        with progress(quiet) as watch:
            decided = pipeline.claims(
                checkpoint.model, *sets, folder=checkpoint.run, judge=judge, seed=seed, watch=watch, say=watch.say
            )[1]
            for claim in decided:
                found[model].append(claim)
                if not quiet:
                    print(f"{model}: {claim.claim} {claim.verdict}", file=sys.stderr)
    result = compared(name, found)
    if not quiet:
        show(comparison_table(result))
    if out is not None:
        write_json(out / "comparison.json", result.record())
        path = write_comparison(out / "comparison.html", result, command=options.command_line())
        if not quiet:
            print(f"Comparison: {path}")
