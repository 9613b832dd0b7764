"""The interface of the leaves of a tree: images to symbols of groups, and symbols to images."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rgm.model.receptive import Box

Images = Float[Tensor, "n channels rows columns"]


class Leaves(nn.Module, ABC):
    """Symbols of a grid of groups: `variates` a group, each in one of `levels`."""

    grid: tuple[int, int]
    variates: int
    levels: int
    disjoint: bool = False
    """Whether groups decode to disjoint pixels."""

    def weights(self) -> Float[Tensor, " variates"]:
        """Return each variate's weight for inference of codes and the class."""
        return torch.ones(self.variates)

    def likelihood_weights(self) -> Float[Tensor, " variates"]:
        """Return each variate's weight in the probability of an image: 1, or 0 where it is not part of it."""
        return torch.ones(self.variates)

    def exists(self) -> Bool[Tensor, "groups variates"]:
        """Return which variates exist in each group."""
        return torch.ones(self.grid[0] * self.grid[1], self.variates, dtype=torch.bool)

    def fit(self, images: Images) -> None:
        """Fit the parameters of the symbols, if there are any."""

    @abstractmethod
    def read(self, images: Images) -> Float[Tensor, "groups n symbols"]:
        """Return the probability of every level but the first, for every variate of every group."""

    @abstractmethod
    def visible_symbols(self, visible: Bool[Tensor, "n rows columns"]) -> Float[Tensor, "groups n variates"]:
        """Return 1 for each variate that is determined by visible pixels, else 0; raise RGMError where none is."""

    @abstractmethod
    def appearance(
        self, shares: Float[Tensor, "groups states variates levels"]
    ) -> Float[Tensor, "groups states features"]:
        """Return the appearance of every state, as `decode` takes it."""

    @abstractmethod
    def decode(self, appearance: Float[Tensor, "groups n features"]) -> Images:
        """Return the mean images of groups of this appearance."""

    @abstractmethod
    def field(self, row: int, column: int) -> Box:
        """Return the pixels that a group can change."""
