"""The preset exact measured: bits per dimension of 8-bit test images, the lossless coder, and what else it can do.

    rgm train --preset exact --data mnist --out runs/exact
    python benchmarks/exact.py runs/exact [--images N] [--coded N] [--out FILE]

Prints what it measures as JSON, on the test split of the model's data, with 95 % intervals over images, and writes it
to FILE after every part. `--images` takes the first N test images alone, `--coded` N for the coder.
"""

import io
import json
import math
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from cyclopts import App
from PIL import Image
from torch import Tensor

from rgm.counting.coder import compress, decompress
from rgm.counting.config import CountingConfig, PixelValues, Structure, exact
from rgm.counting.model import CountingRGM
from rgm.counting.stepwise import StepwiseLearner, StepwiseRecipe
from rgm.data.images import ImageSet, one_of_each, to_unit
from rgm.data.load import load_data
from rgm.evaluation.judge import judge_of
from rgm.evaluation.sample_quality import quality, reference
from rgm.evaluation.statistics import bootstrap_mean
from rgm.loading import load_checkpoint
from rgm.storage.files import write_json

app = App(help=__doc__)
SAMPLES, NOISE = 1_000, 0.3
"""Samples that are compared with as many real images; noise of the figure, in units of the grey range."""


def likelihood(model: CountingRGM, test: ImageSet) -> dict[str, Any]:
    """Return exact nats and bits per dimension, and the accuracy of the most probable class."""
    start = time.process_time()
    evidence = torch.cat([model.log_evidence(to_unit(part)) for part in test.images.split(1000)]).double()
    nats = math.log(model.num_classes) - evidence.logsumexp(dim=1)
    right = evidence.argmax(dim=1) == test.labels
    return {
        "images": len(test),
        "nats": asdict(bootstrap_mean(nats, "nats")),
        "bits_per_dimension": asdict(bootstrap_mean(nats / math.log(2) / test.images[0].numel(), "bits")),
        "accuracy": asdict(bootstrap_mean(right.double(), "share")),
        "cpu_s": round(time.process_time() - start, 1),
    }


def coder(model: CountingRGM, images: Tensor) -> dict[str, Any]:
    """Return the size of the compressed images beside their improbability, PNG and lossless WebP, and check them."""
    start = time.process_time()
    content = compress(model, images)
    coded = time.process_time()
    restored = decompress(model, content)
    done = time.process_time()
    bits = -float(model.log_prob(to_unit(images)).double().sum()) / math.log(2)
    return {
        "images": len(images),
        "bytes": len(content),
        "over_log_probability": 8 * len(content) / bits,
        "restored_bit_for_bit": bool(torch.equal(restored, images)),
        "png_bytes": sum(size(image, format="PNG", optimize=True) for image in images),
        "webp_bytes": sum(size(image, format="WEBP", lossless=True, quality=100, method=6) for image in images),
        "compress_cpu_s": round(coded - start, 1),
        "decompress_cpu_s": round(done - coded, 1),
    }


