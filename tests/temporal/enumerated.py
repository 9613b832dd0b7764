"""Memories small enough to enumerate: the whole joint over events and films in float64."""

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgm.temporal.config import MemoryConfig, TemporalConfig
from rgm.temporal.fitting import MemoryRecipe
from rgm.temporal.memory import Memory
from rgm.temporal.model import TemporalRGM
from rgm.training.fit import fit


def films(seed: int = 0, *, n: int = 2, time: int = 12, height: int = 3, width: int = 3) -> np.ndarray:
    """Return random black and white films."""
    return (np.random.default_rng(seed).random((n, time, height, width)) < 0.3).astype(np.uint8) * 255


def memory(frames: Any, *, doublings: int = 1, noise: float = 0.1, jump: float = 0.2, tones: int = 2) -> TemporalRGM:
    """Return a memory of films, in float64, with more noise than is usual."""
    height, width = frames.shape[2:4]
    config = TemporalConfig(
        image=(1, height, width), tones=tones, dynamics=MemoryConfig(doublings=doublings, noise=noise, jump=jump)
    )
    model = TemporalRGM(config)
    fit(model, frames, recipe=MemoryRecipe(), device="cpu")
    return model.double()


class Joint:
    """p(events, film) of every sequence of events of a memory."""

    def __init__(self, model: TemporalRGM, steps: int) -> None:
        dynamics = model.dynamics
        assert isinstance(dynamics, Memory)
        count, self.span = dynamics.events, dynamics.span
        self.tones, self.noise = model.config.tones, float(dynamics.noise)
        self.sequences = torch.tensor(list(itertools.product(range(count), repeat=steps)))
        chain = dynamics.chain()
        matrix = torch.zeros(count, count, dtype=torch.float64)
        for source, target, times in zip(chain.source, chain.target, chain.count, strict=True):
            matrix[source, target] += times
        total = matrix.sum(dim=1, keepdim=True)
        followed = (1 - chain.jump) * matrix / total.clamp_min(1) + chain.jump * chain.start
        self.matrix = torch.where(total > 0, followed, chain.start.expand_as(matrix))
        log = chain.start[self.sequences[:, 0]].log()
        for before, after in itertools.pairwise(self.sequences.T):
            log = log + self.matrix[before, after].log()
        self.log = log
        self.films = dynamics.films_of(self.sequences).flatten(2)  # (sequences, frames, pixels)

    def given(self, tones: Tensor, visible: Tensor) -> Tensor:
        """Return log p(events, visible tones) of every sequence, for one film (frames, pixels)."""
        same = self.films[:, : len(tones)] == tones
        hit, miss = (
            torch.tensor(p, dtype=torch.float64).log() for p in (1 - self.noise, self.noise / (self.tones - 1))
        )
        return self.log + (torch.where(same, hit, miss) * visible).sum(dim=(1, 2))
