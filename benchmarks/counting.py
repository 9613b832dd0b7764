"""The counting models measured: the paper reproduced, the same tree fitted better, and both beside networks.

    python benchmarks/counting.py

Writes docs/counting.json and docs/counting.md. Each training runs in a process of its own, so that its time and its
memory are its own; what is measured already is kept, so that it can be stopped and gone on with. A quarter of an hour
on two cores.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from cyclopts import App

from rgm.counting.exemplars import ExemplarRecipe, PaperLearner
from rgm.counting.learning import EMRecipe
from rgm.counting.model import CountingRGM
from rgm.counting.updating import partial_fit
from rgm.data.images import ImageSet, to_unit
from rgm.data.load import joined, load_data
from rgm.evaluation.exactness import Exactness, exactness
from rgm.evaluation.judge import judge_of
from rgm.evaluation.quantities import interval_of, name_of, value_of
from rgm.evaluation.statistics import Estimate, bootstrap_mean
from rgm.model.generative import RGM
from rgm.model.spatial import SpatialRGM
from rgm.pipeline import other_kinds
from rgm.storage.files import write_json, write_text
from rgm.training.fit import fit
from rgm.training.loop import train as trained
from rgm.training.recipe import recipe

DOCS = Path(__file__).parents[1] / "docs"
FOUND = DOCS / "counting.json"
SIZES = (100, 1_000, 10_000, 60_000)
SEEN = (0, 1_000, 2_000, 5_000, 10_000)
BOUNDED = 2_000
"""Test images whose bound is taken under a network."""
ONLINE = 5_000
"""Images that a model is fitted to before others are counted in, 500 at a time."""

app = App(help=__doc__)


def data(size: int) -> tuple[ImageSet, ImageSet]:
    """Return the first `size` training images (of all, with the validation split, for 60,000) and the test images."""
    train, test = load_data("mnist", "train"), load_data("mnist", "test")
    if size > len(train):
        return joined(train, load_data("mnist", "validation")), test
    return first(train, size), test


def first(images: ImageSet, count: int) -> ImageSet:
    """Return the first images of a labelled set."""
    assert images.labels is not None
    return replace(images, images=images.images[:count], labels=images.labels[:count])


def accuracy(model: RGM, test: ImageSet) -> tuple[torch.Tensor, Estimate]:
    """Return which images' concepts are right, and their share."""
    said = torch.cat([model.infer(to_unit(part).to(model.device)).concept for part in test.images.split(1000)])
    right = said.argmax(dim=1).cpu() == test.labels
    return right, bootstrap_mean(right.double(), "share")


