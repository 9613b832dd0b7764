"""The speed of rgm relative to the notebook's loop, as paired ratios: docs/benchmarks.json and docs/benchmarks.md.

    python benchmarks/speed.py [SECTION ...]

Each side runs in a process of its own, the two in turn (notebook, ours, notebook, ours, …). A ratio is the notebook's
time over ours within a round; of the rounds the median counts, and the least and the greatest are the spread.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

STARTED = time.perf_counter()  # before PyTorch is imported, which belongs to the time to quality

import notebook  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from cyclopts import App, Parameter  # noqa: E402
from rich.console import Console  # noqa: E402

from rgm.data.images import ImageSet, to_unit  # noqa: E402
from rgm.data.load import from_arrays, load_data  # noqa: E402
from rgm.model import config as configuration  # noqa: E402
from rgm.model.config import ModelConfig  # noqa: E402
from rgm.model.spatial import SpatialRGM  # noqa: E402
from rgm.training.loop import NeuralTrainer  # noqa: E402
from rgm.training.recipe import Recipe, recipe  # noqa: E402
from rgm.training.summary import summary  # noqa: E402

app = App(help=__doc__)
CONSOLE = Console(stderr=True)
Side = Literal["notebook", "ours"]
Section = Literal["throughput", "quality", "evidence", "scaling"]
QUALITY = {"concept_accuracy": 0.970, "squared_error": 0.024}
"""The notebook's, which it reaches in its three epochs."""


def timed(work: Callable[[], object], items: int) -> float:
    """Return how many items a second some work gets through, its first run left out."""
    work()
    start = time.perf_counter()
    work()
    return items / (time.perf_counter() - start)


def training(config: ModelConfig, images: ImageSet, chosen: Recipe) -> NeuralTrainer:
    """Return a training at its beginning."""
    torch.manual_seed(0)
    return NeuralTrainer(SpatialRGM.from_config(config), images, None, chosen, seed=0)


def one_stage(name: str, stage: int, batch_size: int) -> Recipe:
    """Return one epoch of a stage of a preset's recipe."""
    chosen = recipe(name)
    kept = replace(chosen.stages[stage], epochs=1, least_steps=1, batch_size=batch_size)
    return replace(chosen, stages=(kept,))


