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
# # Time: films that are remembered, filled in and predicted
#
# A renormalizing generative model of films has discrete states over space *and* time: blocks of pixels, blocks of blocks
# over more frames, and at the top a chain of *events*. `TemporalRGM` is that model. This notebook shows two kinds of
# dynamics on films that are made on the spot:
#
# 1. **Memory**: states in order of first appearance. A film that was seen once is recalled, continued and completed
#    without an error, and its evidence is exact.
# 2. **Paths**: local rules for how pixels move. They predict films that were never seen.

# %%
import torch

import rgm
from rgm import TemporalRGM, load_films
from rgm.report.films import levels_figure, paths_figure, strips_figure
from rgm.report.notebook import shown
from rgm.temporal.fitting import MemoryRecipe
from rgm.temporal.flow_learning import FlowRecipe

balls = load_films("balls", "train").frames[0]  # uint8 (1024, 24, 24)
print(f"{len(balls):,} frames of {balls.shape[1]} × {balls.shape[2]} pixels")

# %% [markdown]
# ## A memory of a film
#
# The film shows two balls that bounce; its last frame is followed by its first. `fit` sees it once.

# %%
model = TemporalRGM.from_preset("film-memory")
fitted = rgm.fit(model, balls, recipe=MemoryRecipe(closed=True))
print(f"learned in {fitted.elapsed_s:.2f} s")
for number, level in enumerate(model.config.levels, start=1):
    grid = " × ".join(map(str, level.grid))
    print(f"level {number}: {grid} cells over {level.span} frames, {level.states:,} states")

# %% [markdown]
# An event at the top stands for four frames. The same four frames at every level, cut where the states of that level
# end:

# %%
shown(levels_figure(balls[:4] / 255, model.config.dynamics))

# %% [markdown]
# ## Recall and continuation
#
# From a cue of eight frames the model finds where in the film it is, and goes on: here for ten times the length of the
# film.

# %%
after = model.predict(balls[300:308], 10 * len(balls)).frames[0, 8:]
film = (balls > 0).roll(-308, 0).repeat(10, 1, 1)
print(f"wrong pixels in {len(after):,} frames: {int(((after > 0.5) != film).sum())}")

# %% [markdown]
# ## Hidden and wrong pixels
#
# A `mask` is true where a pixel is visible. Half of every frame is hidden, and one in twenty of the visible pixels is
# flipped; the model infers all of them from what it can see, before and after.

# %%
generator = torch.Generator().manual_seed(0)
noisy = torch.where(torch.rand(balls.shape, generator=generator) < 0.05, 255 - balls, balls)[:200]
visible = torch.ones_like(noisy, dtype=torch.bool)
visible[:, :, :12] = False
restored = model.infer(noisy, visible).frames[0]
print(f"wrong pixels in {len(restored)} frames: {int(((restored > 0.5) != (balls[:200] > 0)).sum())}")
seen = torch.where(visible, noisy / 255, 0.5)
strips = torch.stack([balls[:200] / 255, seen, restored])[:, 20:32]
shown(strips_figure(strips, ["film", "seen", "restored"]))

# %% [markdown]
# ## Films that were never seen
#
# A memory is of no use for a film that it does not know. A *path* is a rule that holds at all places: which pixel of the
# last frame each pixel copies. Here paths are learned from a ball on a Lorenz attractor, which is never twice at the same
# place, and then predict a part of the film that they did not see.

# %%
lorenz = load_films("lorenz", "train").frames[0][:400]
known, unseen = lorenz[:300], lorenz[300:]
recipe = FlowRecipe(starts=1, trial=10, passes=12, own_paths=0)
flow = rgm.fit(TemporalRGM.from_preset("film-flow"), known, recipe=recipe).model
memory = rgm.fit(TemporalRGM.from_preset("film-memory"), known).model
for name, one in (("paths", flow), ("memory", memory)):
    print(f"{name}: {float(one.next_frames(unseen).marginal_nats.mean()):.4f} nats a pixel of the next frame")

# %%
ahead = flow.predict(unseen[:8], 8).frames[0]
repeat = torch.cat([unseen[:8], unseen[7:8].expand(8, -1, -1)]) / 255
strips = torch.stack([unseen[:16] / 255, ahead, repeat])[:, 4:16]
shown(strips_figure(strips, ["film", "predicted", "last frame repeated"]))

# %% [markdown]
# The paths themselves: each square shows from where a pixel, the cross, is copied.

# %%
shown(paths_figure(flow.dynamics))

# %% [markdown]
# ## Further
#
# The same from a shell, with the claims over time, their controls and a report:
#
# ```bash
# rgm train --preset film-flow --data moving-mnist --out runs/moving
# rgm experiment time runs/moving --out runs/moving/time
# ```
#
# Films of your own are `.npz` files, GIFs, folders of numbered pictures or WAV files. `docs/time.md` has the equations,
# the figures on unseen digits, and the limits.
