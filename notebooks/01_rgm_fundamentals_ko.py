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
# # RGM의 기초: 그림과 수치로 보는 재규격화
#
# **재규격화 생성 모델(Renormalizing Generative Model)** 은 이미지를 단계적으로 인코딩합니다. 픽셀은 이산 잠재 *코드* $z_1$ 의
# 격자로, 코드는 하나의 *개념* $z_2$, 즉 숫자로 인코딩됩니다. 같은 모델이 하향식으로 개념에서 코드를, 코드에서 이미지를
# 생성합니다.
#
# $$p(x, z) = p(z_2) \, p(z_1 \mid z_2) \, p(x \mid z_1)$$
#
# 가설은 이렇습니다. 세상은 계층적이며, 국소적인 세부 사항은 상위 수준에서 추상적인 개념으로 통합(재규격화)된다.
#
# 이 노트북은 세 가지 주장을 하나씩 그림으로 보이고 측정합니다.
#
# 1. **추상화(Abstraction)**: 픽셀 → 국소 특징 $z_1$ → 전역 개념 $z_2$. 단계마다 정보를 압축하고 중요한 것을 남깁니다.
# 2. **구체화(Instantiation)**: 하나의 개념에 일관된 여러 사례가 있습니다.
# 3. **국소성(Locality)**: $z_1$ 의 한 칸을 바꾸면 이미지의 그 자리만, 개념을 바꾸면 이미지 전체가 변합니다.

# %% [markdown]
# ## 데이터와 모델
#
# MNIST를 쓸 수 있으면 MNIST를, 없으면 scikit-learn에 들어 있는 작은 숫자 이미지를 씁니다. 프리셋 `standard` 는 코어 두
# 개로 3~4분이면 학습됩니다(작은 숫자는 30초). `SpatialRGM(latent_dim=32, num_classes=10)` 은 가장 단순한 신경망이고,
# `SpatialRGM.from_pretrained("mnist")` 를 쓰면 학습을 건너뛸 수 있습니다.

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
# ## 실험 1: 계층적 추상화 (상향식)
#
# 이미지가 어떻게 7 × 7 코드 격자 $z_1$ 과 클래스 $z_2$ 로 인코딩되는지 봅니다. 한 줄이 테스트 이미지 하나입니다. 픽셀,
# 코드 격자(획이 많은 코드일수록 어둡게), 각 개념의 확률(정답은 주황색), 그리고 코드만으로 디코딩한 이미지입니다.

# %%
measured = measure(model, train, test, judge)
bottom_up = measured.abstraction
figures(bottom_up, "abstraction")

# %% [markdown]
# 코드북: 코드마다, 그 코드가 할당된 패치의 평균과 그 코드를 디코딩한 패치.

# %%
figures(bottom_up, "abstraction-atlas")

# %% [markdown]
# ## 실험 2: 개념 조건부 생성 (하향식)
#
# *개념은 하나지만, 표현은 다양하다.* $z_2$ 를 고정하고 $p(z_1 \mid z_2)$ 에서 $z_1$ 을 뽑아 디코딩합니다. 개념은
# **무엇을**, 코드는 **어떻게** 나타낼지를 정합니다. 처음 뽑은 표본 그대로이며, 버린 것은 없습니다.

# %%
top_down = measured.instantiation(measured.quality)
figures(top_down, "instantiation-strip", "instantiation")

# %% [markdown]
# 이미지의 일부를 줄 수도 있습니다. 위쪽의 코드는 그대로 두고, 아래쪽을 다시 표집합니다.

# %%
figures(top_down, "instantiation-completion")

# %% [markdown]
# ## 실험 3: 국소적 변화와 전역적 변화
#
# *재규격화는 공간 정보를 보존하면서 압축한다.* $z_1$ 의 한 칸에 다른 코드를 주면 그 자리만 변합니다. 그다음 개념을 바꾸면
# 전체가 변합니다.

# %%
perturbed = locality(model, test, judge, count=64, concepts=500)
figures(perturbed, "locality", "locality-map")

# %% [markdown]
# 각 칸의 자리마다, 그 칸을 바꿨을 때 이미지 전체의 평균 변화:

# %%
figures(perturbed, "locality-atlas")

# %% [markdown]
# ## 주장은 성립하는가?
#
# 그림 한 장은 우연일 수 있습니다. 그래서 각 주장은 가설입니다. 95 % 구간이 있는 측정값을, 결과를 보기 전에 정해 둔 기준과
# 비교합니다. 주장의 핵심이 빠진 대조군은 반드시 실패해야 합니다.

# %%
claims = [*decisions(measured), *control_decisions(measured, train)]
figures(measured.levels)

# %% [markdown]
# 단계가 올라갈수록 클래스 정보(주황)는 남고 픽셀의 세부(파랑)는 버려집니다. 이것이 재규격화입니다.

# %%
verdicts(claims)