def throughputs(side: Side) -> dict[str, float]:
    """Return images a second of each kind of work, on the notebook's network, and the peak of memory in MiB."""
    train, test = load_data("mnist", "train"), load_data("mnist", "test")
    assert train.labels is not None
    some = replace(train, images=train.images[:6400].clone(), labels=train.labels[:6400])
    held = replace(test, images=test.images[:2000].clone(), labels=None if test.labels is None else test.labels[:2000])
    torch.manual_seed(0)
    model = SpatialRGM().eval()
    unit = to_unit(held.images)
    z1 = model.read(unit)[0]
    found: dict[str, float] = {}
    if side == "ours":
        found["train_throughput"] = timed(
            lambda: training(configuration.seed(), some, one_stage("seed", 0, 64)).run(lambda _: None, lambda *_: None),
            len(some),
        )
        found["encode"] = timed(lambda: model.infer(unit), len(unit))
        found["decode"] = timed(lambda: model.decode(z1), len(z1))
        found["sample"] = timed(lambda: model.sample(torch.arange(10), 200), 2000)
        found["perturb"] = timed(lambda: model.decode(perturbed(z1[:20], model.latent_dim)), 20 * 49)
    else:
        found["train_throughput"] = timed(
            lambda: list(notebook.steps(SpatialRGM().train(), notebook.loader(some, 0), 1)), len(some)
        )
        with torch.no_grad():
            found["encode"] = timed(lambda: [encoded(model, x) for x, _ in notebook.loader(held, 0)], len(held))
            hard = F.one_hot(z1, model.latent_dim).movedim(-1, 1).float()
            found["decode"] = timed(lambda: [model.dec1(part) for part in hard.split(64)], len(z1))
            found["sample"] = timed(lambda: [sampled(model, k) for _ in range(40) for k in range(10)], 2000)
            found["perturb"] = timed(lambda: one_by_one(model, hard[:20]), 20 * 49)
    return {**found, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def perturbed(z1: torch.Tensor, states: int) -> torch.Tensor:
    """Return every grid with each of its cells changed in turn."""
    cells = z1.shape[1] * z1.shape[2]
    changed = z1.flatten(1)[:, None].repeat(1, cells, 1)
    place = torch.arange(cells)
    changed[:, place, place] = (changed[:, place, place] + 5) % states
    return changed.reshape(-1, *z1.shape[1:])


def encoded(model: SpatialRGM, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return what the notebook's first experiment shows of images, and their reconstructions."""
    z1_logits = model.z1_proj(model.enc1(x))
    z1_sample = model.reparameterize_gumbel(z1_logits)
    return z1_logits.argmax(dim=1), F.softmax(model.enc2(z1_sample), dim=1), model.dec1(z1_sample)


def sampled(model: SpatialRGM, digit: int) -> torch.Tensor:
    """Return the notebook's five instances of a digit."""
    z2_fixed = torch.zeros(5, 10)
    z2_fixed[:, digit] = 1.0
    z1_prior_logits = model.dec2(z2_fixed).view(5, 32, 7, 7)
    return model.dec1(F.gumbel_softmax(z1_prior_logits, tau=1.0, hard=True, dim=1))


def one_by_one(model: SpatialRGM, z1_hard: torch.Tensor) -> None:
    """Change every cell as the notebook changes its one."""
    for base in z1_hard.split(1):
        for cell in range(49):
            row, column = divmod(cell, 7)
            z1_perturbed = base.clone()
            new_code = (z1_perturbed[0, :, row, column].argmax() + 5) % 32
            z1_perturbed[0, :, row, column] = 0
            z1_perturbed[0, new_code, row, column] = 1
            model.dec1(z1_perturbed)


def time_to_quality(side: Side, seed: int) -> dict[str, float]:
    """Return seconds from the start of this process to the notebook's quality on the validation split.

    Looking whether it is there is not counted: for the notebook every 100 steps, for ours at the end.
    """
    train, validation = load_data("mnist", "train"), load_data("mnist", "validation")
    away = 0.0

    def reached(model: SpatialRGM) -> dict[str, float] | None:
        nonlocal away
        start = time.perf_counter()
        measures = summary(model.eval(), validation)
        model.train()
        away += time.perf_counter() - start
        there = (
            measures["concept_accuracy"] >= QUALITY["concept_accuracy"]
            and measures["squared_error"] <= QUALITY["squared_error"]
        )
        return measures if there else None

    torch.manual_seed(seed)
    if side == "notebook":
        model = SpatialRGM().train()
        for step, _ in enumerate(notebook.steps(model, notebook.loader(train, seed), 3), start=1):
            if step % 100 == 0 and (measures := reached(model)):
                break
        else:  # three epochs are all that it has
            measures = summary(model.eval(), validation)
        return {"elapsed_s": time.perf_counter() - STARTED - away, **measures}
    chosen = recipe("quick")
    chosen = replace(chosen, stages=chosen.stages[:2])  # the prior comes after, and has no part in either measure
    ours = NeuralTrainer(SpatialRGM.from_preset("quick"), train, None, chosen, seed=seed)
    ours.run(lambda _: None, lambda *_: None)
    elapsed = time.perf_counter() - STARTED
    return {"elapsed_s": elapsed, **summary(ours.model.eval(), validation)}


def scaling(side: int, levels: int, codes: int) -> dict[str, float]:
    """Return the seconds of a training step of codes on 8 images, the median of 12, and the memory it takes in MiB."""
    if levels == 2:
        config = configuration.standard((1, side, side), 10)
        grid, concept = config.levels
        config = replace(config, levels=(replace(grid, states=codes), concept))
        chosen = one_stage("standard", 0, 8)
    else:
        config = configuration.pyramid((1, side, side), 10, states=(codes,) * (levels - 1), sigma=0.08)
        chosen = one_stage("three-level", 0, 8)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (8 * 16, side, side), generator=generator, dtype=torch.uint8)
    run = training(config, from_arrays(pixels, torch.arange(8 * 16) % 10), chosen)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ticks: list[float] = []
    run.run(lambda _: ticks.append(time.perf_counter()), lambda *_: None)
    steps = [after - start for start, after in pairwise(ticks[3:])]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"step_s": statistics.median(steps), "peak_mib": (peak - before) / 1024}


SIDES = (32, 64, 128, 256)
SHAPES = [
    *((side, 2, 64) for side in SIDES),
    *((128, levels, 64) for levels in (3, 4)),
    *((32, 2, codes) for codes in (256, 1024, 4096)),
]


@app.command
def measure(what: str, *parts: str) -> None:
    """Measure one side of one thing, in this process, and print it as JSON."""
    match what, parts:
        case "throughputs", (side,):
            found = throughputs(side)  # type: ignore[arg-type]
        case "time_to_quality", (side, seed):
            found = time_to_quality(side, int(seed))  # type: ignore[arg-type]
        case "scaling", shape:
            found = scaling(*map(int, shape))
        case _:
            sys.exit(f"nothing is measured by that name: {what} {parts}")
    print(json.dumps(found))


