"""Let me touch it: change one cell of a digit's codes, then its concept, and see what each changes.

python examples/3_touch_it.py           # a picture; `rgm explore` is the page to draw and click on
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from rgm import load

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=Path, default=Path("runs/touched.png"))
chosen = parser.parse_args()

model = load("mnist")
three = model.sample(concept=3, count=1, generator=torch.Generator().manual_seed(0))
likely = model.cell_log_probs(three.z1, 3, 3, 3)[0].argsort(descending=True)  # the cell in the middle
changed = three.z1.clone()
changed[0, 3, 3] = likely[-1]  # the code that it expects least
touched = model.decode(changed)
moved = (touched - three.images).abs()[0, 0]
rows, columns = (moved > 1 / 255).nonzero().unbind(1)
print(f"one cell of 49: pixels {rows.min()}…{rows.max()} by {columns.min()}…{columns.max()} of 28 by 28 changed")

other = model.sample(concept=8, count=1, generator=torch.Generator().manual_seed(0))
everywhere = float(((other.images - three.images).abs() > 0.1).float().mean())
before = float((moved > 0.1).float().mean())
print(f"the concept, with the same noise: {everywhere:.0%} of all pixels changed; the cell: {before:.0%}")

side_by_side = torch.cat([three.images, touched, moved[None, None], other.images], dim=3)[0, 0]
chosen.out.parent.mkdir(parents=True, exist_ok=True)
Image.fromarray((side_by_side * 255).byte().numpy()).resize((4 * 28 * 6, 28 * 6), 0).save(chosen.out)
print("a three, one cell changed, the difference, the concept changed:", chosen.out)
