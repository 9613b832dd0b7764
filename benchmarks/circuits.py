"""Exact trees against a library of probabilistic circuits: the same structure, parameters, images and algorithm.

    pip install spflow
    python benchmarks/circuits.py [--images N] [--side S] [--states K] [--values V] [--structure NAME] [--out FILE]

Builds a hidden Chow–Liu tree and a quadtree over grey MNIST digits in rgm and in SPFlow, checks that every image has
the same log-likelihood in both, and takes full-batch passes of expectation–maximisation in turn, on one thread. Prints
the processor seconds of a pass, the ratio of those in turn, and the mean log-likelihood that is reached.

SPFlow's update replaces the parameters by those of its batch, so that only one with all images is a pass; how long it
takes for as many images in smaller batches is measured too, and its fastest batch printed. Two minutes, 6 GB of memory.
"""

import ctypes
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from cyclopts import App
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from rgm.counting.chow_liu import information, spanning_tree
from rgm.counting.config import CountingConfig, PixelValues, Smoothing, Structure
from rgm.counting.forest import Forest
from rgm.counting.model import CountingRGM
from rgm.counting.stepwise import GREYS, expected_totals
from rgm.counting.values import PixelLeaves
from rgm.data.load import load_data
from rgm.model.stored import Level
from rgm.storage.files import write_json

try:
    from spflow.learn import expectation_maximization
    from spflow.meta import Scope
    from spflow.modules.conv import ProdConv
    from spflow.modules.leaves import Categorical
    from spflow.modules.module import Module
    from spflow.modules.products import ElementwiseProduct
    from spflow.modules.sums import Sum
except ImportError:
    raise SystemExit("SPFlow is not installed: pip install spflow") from None

app = App(help=__doc__)
NAMES: dict[Structure, str] = {"chow-liu": "hidden Chow–Liu tree", "blocks": "quadtree"}
TOLERANCE = 1e-4
"""Relative difference of an image's log-likelihoods above which the two are not the same model."""
UNSMOOTHED = Smoothing(symbols=1e-6, links=1e-6, top=0.0)
"""SPFlow's expectation–maximisation has no prior: rgm's is left out, but for the least pseudo-counts it takes."""
PARTS = (1, 2, 4, 8)
"""Batch sizes that are timed, as parts of all images."""
WARM = 2
"""First passes whose time does not count: memory is obtained from the system."""


