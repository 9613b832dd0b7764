"""The command line: parses, calls, prints. Heavy imports wait inside the commands, so that `--help` is instant."""

import logging
import os
import shlex
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from rgm.data.names import DATA_NAMES
from rgm.errors import RGMError
from rgm.presets import ESTIMATORS, PRESETS
from rgm.runtime.threads import settle_threads
from rgm.training.config import SEEDS, RunConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.table import Table
    from rich.text import Text

    from rgm.claims.claim import Claim
    from rgm.data.images import ImageSet, Split
    from rgm.loading import Checkpoint
    from rgm.model.stored import Level
    from rgm.runtime.progress import Callback

log = logging.getLogger("rgm")
ISSUES = "https://github.com/rgm-developers/rgm/issues"

app = App(
    name="rgm",
    help="Renormalizing generative models of images: train one, see its three claims, use its codes.",
    version_flags=["--version"],
    help_format="markdown",
)

Config = Annotated[RunConfig, Parameter(name="*")]
Model = Annotated[
    str, Parameter(help="A run folder, a checkpoint folder, a model file, or mnist: the packaged weights.")
]
Data = Annotated[
    str | None, Parameter(help=f"{', '.join(DATA_NAMES)}, or a folder; else the model's own data set.")
]
DataDir = Annotated[
    Path | None, Parameter(help="Folder that holds mnist/ and so on as IDX files; else $RGM_DATA_DIR.")
]
Device = Annotated[str, Parameter(help="auto, cpu, cuda or mps.")]
_seeds = Number(gte=0, lt=SEEDS)
Seed = Annotated[int, Parameter(help="Seed of everything random.", validator=_seeds)]
Board = Annotated[Path | None, Parameter(help="Folder for TensorBoard's files. Needs the extra tensorboard.")]
Quiet = Annotated[bool, Parameter(help="No progress, no tables: errors alone.", negative="")]
SplitName = Annotated[Literal["train", "validation", "test"], Parameter(help="Which images.")]

_PRESET_LINES, _ESTIMATOR_LINES = (
    "\n".join(f"- `{name}`: {line}" for name, line in lines.items()) for lines in (PRESETS, ESTIMATORS)
)


@app.command(
    help=f"""Train a model, run the three experiments on it, and write a report.

Example: `rgm run --data mnist --out runs/first`

Presets:

{_PRESET_LINES}

Estimators:

{_ESTIMATOR_LINES}
"""
)
def run(
    config: Config = RunConfig(),  # noqa: B008 - frozen
    *,
    out: Annotated[Path, Parameter(help="The run's folder.")] = Path("runs/latest"),
    resume: Annotated[bool, Parameter(help="Go on from the folder's checkpoint.", negative="")] = False,
    controls: Annotated[bool, Parameter(help="Put the claims to what must fail, too.")] = True,
    tensorboard: Board = None,
    quiet: Quiet = False,
) -> None:
    """Train a model, run the three experiments on it, and write a report."""
    from rgm import pipeline
    from rgm.cli.tables import short_table, verdict_lines
    from rgm.cli.terminal import progress
    from rgm.runtime.distributed import started_together

    if started_together():
        raise RGMError("processes share a training alone: `torchrun … -m rgm train`, then `rgm run --resume`")
    with progress(quiet) as watch:
        result = pipeline.run(
            config,
            out,
            resume=resume,
            controls=controls,
            watch=watch,
            say=watch.say,
            callbacks=_callbacks(tensorboard),
            command=_command(),
        )
    if not quiet:
        print(f"\n{result.data} · {config.preset} · seed {config.seed}\n")
        for line in verdict_lines(result.claims):
            _print(line)
        print()
        _print(short_table(result.measures, result.claims))
        print(f"\nReport: {result.report}")


