"""Commands that train, and prepare data for it: `run`, `train` and `cache`."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from rgm.cli import options
from rgm.cli.films import train_film
from rgm.cli.terminal import RESUMES, progress, show, show_measures
from rgm.errors import RGMError
from rgm.presets import ESTIMATORS, PRESETS, preset_of

if TYPE_CHECKING:
    from rgm.runtime.progress import Callback


def _listing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the presets and the estimators, each with its line, to a command's help."""
    listed = {"Presets": {name: preset.help for name, preset in PRESETS.items()}, "Estimators": ESTIMATORS}
    parts = [inspect.getdoc(command) or ""]
    for title, lines in listed.items():
        parts += [f"{title}:", "\n".join(f"- `{name}`: {line}" for name, line in lines.items())]
    command.__doc__ = "\n\n".join(parts)
    return command


@_listing
def run(
    config: options.Config = options.DEFAULTS,
    *,
    out: options.RunFolder = options.LATEST,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    controls: options.Controls = True,
    judge: options.JudgeFile = None,
    tensorboard: options.Board = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a model, run the three experiments on it, and write a report.

    Example: `rgm run --data mnist --out runs/first`
    """
    from rgm import pipeline
    from rgm.cli.tables import short_table, verdict_lines
    from rgm.runtime.distributed import started_together

    if preset_of(config.preset).kind == "film":
        raise RGMError(
            f"`rgm run` is for models of images: train films with `rgm train --preset {config.preset}`, then "
            "`rgm experiment time`"
        )
    if started_together():
        raise RGMError("`rgm run` is for one process: train with `torchrun … -m rgm train`, then `rgm run --resume`")
    options.either(resume, overwrite)
    with progress(quiet, goes_on=RESUMES) as watch:
        result = pipeline.run(
            config,
            out,
            resume=resume,
            overwrite=overwrite,
            controls=controls,
            judge=judge,
            watch=watch,
            say=watch.say,
            callbacks=_callbacks(tensorboard),
            command=options.command_line(),
        )
    if not quiet:
        print(f"\n{result.data} · {config.preset} · seed {config.seed}\n")
        for line in verdict_lines(result.claims):
            show(line)
        print()
        show(short_table(result.measures, result.claims))
        print(f"\nReport: {result.report}")


@_listing
def train(
    config: options.Config = options.DEFAULTS,
    *,
    out: options.RunFolder = options.LATEST,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    tensorboard: options.Board = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a model and write a run folder.

    Example: `rgm train --preset seed --data mnist --out runs/seed`
    """
    if preset_of(config.preset).kind == "film":
        if resume:
            raise RGMError("films are learned in one piece, without checkpoints: leave --resume out")
        train_film(config, out, overwrite=overwrite, quiet=quiet)
        return
    from rgm.runtime.distributed import joined
    from rgm.training.run import plan_run

    options.either(resume, overwrite)
    with joined(config.device) as processes, progress(quiet or not processes.first, goes_on=RESUMES) as watch:
        result = plan_run(config).carry_out(
            out, resume=resume, overwrite=overwrite, watch=watch, callbacks=_callbacks(tensorboard)
        )
    if processes.first and not quiet:
        if config.precision != "float32" or config.compile:
            print(f"Trained in {config.precision}{', networks compiled' if config.compile else ''}")
        show_measures(f"{result.origin.data} · {config.preset}", result.test)
        print(f"Model: {result.folder}")


def cache(
    data: Annotated[str, Parameter(help="A folder of images, or of tar shards (webdataset).")],
    *,
    out: Annotated[Path, Parameter(help="Folder to write; every --data then takes it.")],
    size: Annotated[int | None, Parameter(help="Resize images to this many pixels a side.")] = None,
    channels: Annotated[Literal[1, 3] | None, Parameter(help="1 for greyscale, 3 for colour.")] = None,
    skip_damaged: Annotated[bool, Parameter(help="Skip damaged images with a warning.", negative="")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Decode images once into files that are read as they are needed, for sets larger than memory.

    Example: `rgm cache shards --out cached --size 64`, then `rgm train --data cached --preset colour64`

    After an interruption, the same command continues where it stopped.
    """
    from rgm.data.load import cache_images

    with progress(quiet, goes_on="the same command continues") as watch:
        cache_images(Path(data), out, size=size, channels=channels, skip_damaged=skip_damaged, watch=watch)
    if not quiet:
        print(f"Cache: {out}")


def _callbacks(tensorboard: Path | None) -> "list[Callback]":
    if tensorboard is None:
        return []
    from rgm.training.tensorboard import TensorBoard  # an extra, and only where it is asked for

    return [TensorBoard(tensorboard)]
