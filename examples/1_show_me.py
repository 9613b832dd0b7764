"""Show me: train on a known data set, and see the three claims as pictures and numbers in one page.

python examples/1_show_me.py            # MNIST where it can be had, else the digits that come with scikit-learn
"""

import argparse
from pathlib import Path

from rgm.pipeline import run
from rgm.training.config import RunConfig

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", default="auto")
parser.add_argument("--epochs", type=float, default=None)
parser.add_argument("--out", type=Path, default=Path("runs/show-me"))
chosen = parser.parse_args()

config = RunConfig(data=chosen.data, preset="quick", epochs=chosen.epochs)
finished = run(config, chosen.out, controls=False)
print(f"concept right: {finished.measures['concept_accuracy']:.1%}")
print(f"squared error: {finished.measures['squared_error']:.4f}")
print(f"open {finished.report}")