@app.command(
    help=f"""Train a model and leave a run folder.

Example: `rgm train --preset seed --data mnist --out runs/seed`

Presets:

{_PRESET_LINES}

Estimators:

{_ESTIMATOR_LINES}
"""
)
def train(
    config: Config = RunConfig(),  # noqa: B008 - frozen
    *,
    out: Annotated[Path, Parameter(help="The run's folder.")] = Path("runs/latest"),
    resume: Annotated[
        bool,
        Parameter(help="Go on from the folder's checkpoint; start afresh where there is none.", negative=""),
    ] = False,
    tensorboard: Board = None,
    quiet: Quiet = False,
) -> None:
    """Train a model and leave a run folder."""
    from rgm.cli.terminal import progress
    from rgm.runtime.distributed import joined
    from rgm.training.run import plan_run

    with joined(config.device) as processes, progress(quiet or not processes.first) as watch:
        result = plan_run(config).carry_out(
            out, resume=resume, watch=watch, callbacks=_callbacks(tensorboard)
        )
    if processes.first and not quiet:
        if config.precision != "float32" or config.compile:
            compiled = ", networks compiled" if config.compile else ""
            print(f"Trained in {config.precision}{compiled}")
        _print_measures(f"{result.origin.data} · {config.preset}", result.test)
        print(f"Model: {result.folder}")