def paper(batch_size: int, *, leak: bool = False) -> dict[str, Any]:
    """Learn as the paper does, and look at the test images after so many were seen."""
    train, test = data(11_000)
    held = replace(train, images=train.images[10_000:], labels=train.labels[10_000:])  # type: ignore[index]
    model = CountingRGM.from_preset("paper")
    assert train.labels is not None
    learner = PaperLearner(
        model, ExemplarRecipe(batch_size=batch_size), train.images, train.labels, basis=train.images if leak else None
    )
    spent, seen, course = 0.0, 0, {}
    for number in range(len(learner.stages)):
        start = time.perf_counter()
        learner.step(number)
        spent += time.perf_counter() - start
        seen = number * learner.images_a_step
        if seen in SEEN and not leak:
            course[str(seen)] = accuracy(model, test)[1].estimate
    right, share = accuracy(model, test)
    evidence = model.log_evidence(to_unit(test.images)).cpu()
    best = evidence.topk(2, dim=1).values
    likelier, surer = (
        right[score.argsort(descending=True)[: len(right) // 2]].double()
        for score in (evidence.logsumexp(dim=1), best[:, 0] - best[:, 1])
    )
    return {
        "accuracy": asdict(share),
        "likelier_half": asdict(bootstrap_mean(likelier, "share")),
        "surer_half": asdict(bootstrap_mean(surer, "share")),
        "held_out": asdict(accuracy(model, held)[1]),
        "course": course,
        "elapsed_s": round(spent, 1),
    }


def counting(size: int, **how: Any) -> dict[str, Any]:
    """Learn the preset `counting` from so many images, or with another recipe."""
    train, test = data(size)
    assert train.labels is not None
    model = CountingRGM.from_preset("counting", images=size)
    start = time.perf_counter()
    fit(model, train.images, train.labels, recipe=EMRecipe(**how), seed=1)
    spent = time.perf_counter() - start
    start = time.perf_counter()
    _, share = accuracy(model, test)
    read = time.perf_counter() - start
    seen = model.observe(to_unit(test.images), torch.Generator().manual_seed(0))
    found = {
        "accuracy": asdict(share),
        "nats": asdict(bootstrap_mean(-model.log_weight(seen).double(), "nats")),
        "elapsed_s": round(spent, 1),
        "read_images_per_s": round(len(test) / read),
    }
    if size == SIZES[-1] and not how:
        judge = judge_of(load_data("mnist", "train"))  # the packaged one
        exact: Exactness = exactness(model, judge, test, other_kinds(test))
        found["exactness"] = {name: asdict(one) for name, one in exact.estimates().items()}
    return found


def network(preset: str, size: int) -> dict[str, Any]:
    """Train a network from so many images: `standard` for its accuracy, `likelihood` for its bound."""
    train, test = data(size)
    torch.manual_seed(1)
    model = SpatialRGM.from_preset(preset)
    start = time.perf_counter()
    trained(model, train, recipe(preset), seed=1)
    spent = time.perf_counter() - start
    found = {"accuracy": asdict(accuracy(model, test)[1]), "elapsed_s": round(spent, 1)}
    if preset == "likelihood":
        generator = torch.Generator().manual_seed(0)
        seen = model.observe(to_unit(test.images), generator)[:BOUNDED]
        parts = [model.free_energy(part, generator=generator).total_nats for part in seen.split(100)]
        found["nats"] = asdict(bootstrap_mean(torch.cat(parts).double(), "nats"))
    return found


def online(select: bool) -> dict[str, Any]:
    """Fit to a few images, then count the others in, batch by batch."""
    train, test = data(55_000)
    assert train.labels is not None
    model = CountingRGM.from_preset("counting", images=ONLINE)
    fit(model, train.images[:ONLINE], train.labels[:ONLINE], recipe=EMRecipe(passes=0), seed=1)
    before = accuracy(model, test)[1]
    start = time.perf_counter()
    for images, labels in zip(train.images[ONLINE:].split(500), train.labels[ONLINE:].split(500), strict=True):
        partial_fit(model, images, labels, select=select)
    spent = time.perf_counter() - start
    return {
        "before": asdict(before),
        "accuracy": asdict(accuracy(model, test)[1]),
        "images_per_s": round((len(train) - ONLINE) / spent),
    }


WORK: dict[str, Callable[[], dict[str, Any]]] = {
    "paper sequential": lambda: paper(1),
    "paper batches": lambda: paper(100),
    "paper leak": lambda: paper(100, leak=True),
    **{f"counting {size}": (lambda size=size: counting(size)) for size in SIZES},
    "counting shifted": lambda: counting(SIZES[-1], shift=1),
    "online": lambda: online(False),
    "online selected": lambda: online(True),
    **{
        f"{preset} {size}": (lambda preset=preset, size=size: network(preset, size))
        for size in SIZES
        for preset in ("standard", "likelihood")
        if (preset, size) != ("likelihood", SIZES[-1])  # docs/likelihood.md has it
    },
}


@app.command
def one(name: str) -> None:
    """Do one piece of the work, and print what was found as JSON."""
    found = WORK[name]()
    found["threads"] = torch.get_num_threads()
    found["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(found))


@app.default
def main() -> None:
    """Measure what is not measured yet, and write the page."""
    found: dict[str, Any] = json.loads(FOUND.read_text()) if FOUND.is_file() else {}
    found["machine"] = (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, PyTorch {torch.__version__}, "
        f"{torch.get_num_threads()} threads"
    )
    for name in WORK:
        if name not in found:
            print(name, file=sys.stderr, flush=True)
            done = subprocess.run([sys.executable, __file__, "one", name], check=True, capture_output=True, text=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
            write_json(FOUND, found)
    write_text(DOCS / "counting.md", page(found))


def page(found: dict[str, Any]) -> str:
    """Return the page."""
    full, ten, shifted = found["counting 60000"], found["counting 10000"], found["counting shifted"]
    exact = full["exactness"]
    lines = [
        "# Results: counting models",
        "",
        "Measured results of the presets `paper` and `counting`, trees that are fitted by counting, in closed form "
        "and without gradients ([the mathematics](trees.md)). `paper` is the model of the literature (Friston et al. "
        "2024, arXiv 2407.20292), implemented from its description. `counting` is the same kind of tree, with the "
        "states of groups and the prototypes of classes fitted by expectation–maximisation on counts. Both have the "
        "interface of `SpatialRGM`, and every command accepts them:",
        "",
        "```bash",
        "rgm train --preset counting --data mnist --out runs/counting",
        "rgm experiment exactness runs/counting --out figures",
        "rgm explore runs/counting",
        "```",
        "",
        f"Measured by `python benchmarks/counting.py` on MNIST's 10,000 test images ({found['machine']}; each training "
        "in a process of its own). All choices were made on the validation split. Intervals are 95 %, over images.",
        "",
        "## Reproduction of the paper",
        "",
        "The first 10,000 training images, each used once; 13 exemplars of each class determine the structure.",
        "",
        "| | the paper | an independent re-run | `paper`, image by image | `paper`, 100 at a time |",
        "| --- | --- | --- | --- | --- |",
        *_reproduced(found),
        "",
        _leak(found),
        "",
        "The image-by-image rule is the paper's. The mini-batch variant (`--batch-size 100`) decides once per hundred"
        " images whether an update raises the mutual information of an array; it is faster, and the last column shows"
        " the cost in accuracy.",
        "",
        "Two figures could not be reproduced. The 95.1 % were measured on 1,000 training images with a basis that had"
        " been fitted to them; the table gives our accuracy on such images. The paper does not name its exemplars; "
        "ours are the first 13 of each class. Where the description leaves a choice (the threshold of the patches' "
        "modes, the order of ties), `rgm.counting.ranked` documents the choice and the reason. The accuracy of the "
        "half with the higher evidence could not be reproduced either: messages are exact here, so that the evidence "
        "is the probability of an image's symbols, and images with common symbols are not those that are easily "
        "classified. The authors' code sends posteriors upwards, and the sum of its normalisers is a different score."
        " The half with the largest margin between the best two concepts has a higher accuracy than either.",
        "",
        "Decoding inverts the ranking as far as possible: ranks determine neither an image's contrast nor its amount "
        "of ink, nor what the blur removed; strokes have average thickness.",
        "",
        "## The preset counting",
        "",
        f"`counting` reaches **{_percent(full['accuracy'])}** with all 60,000 images in {_time(full)}, and "
        f"**{_percent(ten['accuracy'])}** with 10,000 in {ten['elapsed_s']:.0f} s (inference: "
        f"{full['read_images_per_s']:,} images per second); the paper reports 95.1 % with the same number. (60,000 are "
        "the training and the validation split together, used after all choices were made; `rgm train` uses the 55,000 "
        "of the training split.) "
        "`counting-shifted`, which also learns from every image moved by a pixel in each of the four directions, "
        f"reaches **{_percent(shifted['accuracy'])}** with all of them in {_time(shifted)}.",
        "",
        "Cells of 4 × 4 pixels observe these pixels, black or white, and the oriented edges in them, each dilated by "
        "a pixel to tolerate small shifts. A cell has 128 states, a mixture of its own; a class has up to 300 "
        "prototypes, at most one per ten images. Two steps fit them; a last one performs exact "
        "expectation–maximisation over the whole tree. Pixels and edges are redundant, so that each has a weight "
        "below one when the class is inferred (0.25 and 0.5, chosen on the validation split).",
        "",
        "## Comparison with networks by number of images",
        "",
        "The same images and machine. `standard` is the default network, `likelihood` the one for the bound. Nats are"
        " of test images binarised once, with the same noise: exact for the tree, an upper bound for the network "
        f"(its first {BOUNDED:,} test images).",
        "",
        "| images | | concept accuracy | −log p, nats | training | memory |",
        "| --- | --- | --- | --- | --- | --- |",
        *_sizes(found),
        "",
        "Times are of one run each, on a machine shared with other programs. With a hundred images the tree is more "
        "accurate. From a thousand on, the default network is equal or slightly better, and takes several times as "
        "long. In nats, networks are better from a thousand on: given its prototype, a tree samples each cell "
        "independently.",
        "",
        "## Exact inference",
        "",
        "By `rgm experiment exactness`, for the model fitted to all images:",
        "",
        "| measure | | 95 % interval |",
        "| --- | --- | --- |",
        *(f"| {name_of(name)} | {_value(name, one)} | {_interval(name, one)} |" for name, one in exact.items()),
        "",
        "Letters are rendered in the fonts that matplotlib includes; the figure is the probability that a letter has "
        "a lower likelihood than a test image (AUROC). Fashion-MNIST and Kuzushiji-MNIST are added if they are "
        "available.",
        "",
        "## Online learning",
        "",
        "`rgm.counting.updating.partial_fit` adds further images without access to earlier ones. Starting from a model "
        f"of {ONLINE:,} images (accuracy {_percent(found['online']['before'])}), with the other 50,000 of the training "
        "split, 500 at a time:",
        "",
        "| | concept accuracy | images per second |",
        "| --- | --- | --- |",
        *(
            f"| {what} | {_percent(found[key]['accuracy'])} | {found[key]['images_per_s']:,} |"
            for key, what in (
                ("online", "every image counted"),
                ("online selected", "by the paper's rule: kept if mutual information rises"),
            )
        ),
        "",
    ]
    return "\n".join(lines)


def _reproduced(found: dict[str, Any]) -> list[str]:
    ours = [found["paper sequential"], found["paper batches"]]
    rows = [
        ("concept accuracy, test images", "–", "93.1 to 93.5 %", [_percent(one["accuracy"]) for one in ours]),
        (
            "the half with the higher evidence",
            "99.8 %",
            "98.0 to 98.7 %",
            [_percent(one["likelier_half"]) for one in ours],
        ),
        ("the half with the largest margin", "–", "–", [_percent(one["surer_half"]) for one in ours]),
        (
            "concept accuracy, 1,000 further training images",
            "95.1 %",
            "91.5 %",
            [_percent(one["held_out"]) for one in ours],
        ),
        *(
            (
                f"concept accuracy, test images, after {seen:,} images",
                "–",
                {0: "61.7 %", 1000: "80.3 %", 2000: "85.1 %", 5000: "89.3 %"}.get(seen, "–"),
                [f"{100 * one['course'][str(seen)]:.1f} %" for one in ours],
            )
            for seen in SEEN[:-1]
        ),
        ("seconds", "–", "290", [f"{one['elapsed_s']:.0f}" for one in ours]),
    ]
    return [f"| {name} | {theirs} | {rerun} | {' | '.join(mine)} |" for name, theirs, rerun, mine in rows]


def _leak(found: dict[str, Any]) -> str:
    leak, without = found["paper leak"]["held_out"], found["paper batches"]["held_out"]
    return (
        "The paper fits its patches to all images, including those that it tests on. Here they are fitted to the "
        f"10,000 only. With this leak (mini-batches), the accuracy on the 1,000 further images is {_percent(leak)}; "
        f"without it, {_percent(without)}."
    )


def _sizes(found: dict[str, Any]) -> list[str]:
    lines = []
    for size in SIZES:
        for kind in ("counting", "standard", "likelihood"):
            one = found.get(f"{kind} {size}")
            if one is None:
                lines.append(f"| {size:,} | `{kind}` | [the bound](likelihood.md) | | | |")
                continue
            nats = "–"
            if "nats" in one:
                bound = "" if kind == "counting" else "≤ "
                nats = f"{bound}{one['nats']['estimate']:.1f} ({one['nats']['low']:.1f} to {one['nats']['high']:.1f})"
            lines.append(
                f"| {size:,} | `{kind}` | {_percent(one['accuracy'])} | {nats} | {_time(one)} | "
                f"{one['peak_mib']:,} MiB |"
            )
    return lines


def _time(found: dict[str, Any]) -> str:
    """Return the time of training; of two threads, where no other number is known."""
    return f"{found['elapsed_s']:.1f} s" + (", one thread" if found.get("threads") == 1 else "")


def _percent(found: dict[str, float]) -> str:
    low, high = (f"{100 * found[side]:.1f}" for side in ("low", "high"))
    return f"{100 * found['estimate']:.2f} % ({low} to {high})"


def _value(name: str, found: dict[str, float]) -> str:
    return value_of(name, found["estimate"])


def _interval(name: str, found: dict[str, float]) -> str:
    return interval_of(name, found["low"], found["high"]) or "–"


if __name__ == "__main__":
    app()
