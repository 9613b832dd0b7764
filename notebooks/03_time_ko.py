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
# # 시간: 기억하고, 채우고, 예측하는 영상
#
# 영상의 재규격화 생성 모델은 공간*과* 시간에 이산 상태를 둡니다. 픽셀의 블록, 더 많은 프레임에 걸친 블록의 블록, 그리고
# 맨 위에는 *사건(event)* 의 사슬이 있습니다. `TemporalRGM` 이 그 모델입니다. 이 노트북은 그 자리에서 만든 영상으로 두 가지
# 동역학을 보입니다.
#
# 1. **기억(memory)**: 처음 나타난 순서대로의 상태. 한 번 본 영상을 오류 없이 회상하고, 이어 가고, 완성하며, 증거(evidence)는
#    정확합니다.
# 2. **경로(path)**: 픽셀이 움직이는 국소 규칙. 본 적 없는 영상을 예측합니다.

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
# ## 영상의 기억
#
# 영상에는 튀는 공 두 개가 있고, 마지막 프레임 다음에 첫 프레임이 옵니다. `fit` 은 영상을 한 번 봅니다.

# %%
model = TemporalRGM.from_preset("film-memory")
fitted = rgm.fit(model, balls, recipe=MemoryRecipe(closed=True))
print(f"learned in {fitted.elapsed_s:.2f} s")
for number, level in enumerate(model.config.levels, start=1):
    grid = " × ".join(map(str, level.grid))
    print(f"level {number}: {grid} cells over {level.span} frames, {level.states:,} states")

# %% [markdown]
# 맨 위의 사건 하나는 프레임 네 개를 나타냅니다. 같은 네 프레임을 각 수준에서, 그 수준의 상태가 끝나는 곳에서 잘라
# 보입니다.

# %%
shown(levels_figure(balls[:4] / 255, model.config.dynamics))

# %% [markdown]
# ## 회상과 이어 가기
#
# 여덟 프레임의 단서에서 모델은 영상의 어디인지 찾아 이어 갑니다. 여기서는 영상 길이의 열 배까지입니다.

# %%
after = model.predict(balls[300:308], 10 * len(balls)).frames[0, 8:]
film = (balls > 0).roll(-308, 0).repeat(10, 1, 1)
print(f"wrong pixels in {len(after):,} frames: {int(((after > 0.5) != film).sum())}")

# %% [markdown]
# ## 가려진 픽셀과 틀린 픽셀
#
# `mask` 는 픽셀이 보이는 곳에서 참입니다. 모든 프레임의 절반을 가리고, 보이는 픽셀 스무 개 중 하나를 뒤집습니다. 모델은
# 앞뒤로 보이는 것에서 나머지를 모두 추론합니다.

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
# ## 본 적 없는 영상
#
# 기억은 모르는 영상에는 쓸모가 없습니다. *경로* 는 모든 곳에서 통하는 규칙, 곧 각 픽셀이 이전 프레임의 어느 픽셀을
# 복사하는지입니다. 여기서는 같은 자리에 두 번 오지 않는 로렌츠 끌개 위의 공에서 경로를 배우고, 보지 않은 부분을 예측합니다.

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
# 경로 자체입니다. 각 사각형은 십자로 표시한 픽셀이 어디에서 복사되는지 보입니다.

# %%
shown(paths_figure(flow.dynamics))

# %% [markdown]
# ## 더 알아보기
#
# 셸에서도 같은 일을, 시간에 대한 주장과 대조군, 보고서까지 할 수 있습니다.
#
# ```bash
# rgm train --preset film-flow --data moving-mnist --out runs/moving
# rgm experiment time runs/moving --out runs/moving/time
# ```
#
# 직접 만든 영상은 `.npz` 파일, GIF, 번호가 붙은 그림의 폴더, WAV 파일입니다. 수식과 본 적 없는 숫자에 대한 수치, 한계는
# `docs/time.md` 에 있습니다.
