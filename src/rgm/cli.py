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
from rich.console import Console
from rich.table import Table

from rgm.data.names import DATA_NAMES
from rgm.errors import RGMError
from rgm.model.catalogue import ESTIMATORS, PRESETS
from rgm.training.config import SEEDS, RunConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rgm.checkpoint import Checkpoint
    from rgm.data.images import ImageSet, Split
    from rgm.evidence.claims import Claim

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
    quiet: Quiet = False,
) -> None:
    """Train a model, run the three experiments on it, and write a report."""
    from rgm import pipeline
    from rgm.terminal import progress

    with progress(quiet) as watch:
        result = pipeline.run(config, out, resume=resume, watch=watch, command=_command())
    if not quiet:
        _table(f"{result.data} · {config.preset}", result.measures)
        print(f"Report: {result.report}")


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
    quiet: Quiet = False,
) -> None:
    """Train a model and leave a run folder."""
    from rgm.terminal import progress
    from rgm.training.run import train_run

    with progress(quiet) as watch:
        result = train_run(config, out, resume=resume, watch=watch)
    if not quiet:
        _table(f"{result.origin.data} · {config.preset}", result.test)
        print(f"Model: {result.folder}")


@app.command
def experiment(
    name: Annotated[
        Literal["abstraction", "instantiation", "locality"], Parameter(help="Which of the three.")
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
    """Run one of the three experiments on a trained model: its figures and its numbers.

    Example: `rgm experiment locality runs/first --out figures`
    """
    from rgm import pipeline
    from rgm.files import writable_folder
    from rgm.terminal import progress

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
            folder=Path(model),
            seed=checkpoint.origin.seed if seed is None else seed,
            watch=watch,
        )
    files = pipeline.write_experiment(name, result, out)
    if not quiet:
        _table(name, result.measures())
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

    from rgm.evidence.evaluation import evaluate as evaluated
    from rgm.files import writable_folder, write_json

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
    found = asdict(evaluated(checkpoint.model, test, train, samples=samples, seed=seed))
    table = _plain_table(f"{model} on {len(test):,} {split} images")
    for name, value in found.items():
        parts = value if isinstance(value, tuple) else [value]
        for number, part in enumerate(parts, start=1):
            title = name.replace("_", " ") + (f" z{number}" if isinstance(value, tuple) else "")
            if isinstance(part, dict):
                shown = f"{part['estimate']:.4f}  ({part['low']:.4f} to {part['high']:.4f} {part['unit']})"
            else:
                shown = "–" if part is None else part if isinstance(part, str) else f"{part:g}"
            table.add_row(title, shown)
    if not quiet:
        Console().print(table)
    if out is not None:
        record = {"version": 1, "data": test.name, "split": split, "measures": found}
        write_json(out / "evaluation.json", record)
    if claims or controls:
        _evidence(checkpoint, model, train, test, controls=controls, out=out, seed=seed, quiet=quiet)


def _evidence(
    checkpoint: "Checkpoint",
    model: str,
    train: "ImageSet",
    test: "ImageSet",
    *,
    controls: bool,
    out: Path | None,
    seed: int,
    quiet: bool,
) -> None:
    """Print the claims as they are decided, and write them."""
    from rgm import pipeline
    from rgm.evidence.claims import record
    from rgm.files import write_json
    from rgm.terminal import progress

    decided = []
    with progress(quiet) as watch:
        for claim in pipeline.claims(
            checkpoint.model, train, test, folder=Path(model), controls=controls, seed=seed, watch=watch
        ):
            decided.append(claim)
            if not quiet:
                _claim_table(claim)
    if out is not None:
        write_json(out / "evidence.json", record(decided, test.name))


def _claim_table(claim: "Claim") -> None:
    title = f"{claim.claim} · {claim.subject}: {claim.verdict} ({claim.reason})"
    table = Table(
        "measure", "estimate", "95 % interval", "asked", "verdict", title=title, title_justify="left"
    )
    for measure in claim.measures:
        found = measure.found
        table.add_row(
            measure.name.replace("_", " "),
            f"{found.estimate:.4g}",
            f"{found.low:.4g} to {found.high:.4g}",
            f"{measure.threshold}",
            measure.verdict,
        )
    Console().print(table)


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
    from rgm import arrays
    from rgm.files import writable_file

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
    from rgm import arrays
    from rgm.files import writable_file

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
    from rgm import arrays
    from rgm.files import writable_file

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
    from rgm import arrays
    from rgm.files import writable_file

    writable_file(out)
    checkpoint = _load(model, device)
    wanted = None if concept is None else arrays.concepts_named(concept, checkpoint.origin.classes)
    arrays.write(out, arrays.completed(checkpoint.model, codes, wanted, seed))


@app.command
def info(model: Model) -> None:
    """Say what a model is: its preset, its data, its levels, its size.

    Example: `rgm info runs/first`
    """
    checkpoint = _load(model, "cpu")
    origin, config = checkpoint.origin, checkpoint.model.config
    table = _plain_table(model)
    table.add_row("preset", origin.preset)
    table.add_row("trained on", f"{origin.data}, seed {origin.seed}")
    table.add_row("image", " × ".join(map(str, config.image)))
    for number, level in enumerate(config.levels, start=1):
        grid = " × ".join(map(str, level.grid))
        table.add_row(
            f"z{number}",
            f"{grid} grid of {level.states} states, {level.recognition.kind} recognition, "
            f"{level.recognition.estimator.kind}",
        )
    table.add_row("concepts", ", ".join(origin.classes))
    table.add_row("parameters", f"{sum(p.numel() for p in checkpoint.model.parameters()):,}")
    Console().print(table)


@app.command
def pack(
    model: Model,
    *,
    out: Annotated[Path, Parameter(help="The .safetensors file to write.")],
) -> None:
    """Write a model as one small file to share: half precision, and nothing of its training.

    Example: `rgm pack runs/first --out first.safetensors`
    """
    import torch

    from rgm.checkpoint import save_model
    from rgm.files import writable_file

    writable_file(out)
    checkpoint = _load(model, "cpu")
    save_model(out, checkpoint.model, checkpoint.origin, dtype=torch.float16)


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
    from rgm.data.load import load_data
    from rgm.files import writable_file
    from rgm.judge import judge_accuracy, save_judge, train_judge
    from rgm.terminal import progress

    writable_file(out)
    images, test = (load_data(data, split, data_dir=data_dir) for split in ("train", "test"))
    with progress(quiet) as watch:
        trained = train_judge(images, seed=seed, watch=watch)
    save_judge(out, trained)
    if not quiet:
        _table(str(out), {"test_accuracy": judge_accuracy(trained, test)})


def _load(model: str, device: str) -> "Checkpoint":
    from rgm.checkpoint import load_checkpoint
    from rgm.device import resolve_device

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


def _table(title: str, measures: "Mapping[str, float]") -> None:
    table = _plain_table(title)
    for name, value in measures.items():
        shown = f"{value:.0f}" if name.endswith("codes_in_use") else f"{value:.4f}"
        table.add_row(name.replace("_", " "), shown)
    Console().print(table)


def _plain_table(title: str) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def _command() -> str:
    return shlex.join(["rgm", *sys.argv[1:]])


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def main() -> None:
    """Run the command line, and turn what goes wrong into an exit code: 2 the user's to mend, 1 ours."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app(exit_on_error=False, print_error=False)
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