def size(image: Tensor, **how: Any) -> int:
    """Return the bytes of one image in a format."""
    stream = io.BytesIO()
    Image.fromarray((image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy()).save(stream, **how)
    return stream.tell()


def samples(model: CountingRGM, train: ImageSet, test: ImageSet) -> dict[str, Any]:
    """Return how many samples the judge recognises, and their Fréchet distance over that of real images."""
    judge = judge_of(train)
    found = quality(model, reference(judge, train, test, limit=SAMPLES, seed=0))
    return {
        name: asdict(one.estimate()) if hasattr(one, "estimate") and callable(one.estimate) else asdict(one)
        for name, one in found.findings().items()
    }


@app.default
def main(
    model: str,
    *,
    data: str | None = None,
    images: int | None = None,
    coded: int | None = None,
    parts: tuple[Literal["likelihood", "coder", "samples"], ...] = ("likelihood", "coder", "samples"),
    out: Path | None = None,
) -> None:
    """Measure one model; `coded` is the number of images for the coder, by default all."""
    checkpoint = load_checkpoint(model)
    tree = checkpoint.model
    assert isinstance(tree, CountingRGM)
    name = data or checkpoint.origin.data
    train, test = load_data(name, "train"), load_data(name, "test")
    if images is not None:
        assert test.labels is not None
        test = replace(test, images=test.images[:images], labels=test.labels[:images])
    found: dict[str, Any] = {
        "data": name,
        "states": tree.latent_dim,
        "counts": tree.size,
        "machine": f"{platform.machine()}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads",
    }
    measures = {
        "likelihood": lambda: likelihood(tree, test),
        "coder": lambda: coder(tree, test.images[:coded]),
        "samples": lambda: samples(tree, train, test),
    }
    for part in parts:
        found[part] = measures[part]()
        print(json.dumps({part: found[part]}), flush=True)
        if out is not None:
            write_json(out, found)


def shaped(train: ImageSet, states: int, side: int) -> CountingConfig:
    """Return the preset with cells of `side` × `side` pixels and so many states."""
    usual = exact(train.shape, len(train.classes), len(train))
    cells, *above = usual.levels
    _, height, width = train.shape
    cells = replace(cells, states=states, grid=(math.ceil(height / side), math.ceil(width / side)))
    return replace(usual, levels=(cells, *above))


@app.command
def variant(
    data: str,
    *,
    states: int = 128,
    trees: int = 1,
    passes: int = 0,
    side: int = 1,
    links: float = 5.0,
    symbols: float = 500.0,
    structure: Structure = "class-trees",
    moved: float = 0.0,
) -> None:
    """Fit a variant of the preset to the training split, and print its measures on 2,000 validation images.

    `trees` are root states of each class, and cells have `side` × `side` pixels; without `passes` the start alone,
    clusters counted.
    """
    train, held = load_data(data, "train"), load_data(data, "validation")
    assert train.labels is not None
    usual = shaped(train, states, side)
    cells, root, concept = usual.levels
    config = replace(
        usual,
        structure=structure,
        levels=(cells, replace(root, states=trees * concept.states), concept),
        smoothing=replace(usual.smoothing, links=links, symbols=symbols),
    )
    start = time.process_time()
    tree = CountingRGM(config).eval()
    steps = StepwiseLearner(
        tree, StepwiseRecipe(passes=max(1, passes), moved=moved), train.images, train.labels, seed=0
    )
    for number in range(len(steps.stages) if passes else 1):
        steps.step(number)
    spent = time.process_time() - start
    assert held.labels is not None
    some = replace(held, images=held.images[:2000], labels=held.labels[:2000])
    what = {"states": states, "trees": trees, "side": side, "passes": passes, "moved": moved, "fit_cpu_s": round(spent)}
    print(json.dumps({**what, **likelihood(tree, some), **samples(tree, train, held)}))


@app.command
def binary(
    data: str = "mnist", *, states: int = 128, passes: int = 10, side: int = 1, symbols: float = 5.0, test: bool = False
) -> None:
    """Fit the preset to black and white images, drawn once or in every pass anew, and print nats of held images.

    A pixel is white with the probability of its grey value. Images of the one kind are drawn once for all, those of
    the other at every pass, and once more to be measured. `test`: of the test images, else of the validation images.
    """
    train, held = load_data(data, "train"), load_data(data, "test" if test else "validation")
    assert train.labels is not None
    usual = shaped(train, states, side)
    config = replace(usual, symbols=PixelValues(values=2), smoothing=replace(usual.smoothing, symbols=symbols))
    for kind in ("static", "dynamic"):
        start = time.process_time()
        tree = CountingRGM(config).eval()
        steps = StepwiseLearner(tree, StepwiseRecipe(passes=passes, moved=0.0), drawn(train, 0), train.labels, seed=0)
        for number in range(len(steps.stages)):
            if kind == "dynamic" and number and (number - 1) % steps.per_pass == 0:
                steps.images = drawn(train, 1 + number)
            steps.step(number)
        spent = time.process_time() - start
        found = likelihood(tree, replace(held, images=drawn(held, 10**6)))
        print(json.dumps({"binarisation": kind, "states": states, "symbols": symbols, **found, "fit_cpu_s": spent}))


def drawn(images: ImageSet, seed: int) -> Tensor:
    """Return black and white images whose pixels are white with the probability of their grey value."""
    noise = torch.rand(images.images.shape, generator=torch.Generator().manual_seed(seed))
    return (noise < to_unit(images.images)).byte() * 255


@app.command
def figure(model: str, out: Path) -> None:
    """Draw what the model answers about some test images with their lower half hidden, or with noise."""
    import matplotlib.pyplot as plt

    checkpoint = load_checkpoint(model)
    tree = checkpoint.model
    assert isinstance(tree, CountingRGM)
    test = load_data(checkpoint.origin.data, "test")
    images = to_unit(test.images[one_of_each(test)[:8]])
    generator = torch.Generator().manual_seed(0)
    visible = torch.ones(1, *images.shape[2:], dtype=torch.bool)
    visible[:, images.shape[2] // 2 :] = False
    noisy = (images + NOISE * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    rows = {
        "image": images,
        "visible": torch.where(visible[:, None], images, 0.5),
        "draw": tree.sample_given(images, visible, generator=generator).images,
        "another draw": tree.sample_given(images, visible, generator=generator).images,
        "most probable": tree.most_probable(images, visible).images,
        "mean": tree.posterior_mean(images, visible),
        f"noise {NOISE:g}": noisy,
        "mean given it": tree.posterior_mean(noisy, noise=NOISE),
        "sample": tree.sample(torch.arange(tree.num_classes)[:8], 1, generator=generator).images,
    }
    drawing, axes = plt.subplots(len(rows), len(images), figsize=(len(images) + 1.2, len(rows)))
    for line, (name, shown) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for place, picture in zip(line, shown, strict=True):
            place.imshow(picture[0], cmap="gray", vmin=0, vmax=1)
            place.set(xticks=[], yticks=[])
    drawing.tight_layout(pad=0.3)
    drawing.savefig(out, dpi=80)


if __name__ == "__main__":
    app()