def measured(*what: str) -> dict[str, float]:
    """Return what another process measures."""
    command = [sys.executable, __file__, "measure", *what]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def spread(ratios: list[float]) -> dict[str, float]:
    """Return the median of some ratios, the least and the greatest."""
    return {"ratio": round(statistics.median(ratios), 2), "low": round(min(ratios), 2), "high": round(max(ratios), 2)}


@app.default
def main(
    *sections: Section,
    rounds: Annotated[int, Parameter(help="Rounds of the throughputs.")] = 5,
    races: Annotated[int, Parameter(help="Rounds of the time to quality.")] = 3,
    out: Annotated[Path, Parameter(help="Where the page and its numbers go.")] = Path("docs/benchmarks.md"),
) -> None:
    """Measure everything, or the named sections and keep the others, and write the page and its numbers."""
    numbers = out.with_suffix(".json")
    found: dict[str, Any] = json.loads(numbers.read_text()) if sections else {}
    for section in sections or get_args(Section):
        match section:
            case "throughput":
                found |= {"rounds": rounds, **throughput(rounds)}
            case "quality":
                found |= {"races": races, "time_to_quality": quality(races)}
            case "evidence":
                found["evidence"] = {"elapsed_s": round(evidence())}
            case "scaling":
                found["scaling"] = [growth(*shape) for shape in SHAPES]
    found["machine"] = (
        f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores; rgm {version('rgm')}, "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}, {torch.get_num_threads()} threads"
    )
    numbers.write_text(json.dumps(found, indent=2) + "\n")
    out.write_text(page(found))
    print(out)


def throughput(rounds: int) -> dict[str, Any]:
    """Return the ratios of the throughputs, and the peaks of memory."""
    found: dict[str, Any] = {}
    pairs = []
    for number in range(rounds):
        CONSOLE.print(f"throughputs, round {number + 1} of {rounds}")
        pairs.append((measured("throughputs", "notebook"), measured("throughputs", "ours")))
    for name in pairs[0][1]:
        theirs, ours = ([pair[which][name] for pair in pairs] for which in (0, 1))
        if name == "peak_mib":
            found["peak_mib"] = {"notebook": round(statistics.median(theirs)), "ours": round(statistics.median(ours))}
            continue
        found[name] = spread([b / a for a, b in zip(theirs, ours, strict=True)]) | {
            "ours_images_per_s": round(statistics.median(ours)),
            "notebook_images_per_s": round(statistics.median(theirs)),
        }
    return found


def quality(races: int) -> dict[str, Any]:
    """Return the ratios of the times to the notebook's quality, and what was reached."""
    run = []
    for number in range(races):
        CONSOLE.print(f"time to quality, round {number + 1} of {races}")
        run.append([measured("time_to_quality", side, str(number + 1)) for side in ("notebook", "ours")])
    return spread([a["elapsed_s"] / b["elapsed_s"] for a, b in run]) | {
        "notebook_s": round(statistics.median(a["elapsed_s"] for a, _ in run), 1),
        "ours_s": round(statistics.median(b["elapsed_s"] for _, b in run), 1),
        "ours_reached": [{name: round(b[name], 4) for name in QUALITY} for _, b in run],
        "notebook_reached": [{name: round(a[name], 4) for name in QUALITY} for a, _ in run],
    }


def evidence() -> float:
    """Return the seconds that the evidence of the packaged weights takes."""
    CONSOLE.print("the evidence of the packaged weights")
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "rgm", "evaluate", "mnist", "--claims", "--samples", "1", "--quiet"],
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - start


def growth(side: int, levels: int, codes: int) -> dict[str, Any]:
    """Return the time and memory of a step at one size, measured in a process of its own."""
    CONSOLE.print(f"a step at {side} × {side}, {levels} levels, {codes} codes")
    step = measured("scaling", str(side), str(levels), str(codes))
    shape = {"side": side, "levels": levels, "codes": codes}
    return shape | {"step_s": round(step["step_s"], 4), "peak_mib": round(step["peak_mib"])}


NAMES = {
    "train_throughput": "training, the same network at batch 64",
    "encode": "encode: images to codes, concept and reconstruction",
    "decode": "decode: codes to images",
    "sample": "sample: images of a concept",
    "perturb": "perturb: every cell changed in turn",
}


