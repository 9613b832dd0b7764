"""The gallery of the packaged weights: digits, clothes and photographs, up and down the levels.

python benchmarks/gallery.py --cifar10 cifar10        # a folder as docs/colour.md describes it

Writes docs/images/gallery.png. Each row begins with the first test image of its class; draws have seed 0, and none is
rejected.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

from rgm import SpatialRGM, load_data
from rgm.data.images import ImageSet, to_unit
from rgm.evaluation.abstraction import code_atlas
from rgm.model.receptive import Box
from rgm.report.canvas import LABEL, WIDTH, bare, new_figure, outline, show
from rgm.report.figures import png
from rgm.report.palette import INK, QUIET, SECOND, code_colours

SETS = {"mnist": "digits", "fashion-mnist": "clothes", "cifar10": "photographs"}
CLASSES = {"mnist": (3, 5), "fashion-mnist": (9, 4), "cifar10": (7, 8)}
"""The two classes shown of each set; the morphs lead from each to the other."""
SAMPLES, MORPH = 3, 6
COLOURED_BY = 500
"""The number of images by whose codes colours are chosen."""
GAP = 0.2
"""Between columns and sets, in widths of an image."""


def columns(model: SpatialRGM, test: ImageSet, concept: int, other: int) -> dict[str, Tensor]:
    """Return the images of every column, (images, channels, rows, columns)."""
    assert test.labels is not None
    generator = torch.Generator().manual_seed(0)
    image = to_unit(test.images[(test.labels == concept).nonzero()[0]])
    z1 = model.read(image)[0]
    row, column = middle(model)
    each = next(model.decode_each_code(z1, row, column))[0]
    difference = (each - each[z1[0, row, column]]).square().flatten(1).sum(dim=1)
    changed = z1.clone()
    changed[:, row, column] = difference.argmax()
    keep = torch.zeros_like(z1, dtype=torch.bool)
    keep[:, : keep.shape[1] // 2] = True
    several = to_unit(test.images[:COLOURED_BY])
    colours = torch.from_numpy(code_colours(code_atlas(model, several, model.read(several)[0])))
    return {
        "image": image,
        "codes": colours[z1].float().movedim(-1, 1),
        "decoded": model.decode(z1),
        "a cell changed": model.decode(changed),
        "upper half kept": model.complete(z1.repeat(2, 1, 1), keep, concept, generator=generator).images,
        "samples": model.sample(concept, SAMPLES, generator=generator).images,
        "a morph to another concept": model.morph(concept, other, MORPH, generator=generator).images,
    }


def middle(model: SpatialRGM) -> tuple[int, int]:
    """Return the row and the column of the cell that is changed."""
    height, width = model.config.levels[0].grid
    return height // 2, width // 2


def main() -> None:
    """Draw the gallery."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", default="cifar10", help="the folder of CIFAR-10's images")
    parser.add_argument("--out", type=Path, default=Path("docs/images/gallery.png"))
    chosen = parser.parse_args()
    rows = []
    for name in SETS:
        model = SpatialRGM.from_pretrained(name)
        test = load_data(chosen.cifar10 if name == "cifar10" else name, "test")
        row, column = middle(model)
        side = test.images.shape[2] // model.config.levels[0].grid[0]
        for pair in (CLASSES[name], CLASSES[name][::-1]):
            rows.append((SETS[name], columns(model, test, *pair), Box.of(row, column, side, side)))
    counts = [len(images) for images in rows[0][1].values()]
    widths = [width for count in counts for width in [GAP, *[1.0] * count]][1:]
    heights = [1.0, 1.0, GAP, 1.0, 1.0, GAP, 1.0, 1.0]
    tile = (WIDTH - 0.3) / sum(widths)
    figure = new_figure(tile * sum(heights) + 0.3)
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)
    layout.set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    grid = figure.add_gridspec(len(heights), len(widths), width_ratios=widths, height_ratios=heights)
    lines = [line for line, height in enumerate(heights) if height == 1]
    for number, (line, (kind, shown, cell)) in enumerate(zip(lines, rows, strict=True)):
        place = 0
        for title, images in shown.items():
            for image in images:
                axes = figure.add_subplot(grid[line, place])
                show(axes, image)
                if title in ("decoded", "a cell changed"):
                    outline(axes, cell, edgecolor=SECOND, linewidth=0.8)
                if place == 0 and number % 2 == 0:
                    axes.set_ylabel(kind, fontsize=LABEL, color=INK, y=-0.05)
                place += 1
            place += 1
        if number == 0:
            place = 0
            for title, images in shown.items():
                heading = figure.add_subplot(grid[line, place : place + len(images)])
                heading.patch.set_visible(False)
                bare(heading)
                text = title.replace("cell ", "cell\n") if len(images) == 1 else title
                heading.set_title(text, fontsize=6.5, color=QUIET, pad=3)
                place += len(images) + 1
    chosen.out.write_bytes(png(figure))


if __name__ == "__main__":
    main()
