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
# One folder, one subfolder a class; any size, grey or colour; PNG, JPEG and the like. Here such a folder is made first,
# from small digits, so that the notebook runs anywhere: put your own path into `folder` and leave that cell out.

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
# ## Read the folder
#
# Images are resized to a common size. Without folders named `train` and `test`, test images are held out, the same ones
# for equal seeds; a model never sees them.

# %%
train, test = (load_data(str(folder), split, size=28) for split in ("train", "test"))
print(f"{len(train):,} training and {len(test):,} test images of {', '.join(train.classes)}")

# %% [markdown]
# ## Train
#
# A preset is made for the images' shape and the number of classes. Larger images and colour have presets of their own:
# `three-level`, `colour32`, `colour64`.

# %%
import torch

from rgm import SpatialRGM, fit

torch.manual_seed(1)  # of the model's first weights
model = SpatialRGM.from_preset("standard", image=train.shape, classes=len(train.classes))
fitted = fit(model, train.images, train.labels, seed=1)
print(f"last loss {fitted.history[-1].loss:.4f}")

# %% [markdown]
# ## Look
#
# The judge is a classifier trained on the same training images, apart from the model.

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
# ## Decide
#
# The three claims, with intervals. The limits are MNIST's unless you set your own, *before* you look: they are plain
# data, and a claim needs no more than a mapping from a measure's name to its limit.

# %%
from rgm.claims.threshold import MNIST, above
from rgm.claims.decisions import decisions

limits = {**MNIST, "concept_accuracy": above(0.9), "samples_recognised": above(0.85)}
claims = [*decisions(measured, limits)]
verdicts(claims)

# %% [markdown]
# ## Keep
#
# A saved model is one file, safetensors with its configuration in the header, that runs no code when it is read. The
# command line does all of the above in one go: `rgm run --data my-images --size 28 --out runs/mine`.

# %%
from rgm import load
from rgm.storage.checkpoint import Origin
from rgm.loading import save_model

saved = folder.parent / "mine.safetensors"
save_model(saved, model, Origin(preset="standard", data=str(folder), classes=train.classes, seed=1))
again = load(saved)
codes = again.infer(test.images[:4] / 255).z1
print(f"{saved.stat().st_size / 1e6:.1f} MB; codes of four images: {tuple(codes.shape)}")