INTRODUCTION = """Speed of rgm relative to the notebook's loop (a DataLoader over PIL images, batches of 64, eager) on
the same machine. Both run in processes of their own, in turn. A ratio is the notebook's time divided by ours in one
round: larger is better. Medians, with the minimum and maximum of {rounds} rounds ({races} for the time to quality)."""
WORK = """Encode, decode, sample and perturb also use the notebook's network. rgm works on batches, the notebook on one
image or five at a time. Peak memory was {ours:,} MiB, and {notebook:,} MiB for the notebook."""
QUALITY_IS = """Measured from the start of the process, including PyTorch's import, until concept accuracy is 97.0 % on
the validation images and the squared error is 0.024, both with hard codes. Ours is the preset `quick` before its prior
is trained."""
SOONER = """**{ratio:.1f} times sooner** ({low:.1f} to {high:.1f}). Where one does not reach 97.0 % with a seed, as
the table shows, the time of its whole training is used: three epochs for the notebook."""
GROWTH = """A training step of the codes on 8 images: its time, and the memory that training needs in addition to the
model."""
EVIDENCE = """Testing the three claims on the packaged weights takes {elapsed_s} s (`rgm evaluate mnist
--claims --samples 1`, including PyTorch's import and the bound)."""
FLOOR = """The notebook's network needs 1.4 · 10⁹ multiplications and additions per step of 64 images, forward and
backward, nine tenths of them in two convolutions (32 to 64 channels, 14 × 14 to 7 × 7, and its mirror image in the
decoder). Matrix products run at 1.7 · 10¹¹ per second on the two cores of this measurement: 8 ms per step, or 7,800
images per second, if nothing else were needed. Of a step of 15 ms, the two convolutions take 6.7 ms, the other
convolutions 2, matrix products 1.5, noise, exponentials and logarithms 2, the optimiser 1, and the overhead of some 400
operations the rest."""
TRIED = """Effective: images kept in memory as bytes, channels last, fused Adam, the decoder's last transposed
convolution as a convolution, and memory that is not returned to the system after every step. A different noise
generator would save another 1.5 ms, but change every seeded number. Not effective here: the other transposed
convolutions as convolutions, the strided ones on blocks of pixels, products of unfolded images, and another waiting
policy of threads."""


def fill(text: str, **values: Any) -> list[str]:
    """Return a paragraph's lines."""
    return ["", *textwrap.wrap(text.format(**values), 118), ""]


def page(found: dict[str, Any]) -> str:
    """Return the results as a page."""
    reached_in, by_side = found["time_to_quality"], found["scaling"][: len(SIDES)]
    lines = ["# Speed", *fill(INTRODUCTION, rounds=found["rounds"], races=found["races"])]
    lines += ["| work | ratio | spread | ours, images/s | notebook, images/s |", "| --- | --- | --- | --- | --- |"]
    for name, title in NAMES.items():
        one = found[name]
        lines.append(
            f"| {title} | {one['ratio']:.2f} | {one['low']:.2f} to {one['high']:.2f} | "
            f"{one['ours_images_per_s']:,} | {one['notebook_images_per_s']:,} |"
        )
    lines += [*fill(WORK, **found["peak_mib"]), "## Time to the notebook's quality"]
    lines += fill(QUALITY_IS)
    lines += ["| | seconds | concept accuracy | squared error |", "| --- | --- | --- | --- |"]
    for side in ("notebook", "ours"):
        reached = reached_in[f"{side}_reached"]
        right = ", ".join(f"{100 * one['concept_accuracy']:.1f}" for one in reached)
        errors = ", ".join(f"{one['squared_error']:.4f}" for one in reached)
        lines.append(f"| {side} | {reached_in[f'{side}_s']:.1f} | {right} % | {errors} |")
    lines += [*fill(SOONER, **reached_in), "## Cost of a step by model size", *fill(GROWTH)]
    lines += ["| image | levels | codes | step | memory | time per pixel, relative to the row above |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    before = None
    for row in found["scaling"]:
        growth = ""
        if row in by_side and before is not None:
            growth = f"{row['step_s'] / before['step_s'] / (row['side'] / before['side']) ** 2:.2f}"
        before = row
        lines.append(
            f"| {row['side']} × {row['side']} | {row['levels']} | {row['codes']} | {1000 * row['step_s']:.1f} ms | "
            f"{row['peak_mib']:,} MiB | {growth} |"
        )
    lines += [*fill(EVIDENCE, **found["evidence"]), "## Lower bound on the time", *fill(FLOOR), *fill(TRIED)[1:]]
    return "\n".join([*lines, f"{found['machine']}. Made by `make bench`."]) + "\n"


if __name__ == "__main__":
    app()
