"""Prove it: the claims as hypotheses, with estimates, 95 % intervals and thresholds, ready for a paper's table.

python examples/2_prove_it.py --images 2000     # the packaged weights on MNIST's test images
"""

import argparse
from dataclasses import replace
from pathlib import Path

from rgm import load, load_data
from rgm.pipeline import claims, write_evidence

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--images", type=int, default=10_000)
parser.add_argument("--out", type=Path, default=Path("runs/prove-it"))
chosen = parser.parse_args()

train, test = load_data("mnist", "train"), load_data("mnist", "test")
assert test.labels is not None
few = replace(test, images=test.images[: chosen.images], labels=test.labels[: chosen.images])
decided = list(claims(load("mnist"), train, few, folder=None)[1])
for claim in decided:
    print(f"\n{claim.claim}: {claim.verdict}")
    for measure in claim.measures:
        found, threshold = measure.found, measure.threshold
        print(
            f"  {measure.name:28} {found.estimate:8.3f}  [{found.low:.3f}, {found.high:.3f}]  "
            f"{threshold.side} {threshold.value}: {measure.verdict}"
        )
print("\nwrote", write_evidence(decided, test.name, chosen.out))
