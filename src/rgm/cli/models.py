"""Commands about models as files: `info`, `pack`, `export` and `judge`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rgm.cli import options
from rgm.cli.films import film_info, is_film
from rgm.cli.play import play_info
from rgm.cli.terminal import progress, show, show_measures
from rgm.errors import RGMError


def info(model: options.Model, *, quiet: options.Quiet = False) -> None:
    """Describe a model: its preset, its training data, its levels, its size; or a run of play.

    Example: `rgm info runs/first`. With `--quiet` a model is only checked.
    """
    from rgm.planning.stored import find_agent

    agent = find_agent(model)
    if agent is not None:
        table = play_info(agent, model)
        if not quiet:
            show(table)
        return
    if is_film(model):
        film_info(model)
        return
    from rgm.cli.tables import plain_table
    from rgm.model.config import LevelConfig

    checkpoint = options.load(model, "cpu")
    origin, config = checkpoint.origin, checkpoint.model.config
    rows = {
        "preset": origin.preset,
        "trained on": f"{origin.data}, seed {origin.seed}",
        "image": " × ".join(map(str, config.image)),
    }
    for number, level in enumerate(config.levels, start=1):
        grid = " × ".join(map(str, level.grid))
        how = "fitted in closed form"
        if isinstance(level, LevelConfig):
            how = f"{level.recognition.kind} recognition, {level.recognition.estimator.kind}"
        rows[f"z{number}"] = f"{grid} grid of {level.states} states, {how}"
    rows |= {"concepts": ", ".join(origin.classes), "parameters": f"{checkpoint.model.size:,}"}
    if not quiet:
        show(plain_table(model, rows))


def pack(model: options.Model, *, out: options.WeightsFile, quiet: options.Quiet = False) -> None:
    """Write a model as one small file to share: in half precision, without the state of its training.

    Example: `rgm pack runs/first --out first.safetensors`

    A folder that it was trained on is named in the file by its last part alone.
    """
    from rgm.loading import save_model

    checkpoint = options.load(model, "cpu", file=out, kind="a model")
    save_model(out, checkpoint.model, checkpoint.origin.without_place(), dtype=checkpoint.model.packed_type)
    if not quiet:
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def export(
    model: options.Model,
    *,
    onnx: Annotated[Path | None, Parameter(help="Folder for ONNX graphs. Needs the extra onnx.")] = None,
    hub: Annotated[Path | None, Parameter(help="Folder for upload to the Hugging Face Hub.")] = None,
    pymdp: Annotated[Path | None, Parameter(help="The .npz file of A, B and D for pymdp.")] = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a model for other programs: ONNX graphs, a folder for the Hugging Face Hub, or arrays for pymdp.

    Example: `rgm export runs/first --onnx graphs --hub folder`

    ONNX: `recognition-1.onnx` maps images (n, C, H, W) in [0, 1] to `codes` and `probabilities`, `recognition-2.onnx`
    those codes to the next, and so on to the concept; `decoder.onnx` decodes `z1`; `prior-1.onnx` predicts codes given
    their parents. Batches of any size, equal to PyTorch within 1e-5.

    Hub: `model.safetensors`, `config.json`, and `README.md`: the model card, with the evidence where there is some.

    pymdp, for counting models: `levels`, and of each level ℓ = 1 … an agent's `A_ℓ`, `A_dependencies_ℓ`, `B_ℓ`, `D_ℓ`;
    `weighted` and `likelihood`, the weights of each symbol.
    """
    from rgm.counting.model import CountingRGM
    from rgm.export.hub import save_folder
    from rgm.export.onnx import export as exported
    from rgm.export.pymdp import pymdp_arrays, save_pymdp
    from rgm.model.stored import own_export
    from rgm.storage.files import writable_file

    if onnx is None and hub is None and pymdp is None:
        raise RGMError("nothing to write: name a folder with --onnx DIR or --hub DIR, or a file with --pymdp FILE.npz")
    checkpoint, written = options.load(model, "cpu"), []
    if onnx is not None:
        written.append(
            ", ".join(
                map(str, exported(options.networks(model, checkpoint, "take --hub"), own_export(onnx, ["*.onnx"])))
            )
        )
    if hub is not None:
        written.append(f"{save_folder(hub, checkpoint)}; upload it with: hf upload OWNER/NAME {hub}")
    if pymdp is not None:
        if not isinstance(checkpoint.model, CountingRGM):
            raise RGMError(
                f"{model} is made of networks, which have no arrays for pymdp: take a counting model, as the presets "
                "paper and counting train"
            )
        save_pymdp(writable_file(pymdp, "arrays"), pymdp_arrays(checkpoint.model))
        written.append(str(pymdp))
    for what in () if quiet else written:
        print(f"Wrote {what}")


def judge(
    *,
    out: options.WeightsFile,
    data: options.TrainingData = "mnist",
    data_dir: options.DataDir = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Train the judge: the independent classifier of reconstructions and samples.

    Example: `rgm judge --data mnist --out judge.safetensors`
    """
    from rgm.data.load import load_data
    from rgm.evaluation.judge import judge_accuracy, save_judge, train_judge
    from rgm.runtime.device import resolve_device
    from rgm.storage.files import writable_file

    writable_file(out, "a model")
    target = resolve_device(device)
    images, test = (load_data(data, split, data_dir=data_dir) for split in ("train", "test"))
    with progress(quiet) as watch:
        trained = train_judge(images, seed=seed, device=target, watch=watch)
    save_judge(out, trained)
    if not quiet:
        show_measures(str(out), {"test_accuracy": judge_accuracy(trained, test)})
