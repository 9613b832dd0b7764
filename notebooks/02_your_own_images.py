# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own images: from a folder to evidence
#
# Train and evaluate a model on a folder with one subfolder per class: PNG or JPEG images of any size, grey or colour.
# Here such a folder is first created from small digits, so that the notebook runs anywhere. For your own images, set
# `folder` to your path and skip that cell.

# %%
import tempfile
from pathlib import Path

from PIL import Image

from rgm import load_data

folder = Path(tempfile.mkdtemp()) / "my-images"
digits = load_data("digits", "train")
for number, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
    place = folder / f"digit {digits.classes[label]}"
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[0].numpy()).save(place / f"{number}.png")

# %% [markdown]
# ## Load the folder
#
# Images are resized to a common size. Without folders named `train` and `test`, test images are held out, the same ones
# for equal seeds; they are never used in training.

# %%
train, test = (load_data(str(folder), split, size=28) for split in ("train", "test"))
print(f"{len(train):,} training and {len(test):,} test images of {', '.join(train.classes)}")

# %% [markdown]
# ## Train
#
# A preset adapts to the shape of the images and the number of classes. There are presets for larger images and colour:
# `three-level`, `colour32`, `colour64`.

# %%
import torch

from rgm import SpatialRGM, fit

torch.manual_seed(1)  # of the model's first weights
model = SpatialRGM.from_preset("standard", image=train.shape, classes=len(train.classes))
fitted = fit(model, train.images, train.labels, seed=1)
print(f"last loss {fitted.history[-1].loss:.4f}")

# %% [markdown]
# ## Experiments
#
# The judge is an independent classifier, trained on the same training images.

# %%
from rgm.evaluation.locality import locality
from rgm.evaluation.judge import judge_accuracy, judge_of
from rgm.evaluation.measurements import measure
from rgm.report.notebook import figures, verdicts

judge = judge_of(train)
print(f"the judge is right about {judge_accuracy(judge, test):.1%} of the test images")
measured = measure(model, train, test, judge)
figures(measured.abstraction, "abstraction")
figures(measured.instantiation(None), "instantiation")
figures(locality(model, test, judge, count=64, concepts=200), "locality")

# %% [markdown]
# ## Claims
#
# The three claims, with intervals. The thresholds are those of MNIST unless you set your own, *before* you see results.
# They are a mapping from the name of a measure to its threshold.

# %%
from rgm.claims.threshold import MNIST, above
from rgm.claims.decisions import decisions

limits = {**MNIST, "concept_accuracy": above(0.9), "samples_recognised": above(0.85)}
claims = [*decisions(measured, limits)]
verdicts(claims)

# %% [markdown]
# ## Save and load
#
# A saved model is one safetensors file with its configuration in the header. Loading it runs no code. The command line
# does all of the above in one step: `rgm run --data my-images --size 28 --out runs/mine`.

# %%
from rgm import load
from rgm.storage.checkpoint import Origin
from rgm.loading import save_model

saved = folder.parent / "mine.safetensors"
save_model(saved, model, Origin(preset="standard", data=str(folder), classes=train.classes, seed=1))
again = load(saved)
codes = again.infer(test.images[:4] / 255).z1
print(f"{saved.stat().st_size / 1e6:.1f} MB; codes of four images: {tuple(codes.shape)}")
