"""The interface of every dynamics: what a temporal model asks of its memory, its latent events or its flow."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from rgm.temporal.results import NextFrames

Tones = UInt8[Tensor, "_ _ channels height width"]
Visible = Bool[Tensor, "_ _ channels height width"]
Expected = Float[Tensor, "_ _ channels height width"]
"""Expected tones, 0 … tones − 1."""


class Dynamics(nn.Module, ABC):
    """p(film): films are tones of every channel and pixel, of which those that `visible` marks are observed."""

    @abstractmethod
    def log_prob(self, tones: Tones, visible: Visible) -> Float[Tensor, " n"]:
        """Return log p(visible tones) in nats."""

    @abstractmethod
    def infer(
        self, tones: Tones, visible: Visible
    ) -> tuple[Expected, Int64[Tensor, "n steps"], Float[Tensor, "n steps events"], tuple[Tensor, ...], Tensor]:
        """Return expected tones, the most probable path, each step's events, levels' states, log p(visible)."""

    @abstractmethod
    def complete(self, tones: Tones, visible: Visible, generator: torch.Generator | None) -> Expected:
        """Return films drawn given the visible tones, which stay; hidden pixels are those of the drawn states."""

    @abstractmethod
    def predict(self, tones: Tones, visible: Visible, steps: int, generator: torch.Generator | None) -> Expected:
        """Return the `steps` frames that follow: expected ones, or with a generator those of a path drawn."""

    @abstractmethod
    def sample(
        self, count: int, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "n steps"]]:
        """Return films from nothing, with their path."""

    @abstractmethod
    def retold(self, tones: Tones) -> tuple[Float[Tensor, " n"], Expected]:
        """Return the bits that name each film's most probable path, and the frames that the path tells."""

    @abstractmethod
    def next_frames(self, tones: Tones) -> NextFrames:
        """Return how well each frame is predicted from those before it."""

    @abstractmethod
    def successors(self, tones: Tones, event: int) -> Float[Tensor, " events"]:
        """Return p(next event or path | the last one) of a film, (1, frames, …), that ends with an event or path."""

    @abstractmethod
    def continued(
        self, tones: Tones, event: int, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "1 steps"]]:
        """Return the `steps` frames after a film where an event or path follows, and then others drawn; their path."""
