"""Use it on my images: a folder with a subfolder for each class, in colour.

    python examples/4_use_my_images.py --folder photographs --epochs 20

Without --folder it draws one: discs, squares and crosses.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import rgm
from rgm.data.images import to_unit

SHAPES = ("cross", "disc", "square")


def draw(folder: Path, count: int) -> Path:
    """Draw shapes of random colours, places and sizes."""
    random, (row, column) = np.random.default_rng(0), np.mgrid[:32, :32]
    for number in range(count):
        kind = SHAPES[number % 3]
        size, down, right = random.uniform(5, 9), *random.uniform(11, 21, 2)
        up, across = np.abs(row - down), np.abs(column - right)
        inside = {
            "disc": up**2 + across**2 < size**2,
            "square": np.maximum(up, across) < size,
            "cross": (np.minimum(up, across) < size / 3) & (np.maximum(up, across) < size),
        }[kind]
        pixels = np.where(inside[..., None], random.integers(120, 256, 3), random.integers(0, 60, 3))
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{number:04}.png")
    return folder


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--folder", type=Path)
parser.add_argument("--epochs", type=float, default=40)
parser.add_argument("--out", type=Path, default=Path("runs/my-images"))
chosen = parser.parse_args()

chosen.out.mkdir(parents=True, exist_ok=True)
folder = chosen.folder or draw(chosen.out / "shapes", 600)
train, test = (rgm.load_data(str(folder), split, size=32, channels=3) for split in ("train", "test"))
model = rgm.SpatialRGM.from_preset("colour32", image=train.shape, classes=len(train.classes))
rgm.fit(model, train.images, train.labels, recipe="colour32", epochs=chosen.epochs)

read = model.infer(to_unit(test.images))
right = float((read.concept.argmax(dim=1).cpu() == test.labels).float().mean())
print(f"{len(train)} images of {', '.join(train.classes)}; concept right on {right:.0%} of {len(test)} others")
print("grids:", *(tuple(codes.shape[1:]) for codes in read.codes))

count = min(8, len(test))
rows = [to_unit(test.images[:count]), read.reconstruction[:count].cpu()]
for concept in range(len(train.classes)):
    noise = torch.Generator(model.device).manual_seed(concept)
    rows.append(model.sample(concept=concept, count=count, generator=noise).images.cpu())
sheet = torch.cat(rows).reshape(-1, count, 3, 32, 32)
pixels = sheet.permute(0, 3, 1, 4, 2).reshape(-1, count * 32, 3)
Image.fromarray((pixels * 255).byte().numpy()).resize((count * 32 * 3, len(pixels) * 3), 0).save(
    chosen.out / "sheet.png"
)
print("images, reconstructions from their codes, and samples of each class:", chosen.out / "sheet.png")
