"""Results of a model's methods, with their shapes and units."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.runtime.brief import Brief


@dataclass(frozen=True, kw_only=True, repr=False)
class Inference(Brief):
    """Bottom-up: the most probable codes of every level, the concept's distribution, the reconstruction.

    `codes[ℓ−1]` is z_ℓ for the levels below the concept, finest first; `concept` holds probabilities;
    `reconstruction` is decoded from the hard `z1`, in [0, 1].
    """

    codes: tuple[Int64[Tensor, "n _ _"], ...]
    concept: Float[Tensor, "n classes"]
    reconstruction: Float[Tensor, "n channels rows columns"]

    @property
    def z1(self) -> Int64[Tensor, "n height width"]:
        """The finest codes."""
        return self.codes[0]

    def map(self, change: Callable[[Tensor], Tensor]) -> "Inference":
        """Return the result with every tensor changed in the same way, such as moved or indexed by images."""
        codes = tuple(map(change, self.codes))
        return Inference(codes=codes, concept=change(self.concept), reconstruction=change(self.reconstruction))


@dataclass(frozen=True, kw_only=True, repr=False)
class Samples(Brief):
    """Top-down: images in [0, 1] with the concept and the codes they were sampled from."""

    images: Float[Tensor, "n channels rows columns"]
    concept: Int64[Tensor, " n"]
    codes: tuple[Int64[Tensor, "n _ _"], ...]

    @property
    def z1(self) -> Int64[Tensor, "n height width"]:
        """The finest codes."""
        return self.codes[0]


@dataclass(frozen=True, kw_only=True, repr=False)
class FreeEnergy(Brief):
    """F(x) and its terms, in nats per image; lower is better, and −F is the ELBO.

    `distortion_nats` is −log p(x | z_1). `rate_nats[:, ℓ−1]` is level ℓ's log q(z_ℓ | z_{ℓ−1}) − log p(z_ℓ | z_{ℓ+1}),
    the top's in closed form. Their sum is an unbiased one-sample estimate of an upper bound on −log p(x); with
    labels given, on −log p(x, y).
    """

    distortion_nats: Float[Tensor, " n"]
    rate_nats: Float[Tensor, "n levels"]

    @property
    def total_nats(self) -> Float[Tensor, " n"]:
        """F(x) in nats per image."""
        return self.distortion_nats + self.rate_nats.sum(dim=1)


def concatenate(parts: list[Inference]) -> Inference:
    """Return one result from the results of consecutive batches."""
    return Inference(
        codes=tuple(torch.cat(level) for level in zip(*(part.codes for part in parts), strict=True)),
        concept=torch.cat([part.concept for part in parts]),
        reconstruction=torch.cat([part.reconstruction for part in parts]),
    )