def untrained(structure: Structure, images: Float[Tensor, "n 1 side side"], states: int, values: int) -> CountingRGM:
    """Return a tree with random counts: of blocks of 2 × 2 while the grid is even, or with Chow and Liu's edges."""
    side = images.shape[-1]
    sides = [side]
    while structure == "blocks" and sides[-1] % 2 == 0 and sides[-1] > 2:
        sides.append(sides[-1] // 2)
    cells = [Level(grid=(grid, grid), states=states) for grid in sides[1:] or sides]
    root = Level(grid=(1, 1), states=1 if structure == "chow-liu" else states)
    model = CountingRGM(
        CountingConfig(
            image=(1, side, side),
            symbols=PixelValues(values=values),
            levels=(*cells, root, Level(grid=(1, 1), states=1)),
            structure=structure,
            smoothing=UNSMOOTHED,
        )
    ).eval()
    if structure == "chow-liu":
        greys = (images.flatten(1) * GREYS).long().clamp_max(GREYS - 1)
        model.get_buffer("parents").copy_(spanning_tree(information(greys, GREYS), (side, side)))
    return model


def circuit(model: CountingRGM) -> Module:
    """Return the circuit of SPFlow that has the structure and the parameters of a tree."""
    tables = model.tables()
    leaves, tree = model.leaves, tables.tree
    assert isinstance(leaves, PixelLeaves)
    p_value = tables.likelihood.table.exp()  # (cells, pixels of a cell, values, states)
    if isinstance(tree, Forest):
        return _hidden_chow_liu(tree, p_value[:, 0].transpose(1, 2))
    pixels = torch.empty(leaves.place.numel(), p_value.shape[3], 1, p_value.shape[2])
    pixels[leaves.place.flatten(), :, 0] = p_value.transpose(2, 3).flatten(0, 1)
    node: Module = Categorical(scope=Scope(list(range(len(pixels)))), probs=pixels, validate_args=False)
    side = model.config.image[1]
    for (grid, _), link in zip(tree.grids, tree.links, strict=False):
        node = ProdConv(node, side // grid, side // grid)
        node, side = Sum(inputs=node, weights=link.transpose(1, 2)[..., None].contiguous()), grid
    return Sum(inputs=ProdConv(node, side, side), weights=tables.log_top.exp().T[None, ..., None].contiguous())


def _hidden_chow_liu(tree: Forest, p_value: Float[Tensor, "cells states values"]) -> Module:
    """Return a circuit with the modules of `spflow.zoo.hclt`: a leaf for each pixel, a sum for each edge."""
    (layers,), links = tree.layers, tree.links[0][0]
    nodes: dict[int, Module] = {}
    for cell, place in reversed(list(enumerate(layers.order.tolist()))):
        leaf = Categorical(scope=Scope([place]), probs=p_value[place][None, :, None].contiguous(), validate_args=False)
        below = [
            Sum(inputs=nodes.pop(child), weights=links[child].T[None, ..., None].contiguous())
            for child in layers.children[cell]
        ]
        nodes[cell] = ElementwiseProduct(inputs=[leaf, *below]) if below else leaf
    return Sum(inputs=nodes[0], weights=links[0, 0][None, :, None, None].contiguous())


@torch.no_grad()
def log_likelihoods(
    model: CountingRGM, other: Module, images: Float[Tensor, "n 1 side side"], numbers: Float[Tensor, "n pixels"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return log p(x) in nats by rgm and by SPFlow."""
    theirs = torch.cat([other.log_likelihood(part).flatten() for part in numbers.split(100)])
    return model.log_prob(images), theirs


def difference(ours: Float[Tensor, " n"], theirs: Float[Tensor, " n"]) -> float:
    """Return the largest relative difference of an image's log-likelihoods."""
    return float(((ours - theirs).abs() / ours.abs()).max())


def update(model: CountingRGM, numbers: Float[Tensor, "n pixels"]) -> float:
    """Return the processor seconds of SPFlow's second update with a batch, from the parameters of a tree."""
    other = circuit(model)
    return [seconds(lambda: expectation_maximization(other, numbers, max_steps=1)) for _ in range(2)][1]


@torch.no_grad()
def our_pass(model: CountingRGM, images: Float[Tensor, "n 1 side side"], labels: Int64[Tensor, " n"]) -> None:
    """Replace the counts of a tree by their expectation over all images."""
    for counts, expected in zip(model.counts, expected_totals(model, images, labels), strict=True):
        counts.copy_(expected)


def keep_memory() -> None:
    """Let glibc return no memory to the system: SPFlow's blocks of gigabytes would cost it a page fault every 4 KiB."""
    for parameter, value in ((-4, 0), (-1, -1)):  # M_MMAP_MAX, M_TRIM_THRESHOLD
        if hasattr(ctypes.CDLL(None), "mallopt"):
            ctypes.CDLL(None).mallopt(parameter, value)


def seconds(run: Callable[[], object]) -> float:
    """Return the processor seconds of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(
    structure: Structure, images: Float[Tensor, "n 1 side side"], states: int, values: int, passes: int
) -> dict[str, Any]:
    """Return the times and log-likelihoods of both, fitted to images by so many passes and the first ones."""
    numbers = (images * (values - 1)).round().flatten(1)
    labels = torch.zeros(len(images), dtype=torch.int64)
    torch.manual_seed(0)  # the counts before learning
    model = untrained(structure, images, states, values)
    other = circuit(model)
    at_start = difference(*log_likelihoods(model, other, images, numbers))
    if not at_start <= TOLERANCE:
        raise RuntimeError(f"log-likelihoods differ by {at_start:.1e}, more than {TOLERANCE:g}: two different models")
    batches = {len(images) // part: round(part * update(model, numbers[: len(images) // part]), 2) for part in PARTS}
    theirs, ours = [], []
    for _ in range(WARM + passes):
        theirs.append(seconds(lambda: expectation_maximization(other, numbers, max_steps=1)))
        ours.append(seconds(lambda: our_pass(model, images, labels)))
    ratios = [one / another for one, another in zip(theirs[WARM:], ours[WARM:], strict=True)]
    reached = log_likelihoods(model, other, images, numbers)
    return {
        "structure": NAMES[structure],
        "images": list(images.shape),
        "states": states,
        "values": values,
        "passes": WARM + passes,
        "spflow_s": median(theirs[WARM:]),
        "spflow_s_by_batch_size": batches,
        "rgm_s": median(ours[WARM:]),
        "ratio": median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "rgm_nats": float(reached[0].double().mean()),
        "spflow_nats": float(reached[1].double().mean()),
        "largest_difference_at_start": at_start,
        "largest_difference_at_end": difference(*reached),
    }


@app.default
def main(
    *,
    images: int = 1000,
    side: int = 16,
    states: int = 16,
    values: int = 256,
    passes: int = 5,
    structure: tuple[Structure, ...] = ("chow-liu", "blocks"),
    out: Path | None = None,
) -> None:
    """Compare on the first training digits, scaled to `side` × `side` pixels of `values` greys."""
    torch.set_num_threads(1)
    keep_memory()
    pixels: UInt8[Tensor, "n 1 side side"] = load_data("mnist", "train", size=side).images[:images]
    unit = (pixels / 255 * (values - 1)).round() / (values - 1)
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, PyTorch {torch.__version__}, SPFlow {version('spflow')}, 1 thread",
        "rows": [],
    }
    print(found["machine"])
    print("seconds a pass         SPFlow    rgm  ratio (range)           fastest batch         log p: SPFlow      rgm")
    for one in structure:
        row = compare(one, unit, states, values, passes)
        found["rows"].append(row)
        ratio = f"{row['ratio']:.1f} ({row['ratio_range'][0]:.1f} to {row['ratio_range'][1]:.1f})"
        fastest, size = min((spent, size) for size, spent in row["spflow_s_by_batch_size"].items())
        batch = f"{fastest:.2f} ({size})"
        print(f"{row['structure']:20}  {row['spflow_s']:7.2f} {row['rgm_s']:6.3f}  {ratio:22}  {batch:20}", end="  ")
        print(f"{row['spflow_nats']:13.3f} {row['rgm_nats']:8.3f}", flush=True)
        if out is not None:
            write_json(out, found)


if __name__ == "__main__":
    app()