@app.command
def experiment(
    name: Annotated[
        Literal["abstraction", "instantiation", "locality", "exactness"],
        Parameter(help="Which of them; exactness is of the presets counting and paper."),
    ],
    model: Model,
    *,
    data: Data = None,
    data_dir: DataDir = None,
    out: Annotated[Path, Parameter(help="Folder for the figures and NAME.json.")] = Path(),
    seed: Annotated[
        int | None,
        Parameter(help="Seed of everything random; else the model's own, as in its run.", validator=_seeds),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Run one experiment on a trained model: its figures and its numbers.

    Example: `rgm experiment locality runs/first --out figures`
    """
    from rgm import pipeline
    from rgm.cli.terminal import progress
    from rgm.storage.files import writable_folder

    writable_folder(out)
    checkpoint = _load(model, device)
    with progress(quiet) as watch:
        train, test = (
            _comparable(checkpoint, _split(checkpoint, data, split, data_dir)) for split in ("train", "test")
        )
        result = pipeline.experiment(
            name,
            checkpoint.model,
            train,
            test,
            folder=checkpoint.run,
            seed=checkpoint.origin.seed if seed is None else seed,
            watch=watch,
        )
    files = pipeline.write_experiment(name, result, out)
    if not quiet:
        _print_measures(name, result.measures())
        print("Wrote " + ", ".join(map(str, files)))


@app.command
def evaluate(
    model: Model,
    *,
    data: Data = None,
    split: SplitName = "test",
    data_dir: DataDir = None,
    claims: Annotated[bool, Parameter(help="Put the three claims to the model.", negative="")] = False,
    controls: Annotated[
        bool, Parameter(help="Put them to what must fail, too, after training it.", negative="")
    ] = False,
    out: Annotated[Path | None, Parameter(help="Folder for evaluation.json and evidence.json.")] = None,
    samples: Annotated[int, Parameter(help="Draws of the importance-weighted bound.")] = 16,
    seed: Seed = 0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Report the bound, its terms, calibration, usage and rates of a split, with 95 % intervals over images.

    Example: `rgm evaluate runs/first --split test --out runs/first`

    With `--claims`, also whether each of the three claims is supported, not supported or undecided, measure by measure;
    with `--controls`, the same of an untrained model, one without a grid, one whose prior is factorised, one whose
    concepts are shuffled and one that replays its training codes.
    """
    from dataclasses import asdict

    from rgm import pipeline
    from rgm.cli.tables import claim_table, evaluation_table
    from rgm.cli.terminal import progress
    from rgm.evaluation.bound import evaluate as evaluated
    from rgm.evaluation.split import infer_split
    from rgm.storage.files import writable_folder, write_json

    if samples < 1:
        raise RGMError(
            f"the importance-weighted bound needs at least one sample, but {samples} were asked for"
        )
    if out is not None:
        writable_folder(out)
    checkpoint = _load(model, device)
    test, train = (
        _comparable(checkpoint, _split(checkpoint, data, part, data_dir)) for part in (split, "train")
    )
    if claims or controls:
        decided = []
        with progress(quiet) as watch:
            measured, found_claims = pipeline.claims(
                checkpoint.model,
                train,
                test,
                folder=checkpoint.run,
                controls=controls,
                seed=seed,
                watch=watch,
                say=watch.say,
            )
            for claim in found_claims:
                decided.append(claim)
                if out is not None:
                    pipeline.write_evidence(decided, test.name, out)
                if not quiet:
                    _print(claim_table(claim))
        inferred = measured.split
    else:
        inferred = infer_split(checkpoint.model, test, None)
    found = asdict(evaluated(inferred, train, samples=samples, seed=seed))
    if not quiet:
        _print(evaluation_table(f"{model} on {len(test):,} {split} images", found))
    if out is not None:
        record = {"version": 1, "data": test.name, "split": split, "measures": found}
        write_json(out / "evaluation.json", record)


@app.command
def compare(
    *models: Annotated[
        str, Parameter(help="Two or more, each as MODEL elsewhere; the first is compared with.")
    ],
    data: Data = None,
    data_dir: DataDir = None,
    out: Annotated[Path | None, Parameter(help="Folder for comparison.html and comparison.json.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Put the three claims to several models and print them side by side, with how each differs from the first.

    Example: `rgm compare runs/first mnist --out comparison`

    Differences are paired where they are of the same test images: resampled together.
    """
    from rgm.claims.comparison import compare as compared
    from rgm.cli.tables import comparison_table
    from rgm.report.comparison import write_comparison
    from rgm.storage.files import writable_folder, write_json

    if len(set(models)) != len(models) or len(models) < 2:
        raise RGMError(f"a comparison needs at least two different models, but {len(set(models))} came")
    if out is not None:
        writable_folder(out)
    found: dict[str, list[Claim]] = {}
    checkpoints = {model: _load(model, device) for model in models}
    name = data or checkpoints[models[0]].origin.data
    for model, checkpoint in checkpoints.items():
        train, test = (
            _comparable(checkpoint, _split(checkpoint, name, split, data_dir)) for split in ("train", "test")
        )
        found[model] = []
        for claim in _claims(checkpoint, train, test, seed=seed, quiet=quiet):
            found[model].append(claim)
            if not quiet:
                print(f"{model}: {claim.claim} {claim.verdict}", file=sys.stderr)
    result = compared(name, found)
    if not quiet:
        _print(comparison_table(result))
    if out is not None:
        write_json(out / "comparison.json", result.record())
        path = write_comparison(out / "comparison.html", result, command=_command())
        if not quiet:
            print(f"Comparison: {path}")


def _claims(
    checkpoint: "Checkpoint",
    train: "ImageSet",
    test: "ImageSet",
    *,
    controls: bool = False,
    seed: int,
    quiet: bool,
) -> "Iterator[Claim]":
    """Yield the claims about a model as they are decided, with progress where something is trained."""
    from rgm import pipeline
    from rgm.cli.terminal import progress

    with progress(quiet) as watch:
        _, claims = pipeline.claims(
            checkpoint.model,
            train,
            test,
            folder=checkpoint.run,
            controls=controls,
            seed=seed,
            watch=watch,
            say=watch.say,
        )
        yield from claims


@app.command
def encode(
    model: Model,
    *,
    out: Annotated[Path, Parameter(help="The .npz file to write.")],
    data: Data = None,
    split: SplitName = "test",
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """Write the codes, concept probabilities and reconstructions of a split, in the data set's own order.

    Example: `rgm encode runs/first --data mnist --split test --out codes.npz`

    Arrays: `z1` int64 (N, H, W), `concept` float32 (N, classes), `reconstruction` float32 (N, C, H, W) in [0, 1],
    `labels` int64 (N,) where the data have them; `z2` … for the grids between z1 and the concept.
    """
    from rgm.export import arrays
    from rgm.storage.files import writable_file

    writable_file(out)
    checkpoint = _load(model, device)
    arrays.write(out, arrays.encoded(checkpoint.model, _split(checkpoint, data, split, data_dir)))


@app.command
def decode(
    model: Model,
    codes: Annotated[Path, Parameter(help="An .npz file with `z1`.")],
    *,
    out: Annotated[Path, Parameter(help="The .npz file to write.")],
    device: Device = "auto",
) -> None:
    """Write the images that codes decode to.

    Example: `rgm decode runs/first codes.npz --out images.npz`

    Reads `z1` (N, H, W), whole numbers; writes `images` float32 (N, C, H, W) in [0, 1].
    """
    from rgm.export import arrays
    from rgm.storage.files import writable_file

    writable_file(out)
    loaded = _load(model, device).model
    arrays.write(out, arrays.decoded(loaded, arrays.read_codes(codes)))


@app.command
def sample(
    model: Model,
    *,
    out: Annotated[Path, Parameter(help="The .npz file to write.")],
    concept: Annotated[str, Parameter(help="A class by name or number, or all.")] = "all",
    count: Annotated[int, Parameter(help="Samples of each concept.")] = 10,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Draw images of a concept: ancestral, temperature 1, none rejected.

    Example: `rgm sample runs/first --concept 3 --count 100 --seed 0 --out threes.npz`

    Arrays: `images` float32 (·, C, H, W) in [0, 1], `concept` int64 (·,), `z1` int64 (·, H, W).
    """
    from rgm.export import arrays
    from rgm.storage.files import writable_file

    writable_file(out)
    checkpoint = _load(model, device)
    concepts = arrays.concepts_named(concept, checkpoint.origin.classes)
    arrays.write(out, arrays.sampled(checkpoint.model, concepts, count, seed))


@app.command
def complete(
    model: Model,
    codes: Annotated[Path, Parameter(help="An .npz file with `z1` and `keep`.")],
    *,
    out: Annotated[Path, Parameter(help="The .npz file to write.")],
    concept: Annotated[
        str | None, Parameter(help="A class by name or number; else the file's `concept`.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Keep some cells of codes and draw the rest given them and a concept.

    Example: `rgm complete runs/first half.npz --concept 3 --out completed.npz`

    Reads `z1` (N, H, W), `keep` true where a cell is kept, (N, H, W) or (H, W), and, without --concept, `concept` as
    `rgm encode` or `rgm sample` write it; writes `images`, `concept` and `z1`, as `rgm sample` does.
    """
    from rgm.export import arrays
    from rgm.storage.files import writable_file

    writable_file(out)
    checkpoint = _load(model, device)
    wanted = None if concept is None else arrays.concepts_named(concept, checkpoint.origin.classes)
    arrays.write(out, arrays.completed(checkpoint.model, codes, wanted, seed))


@app.command
def info(model: Model) -> None:
    """Say what a model is: its preset, its data, its levels, its size.

    Example: `rgm info runs/first`
    """
    from rgm.cli.tables import plain_table
    from rgm.model.config import LevelConfig

    checkpoint = _load(model, "cpu")
    origin, config = checkpoint.origin, checkpoint.model.config
    table = plain_table(model)
    table.add_row("preset", origin.preset)
    table.add_row("trained on", f"{origin.data}, seed {origin.seed}")
    table.add_row("image", " × ".join(map(str, config.image)))
    levels: Sequence[Level] = config.levels
    for number, level in enumerate(levels, start=1):
        grid = " × ".join(map(str, level.grid))
        how = "counted"
        if isinstance(level, LevelConfig):
            how = f"{level.recognition.kind} recognition, {level.recognition.estimator.kind}"
        table.add_row(f"z{number}", f"{grid} grid of {level.states} states, {how}")
    table.add_row("concepts", ", ".join(origin.classes))
    table.add_row("parameters", f"{checkpoint.model.size:,}")
    _print(table)


@app.command
def explore(
    model: Model = "mnist",
    *,
    port: Annotated[int, Parameter(help="Where the page is served; 0 takes any that is free.")] = 8765,
    browser: Annotated[bool, Parameter(help="Open the page in the browser.")] = True,
    export: Annotated[
        Path | None, Parameter(help="Folder to write the page to, instead of serving it.")
    ] = None,
    runtime: Annotated[
        Path | None, Parameter(help="Where ONNX Runtime Web's files lie, for --export.")
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
) -> None:
    """Open a page to touch a model: draw, see the codes, change a cell, let a concept speak.

    Example: `rgm explore runs/first --port 9000 --no-browser`

    It is served to this machine alone, until Ctrl-C. `--export DIR` writes a folder for any web server instead: the
    model then runs in the visitor's browser. It needs the extra `onnx` and the npm package `onnxruntime-web`, and
    holds the first 50 test images where they are at hand.
    """
    import webbrowser

    from rgm.claims.record import estimates
    from rgm.explorer.server import free_port, serve
    from rgm.explorer.service import Explorer
    from rgm.explorer.static import find_runtime, write_page
    from rgm.model.spatial import SpatialRGM

    chosen = (
        free_port(port) if export is None else 0
    )  # what can be refused at once is, before a model is loaded
    checkpoint = _load(model, "cpu" if export else device)
    if export is not None:
        if not isinstance(checkpoint.model, SpatialRGM):
            raise RGMError(
                f"{model} is a tree of counts, which has no networks to export: leave --export out"
            )
        find_runtime(runtime)
    try:
        test = _split(checkpoint, None, "test", data_dir)
    except RGMError:  # its data are not at hand: the page starts from samples
        test = None
    measured = estimates(checkpoint.evidence) if checkpoint.evidence else {}
    explorer = Explorer(checkpoint.model, checkpoint.origin.classes, model, test, measured)
    if export is not None:
        write_page(explorer, export, runtime)
        print(f"{export}: any web server shows it, such as python -m http.server --directory {export}")
        return

    def started(address: str) -> None:
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        if browser:
            webbrowser.open(address)

    serve(explorer, chosen, started=started)


@app.command
def store(
    data: Annotated[str, Parameter(help="A folder of images, or of tar shards (webdataset).")],
    *,
    out: Annotated[Path, Parameter(help="The store's folder, which every --data then takes.")],
    size: Annotated[int | None, Parameter(help="Resize images to this many pixels a side.")] = None,
    channels: Annotated[Literal[1, 3] | None, Parameter(help="1 for grey, 3 for colour.")] = None,
    skip_damaged: Annotated[
        bool, Parameter(help="Leave out what cannot be read, and say so.", negative="")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Decode images once into files that are read as they are needed, for sets larger than memory.

    Example: `rgm store shards --out stored --size 64`, then `rgm train --data stored --preset colour64`

    Stopped, it goes on where it was with the same command.
    """
    from rgm.cli.terminal import progress
    from rgm.data.load import store_images

    with progress(quiet) as watch:
        store_images(Path(data), out, size=size, channels=channels, skip_damaged=skip_damaged, watch=watch)
    if not quiet:
        print(f"Store: {out}")


@app.command
def export(
    model: Model,
    *,
    onnx: Annotated[Path | None, Parameter(help="Folder for ONNX graphs. Needs the extra onnx.")] = None,
    hub: Annotated[
        Path | None, Parameter(help="Folder as the Hugging Face Hub takes it, with a model card.")
    ] = None,
    pymdp: Annotated[
        Path | None, Parameter(help="The .npz file for pymdp's A, B, D arrays, of a model of counts.")
    ] = None,
) -> None:
    """Write a model for other programs: ONNX graphs, a folder for the Hugging Face Hub, or arrays for pymdp.

    Example: `rgm export runs/first --onnx graphs --hub folder`

    ONNX: `recognition-1.onnx` reads images (n, C, H, W) in [0, 1] to `codes` and `probabilities`, `recognition-2.onnx`
    those codes, and so on to the concept; `decoder.onnx` paints `z1`; `prior-1.onnx` gives codes given their parents.
    Any number at once, equal to PyTorch within 1e-5.

    Hub: `model.safetensors`, `config.json`, `README.md` with the evidence where the model has some beside it.

    pymdp: `levels`, and of each level ℓ = 1 … an agent's `A_ℓ`, `A_dependencies_ℓ`, `B_ℓ`, `D_ℓ`; `reading` and `own`,
    what each symbol counts.
    """
    from rgm.counting.model import CountingRGM
    from rgm.export.hub import save_folder
    from rgm.export.onnx import export as exported
    from rgm.export.pymdp import pymdp_arrays, save_pymdp
    from rgm.model.spatial import SpatialRGM
    from rgm.storage.files import writable_file, writable_folder

    if onnx is None and hub is None and pymdp is None:
        raise RGMError(
            "nothing to write: name a folder with --onnx DIR or --hub DIR, or a file with --pymdp FILE.npz"
        )
    checkpoint = _load(model, "cpu")
    if onnx is not None:
        if not isinstance(checkpoint.model, SpatialRGM):
            raise RGMError(f"{model} is a tree of counts, which has no networks for ONNX graphs: take --hub")
        print("Wrote " + ", ".join(map(str, exported(checkpoint.model, writable_folder(onnx)))))
    if hub is not None:
        print(f"Wrote {save_folder(hub, checkpoint)}; upload it with: hf upload OWNER/NAME {hub}")
    if pymdp is not None:
        if not isinstance(checkpoint.model, CountingRGM):
            raise RGMError(
                f"{model} is made of networks, which are no arrays for pymdp: take a model of counts, as the presets "
                "paper and counting train"
            )
        save_pymdp(writable_file(pymdp), pymdp_arrays(checkpoint.model))
        print(f"Wrote {pymdp}")


@app.command
def doctor() -> None:
    """Print what a bug report needs: versions, machine, devices, extras, and where data and weights are.

    Example: `rgm doctor`
    """
    from rgm.cli.doctor import findings
    from rgm.cli.tables import plain_table

    table = plain_table("rgm doctor")
    for name, found in findings().items():
        table.add_row(name, found)
    _print(table)


@app.command
def pack(
    model: Model,
    *,
    out: Annotated[Path, Parameter(help="The .safetensors file to write.")],
) -> None:
    """Write a model as one small file to share: half precision, and nothing of its training.

    Example: `rgm pack runs/first --out first.safetensors`
    """
    from rgm.loading import save_model
    from rgm.storage.files import writable_file

    writable_file(out)
    checkpoint = _load(model, "cpu")
    save_model(out, checkpoint.model, checkpoint.origin, dtype=checkpoint.model.packed_type)


@app.command
def judge(
    *,
    out: Annotated[Path, Parameter(help="The .safetensors file to write.")],
    data: Annotated[str, Parameter(help=f"{', '.join(DATA_NAMES)}, or a folder.")] = "mnist",
    data_dir: DataDir = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train the independent classifier that judges reconstructions and samples.

    Example: `rgm judge --data mnist --out judge.safetensors`
    """
    from rgm.cli.terminal import progress
    from rgm.data.load import load_data
    from rgm.evaluation.judge import judge_accuracy, save_judge, train_judge
    from rgm.storage.files import writable_file

    writable_file(out)
    images, test = (load_data(data, split, data_dir=data_dir) for split in ("train", "test"))
    with progress(quiet) as watch:
        trained = train_judge(images, seed=seed, watch=watch)
    save_judge(out, trained)
    if not quiet:
        _print_measures(str(out), {"test_accuracy": judge_accuracy(trained, test)})


def _callbacks(tensorboard: Path | None) -> "list[Callback]":
    if tensorboard is None:
        return []
    from rgm.training.tensorboard import TensorBoard

    return [TensorBoard(tensorboard)]


def _load(model: str, device: str) -> "Checkpoint":
    from rgm.loading import load_checkpoint
    from rgm.runtime.device import resolve_device

    target = resolve_device(device)
    checkpoint = load_checkpoint(model)
    checkpoint.model.to(target)
    return checkpoint


def _split(checkpoint: "Checkpoint", data: str | None, split: "Split", data_dir: Path | None) -> "ImageSet":
    from rgm.data.load import load_data

    channels, height, width = checkpoint.model.config.image
    return load_data(
        data or checkpoint.origin.data, split, data_dir=data_dir, size=(height, width), channels=channels
    )


def _comparable(checkpoint: "Checkpoint", data: "ImageSet") -> "ImageSet":
    """Return a split without its labels where these name other classes than the model's concepts."""
    if data.labels is None or data.classes == checkpoint.origin.classes:
        return data
    if data.split == "train":
        log.warning(
            "the classes of %s are not the model's concepts: it is taken as unlabelled, and nothing is judged",
            data.source,
        )
    return replace(data, labels=None, classes=())


def _print(shown: "Table | Text") -> None:
    from rich.console import Console
    from rich.text import Text

    Console().print(shown, soft_wrap=isinstance(shown, Text))


def _print_measures(title: str, measures: "Mapping[str, float]") -> None:
    from rgm.cli.tables import measure_table

    _print(measure_table(title, measures))


def _command() -> str:
    return shlex.join(["rgm", *sys.argv[1:]])


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def main() -> None:
    """Run the command line, and turn what goes wrong into an exit code: 2 the user's to mend, 1 ours."""
    settle_threads()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except PermissionError as error:
        print(f"rgm: {error.filename}: permission denied", file=sys.stderr)
        raise SystemExit(2) from None
    except (RGMError, CycloptsError) as error:
        print(f"rgm: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("rgm: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error):
            print(
                "rgm: not enough memory for what was asked: ask for fewer or smaller images", file=sys.stderr
            )
            raise SystemExit(2) from None
        traceback.print_exc()
        print(f"rgm: this is our fault; please report it with the lines above at {ISSUES}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
