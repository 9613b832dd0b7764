"""Build on it: codes, samples, completions and bounds as tensors; a callback of one's own; scikit-learn's calls.

python examples/5_build_on_it.py
"""

import argparse

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import rgm
from rgm.data.images import to_unit
from rgm.runtime.progress import EpochRecord, StepRecord
from rgm.sklearn import SpatialRGMClassifier

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=float, default=30)
chosen = parser.parse_args()

# A trained model's calls. Images are floats in [0, 1], codes are whole numbers.
model = rgm.load("mnist")
digits = rgm.load_data("digits", "test")
images = to_unit(digits.images[:64])
read = model.infer(images)
print("z1", tuple(read.z1.shape), "concept", tuple(read.concept.shape))
print(f"free energy {model.free_energy(images).total_nats.mean():.0f} nats an image")
keep = torch.zeros(1, 7, 7, dtype=torch.bool)
keep[:, :4] = True  # the upper half stays
noise = torch.Generator().manual_seed(0)
completed = model.complete(read.z1[:4], keep, digits.labels[:4], generator=noise)
assert (completed.z1 == read.z1[:4])[:, keep[0]].all()


class Every:
    """A callback: both methods are called between two steps; what one raises ends the training."""

    def on_step(self, record: StepRecord) -> None:
        """Say nothing."""

    def on_epoch(self, record: EpochRecord) -> None:
        """Say how far it is."""
        if record.epoch % 10 == 0:
            print(f"{record.stage} {record.epoch}: loss {record.loss:.3f}")


# Training on arrays of one's own.
train = rgm.load_data("digits", "train")
own = rgm.SpatialRGM.from_preset("quick")
rgm.fit(own, train.images, train.labels, recipe="quick", epochs=chosen.epochs, callbacks=[Every()])

# The same behind scikit-learn's calls: codes as features of another classifier.
rows, test_rows = train.images.flatten(1).numpy(), digits.images.flatten(1).numpy()
coder = SpatialRGMClassifier(epochs=chosen.epochs, random_state=0).fit(rows, train.labels.numpy())
print(f"its own concept is right on {coder.score(test_rows, digits.labels.numpy()):.1%}")
on_codes = make_pipeline(coder, LogisticRegression(max_iter=200))
assert on_codes[0].transform(test_rows[:2]).shape == (2, 49)
