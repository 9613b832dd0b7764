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
# # RGM fundamentals: renormalization, seen and measured
#
# A **renormalizing generative model** reads an image in steps: pixels become a grid of discrete *codes* $z_1$, words for
# what is drawn in each place; the codes become one *concept* $z_2$, a digit. The same model runs the other way, from a
# concept through codes to an image. Its hypothesis: the world is hierarchical, and local details are integrated
# (renormalized) into abstract concepts at the levels above.
#
# Three claims are made for it, and this notebook looks at each and then measures it:
#
# 1. **Abstraction**: pixels → local features $z_1$ → global concept $z_2$; information is compressed, and what matters
#    is kept.
# 2. **Instantiation**: one concept, many variations.
# 3. **Locality**: changing one cell of $z_1$ changes only its place; changing the concept changes everything.

# %% [markdown]
# ## Data and model
#
# MNIST where it can be had, else the small digits that scikit-learn carries. The preset `standard` trains in three to
# four minutes on two cores (the digits: half a minute). `SpatialRGM(latent_dim=32, num_classes=10)` would be the
# plainest network, and `SpatialRGM.from_pretrained("mnist")` spares the training.

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
judge = judge_of(
    train
)  # an independent classifier: it has no part in the model, and says what an image shows
torch.manual_seed(1)  # of the model's first weights
model = SpatialRGM.from_preset("standard")
fitted = fit(model, train.images, train.labels, seed=1)
print(f"{len(train):,} images of {train.source}; last loss {fitted.history[-1].loss:.4f}")

# %% [markdown]
# ## Experiment 1: hierarchical abstraction (bottom-up)
#
# How an image becomes $z_1$, a 7 × 7 grid of codes, and $z_2$, its class. Each row is one test image: its pixels, the
# map of its codes (darker where a code paints more), the probability of each concept (the true one in orange), and what
# the codes alone paint again.

# %%
measured = measure(model, train, test, judge)
bottom_up = measured.abstraction
figures(bottom_up, "abstraction")

# %% [markdown]
# The codebook: what each code was seen on, and what it paints.

# %%
figures(bottom_up, "abstraction-atlas")

# %% [markdown]
# ## Experiment 2: concept-conditional generation (top-down)
#
# *One concept, many instances.* $z_2$ is fixed, $z_1$ is drawn from $p(z_1 \mid z_2)$, and painted: the concept says
# **what**, the codes say **how**. These are the first samples drawn; none was rejected.

# %%
top_down = measured.instantiation(measured.quality)
figures(top_down, "instantiation-strip", "instantiation")

# %% [markdown]
# A half may be given, too: the upper codes of an image are kept, and the lower ones drawn anew.

# %%
figures(top_down, "instantiation-completion")

# %% [markdown]
# ## Experiment 3: local and global perturbation
#
# *Renormalization compresses, and keeps space.* One cell of $z_1$ is given another code: only its place changes. Then
# the concept is exchanged: everything changes.

# %%
perturbed = locality(model, test, judge, count=64, concepts=500)
figures(perturbed, "locality", "locality-map")

# %% [markdown]
# For every cell, in its place, the mean change of the whole image when that cell is changed:

# %%
figures(perturbed, "locality-atlas")

# %% [markdown]
# ## Do the claims hold?
#
# A picture may be luck. Each claim is a hypothesis: measures with 95 % intervals, held against limits that were fixed
# before any result was seen, and controls that lack what the claim is about and must fail.

# %%
claims = [*decisions(measured), *control_decisions(measured, train)]
figures(measured.levels)

# %% [markdown]
# On the way up, the class survives (orange) while the pixels' details are let go (blue): that is the renormalization.

# %%
verdicts(claims)
