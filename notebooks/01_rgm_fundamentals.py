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
# # RGM fundamentals: figures and measures of renormalization
#
# A **renormalizing generative model** encodes an image in steps: pixels into a grid of discrete latent *codes* $z_1$,
# the codes into one *concept* $z_2$, a digit. The same model generates top-down, from a concept through codes to an
# image:
#
# $$p(x, z) = p(z_2) \, p(z_1 \mid z_2) \, p(x \mid z_1)$$
#
# Its hypothesis: the world is hierarchical, and local details are integrated (renormalized) into abstract concepts at
# the levels above.
#
# Three claims are made about it. This notebook shows each in figures and then measures it:
#
# 1. **Abstraction**: pixels → local features $z_1$ → global concept $z_2$. Each level compresses information and keeps
#    what matters.
# 2. **Instantiation**: one concept has many coherent instances.
# 3. **Locality**: changing one cell of $z_1$ changes the image only there; changing the concept changes all of it.

# %% [markdown]
# ## Data and model
#
# MNIST if it is available, else the small digits that scikit-learn includes. The preset `standard` trains in three to
# four minutes on two cores (the digits: half a minute). `SpatialRGM(latent_dim=32, num_classes=10)` is the simplest
# network, and `SpatialRGM.from_pretrained("mnist")` needs no training.

# %%
import os

import torch

from rgm import SpatialRGM, fit, load_data
from rgm.claims.decisions import control_decisions, decisions
from rgm.evaluation.measurements import measure
from rgm.evaluation.locality import locality
from rgm.evaluation.judge import judge_of
from rgm.report.notebook import figures, verdicts

name = os.environ.get("RGM_NOTEBOOK_DATA", "auto")
train, test = load_data(name, "train"), load_data(name, "test")
judge = judge_of(train)  # an independent classifier: it has no part in the model, and says what an image shows
torch.manual_seed(1)  # of the model's first weights
model = SpatialRGM.from_preset("standard")
fitted = fit(model, train.images, train.labels, seed=1)
print(f"{len(train):,} images of {train.source}; last loss {fitted.history[-1].loss:.4f}")

# %% [markdown]
# ## Experiment 1: hierarchical abstraction (bottom-up)
#
# How an image is encoded into $z_1$, a 7 × 7 grid of codes, and $z_2$, its class. Each row is one test image: its
# pixels, the grid of its codes (darker for codes that decode to more ink), the probability of each concept (the true
# one in orange), and the image decoded from the codes alone.

# %%
measured = measure(model, train, test, judge)
bottom_up = measured.abstraction
figures(bottom_up, "abstraction")

# %% [markdown]
# The codebook: for each code, the mean patch that it was assigned to, and the patch that it decodes to.

# %%
figures(bottom_up, "abstraction-atlas")

# %% [markdown]
# ## Experiment 2: concept-conditional generation (top-down)
#
# *One concept, many instances.* $z_2$ is fixed, $z_1$ is sampled from $p(z_1 \mid z_2)$ and decoded: the concept
# determines **what** is shown, the codes determine **how**. These are the first samples; none was rejected.

# %%
top_down = measured.instantiation(measured.quality)
figures(top_down, "instantiation-strip", "instantiation")

# %% [markdown]
# A part of an image can be given: the upper codes are kept, and the lower ones are resampled.

# %%
figures(top_down, "instantiation-completion")

# %% [markdown]
# ## Experiment 3: local and global perturbation
#
# *Renormalization compresses and preserves spatial structure.* One cell of $z_1$ takes another code: the image changes
# only there. Then the concept is replaced: all of the image changes.

# %%
perturbed = locality(model, test, judge, count=64, concepts=500)
figures(perturbed, "locality", "locality-map")

# %% [markdown]
# For every cell, at its position: the mean change of the whole image when that cell is changed.

# %%
figures(perturbed, "locality-atlas")

# %% [markdown]
# ## Do the claims hold?
#
# A single figure may be due to chance. Each claim is therefore a hypothesis: measures with 95 % intervals are compared
# with thresholds that were fixed before results were seen, and controls that lack what the claim is about must fail.

# %%
claims = [*decisions(measured), *control_decisions(measured, train)]
figures(measured.levels)

# %% [markdown]
# From level to level, the class is retained (orange) while pixel detail is discarded (blue): this is renormalization.

# %%
verdicts(claims)
