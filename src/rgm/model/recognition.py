"""Recognition q(z_ℓ | z_{ℓ−1}): how a level is read from the one beneath it (z_0 is the image)."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Discriminator
from torch import Tensor, nn

from rgm.categorical import CategoricalField, gumbel_softmax, hard_argmax
from rgm.errors import RGMError

Shape = tuple[int, int, int]
"""Channels (or states), height and width of a field."""

Below = Float[Tensor, "batch below height_below width_below"]


@dataclass(frozen=True, kw_only=True)
class Gumbel:
    """Gumbel-Softmax samples of the logits at a fixed temperature (Jang, Gu and Poole 2017)."""

    kind: Literal["gumbel"] = "gumbel"
    temperature: float = 1.0


@dataclass(frozen=True, kw_only=True)
class VectorQuantised:
    """Nearest entry of a learned codebook (van den Oord et al. 2017).

    `q(z = k | x) = softmax_k(−sharpness · ‖e(x) − c_k‖²)`; training uses its mode, with the straight-through
    gradient to e. `commitment` weighs ‖e − sg c‖² against the codebook's own ‖sg e − c‖².
    """

    kind: Literal["vector-quantised"] = "vector-quantised"
    dimension: int = 16
    commitment: float = 0.25
    sharpness: float = 4.0


Estimator = Annotated[Gumbel | VectorQuantised, Discriminator("kind")]


@dataclass(frozen=True, kw_only=True)
class ConvRecognition:
    """Strided 4 × 4 convolutions, one per halving of the grid, then `refine` 3 × 3 convolutions."""

    kind: Literal["conv"] = "conv"
    widths: tuple[int, ...]
    refine: int = 0
    estimator: Estimator


@dataclass(frozen=True, kw_only=True)
class DenseRecognition:
    """The notebook's `enc2`: everything flattened, one hidden layer."""

    kind: Literal["dense"] = "dense"
    width: int
    estimator: Estimator


@dataclass(frozen=True, kw_only=True)
class PooledRecognition:
    """3 × 3 convolutions, `halvings` of them strided, the mean over the grid, one hidden layer: one variable."""

    kind: Literal["pooled"] = "pooled"
    width: int
    convolutions: int = 2
    halvings: int = 1
    estimator: Estimator


RecognitionConfig = Annotated[ConvRecognition | DenseRecognition | PooledRecognition, Discriminator("kind")]


@dataclass(frozen=True)
class Relaxed:
    """What training sees of a level: the field, a sample that carries gradient, and the estimator's own cost.

    `sample` is one-hot or relaxed, (batch, states, height, width); `cost` is a scalar, zero for estimators
    without one.
    """

    field: CategoricalField
    sample: Float[Tensor, "batch states height width"]
    cost: Float[Tensor, ""]


_MEMORY = 0.99
"""Share of the running usage that a step keeps: a memory of about a hundred steps."""
_DEAD = 0.05
"""An entry with less than this share of its even share of cells is moved."""


class GumbelHead(nn.Module):
    """Logits by one linear map; relaxed samples in training, hard one-hot argmax in evaluation."""

    def __init__(self, project: nn.Module, config: Gumbel) -> None:
        super().__init__()
        self.project = project
        self.temperature = config.temperature

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.project(features)
        return logits

    def read(self, z: Tensor) -> Tensor:
        """Return the field as it is: without a codebook, the states are the channels."""
        return z

    def relax(
        self, features: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Float[Tensor, ""]]:
        """Return logits, a sample that carries gradient, and no cost."""
        logits = self(features)
        sample = (
            gumbel_softmax(logits, temperature=self.temperature, generator=generator)
            if self.training
            else hard_argmax(logits)
        )
        return logits, sample, logits.new_zeros(())


class CodebookHead(nn.Module):
    """An embedding e of every cell, and a codebook; the code is the nearest entry."""

    def __init__(self, project: nn.Module, states: int, config: VectorQuantised) -> None:
        super().__init__()
        self.project = project
        self.codebook = nn.Parameter(0.5 * torch.randn(states, config.dimension))
        self.usage: Tensor
        self.register_buffer("usage", torch.ones(states))
        self.commitment = config.commitment
        self.sharpness = config.sharpness

    def forward(self, features: Tensor) -> Tensor:
        """Return logits −sharpness · ‖e − c_k‖²."""
        return self._logits(self.project(features))

    def read(self, z: Tensor) -> Tensor:
        """Return the codebook's entries that a one-hot or relaxed field names, (batch, dimension, h, w)."""
        return torch.einsum("bkhw,kd->bdhw", z, self.codebook)

    def relax(
        self, features: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Float[Tensor, ""]]:
        """Return logits, the one-hot code with a straight-through gradient to e, and the codebook's cost.

        The sample is one-hot plus `(e − sg e) C⁺`, which is zero in value. `read` takes it back to
        `c_k + (e − sg e)`: exactly the straight-through estimator of van den Oord et al. (2017), section 3.2,
        while a level's sample stays a one-hot field for whoever else looks at it.
        """
        e = self.project(features)
        if self.training:
            self._revive(e.detach(), generator)
        logits = self._logits(e)
        hard = hard_argmax(logits)
        nearest = self.read(hard)
        cost = F.mse_loss(nearest, e.detach()) + self.commitment * F.mse_loss(e, nearest.detach())
        # C⁺ by the normal equations, a little ridge keeping them solvable; far cheaper than a decomposition.
        c = self.codebook.detach()
        gram = c.T @ c + 1e-6 * torch.eye(c.shape[1], device=c.device, dtype=c.dtype)
        inverse = torch.linalg.solve(gram, c.T)
        sample = hard + torch.einsum("bdhw,dk->bkhw", e - e.detach(), inverse)
        return logits, sample, cost

    @torch.no_grad()
    def _revive(self, e: Float[Tensor, "batch d h w"], generator: torch.Generator | None) -> None:
        """Move entries that are hardly ever nearest onto embeddings of this batch.

        `usage` is the running mean of each entry's share, times the number of entries: 1 where all are used alike.
        """
        flat = e.movedim(1, -1).flatten(0, 2)
        picked = torch.randint(len(flat), self.usage.shape, generator=generator, device=e.device)
        dead = self.usage < _DEAD
        self.codebook.copy_(torch.where(dead[:, None], flat[picked], self.codebook))
        counts = torch.bincount(self._logits(e).argmax(dim=1).flatten(), minlength=len(dead))
        share = counts * len(dead) / counts.sum()
        self.usage.copy_(torch.where(dead, 1.0, _MEMORY * self.usage + (1 - _MEMORY) * share))

    def _logits(self, e: Float[Tensor, "batch d h w"]) -> Float[Tensor, "batch states h w"]:
        cross = torch.einsum("bdhw,kd->bkhw", e, self.codebook)
        norms = self.codebook.square().sum(dim=1)[:, None, None]
        return -self.sharpness * (e.square().sum(dim=1, keepdim=True) - 2 * cross + norms)


class Recognition(nn.Module):
    """q(z_ℓ | z_{ℓ−1}): features of the level beneath, and a head that turns them into a categorical field."""

    def __init__(self, config: RecognitionConfig, below: Shape, above: Shape) -> None:
        super().__init__()
        self.below, self.above = below, above
        states, height, width = above
        outputs = config.estimator.dimension if isinstance(config.estimator, VectorQuantised) else states
        project: nn.Module
        match config:
            case ConvRecognition():
                self.features = _convolutions(config, below, above)
                project = nn.Conv2d(config.widths[-1], outputs, 1)
            case DenseRecognition():
                size = below[0] * below[1] * below[2]
                self.features = nn.Sequential(nn.Flatten(), nn.Linear(size, config.width), nn.ReLU())
                project = nn.Linear(config.width, outputs * height * width)
            case PooledRecognition():
                self.features = _pooled(config, below)
                project = nn.Conv2d(config.width, outputs, 1)
        self.readout: Shape = (outputs, height, width)
        """Shape of what `read` gives the level above and the decoder."""
        self.head: GumbelHead | CodebookHead
        match config.estimator:
            case Gumbel():
                self.head = GumbelHead(project, config.estimator)
            case VectorQuantised():
                self.head = CodebookHead(project, states, config.estimator)

    def field(self, below: Below) -> CategoricalField:
        """Return q(z_ℓ | z_{ℓ−1})."""
        return self._field(self.head(self.features(below)))

    def relax(self, below: Below, generator: torch.Generator | None) -> Relaxed:
        """Return q(z_ℓ | z_{ℓ−1}) with a sample for training."""
        logits, sample, cost = self.head.relax(self.features(below), generator)
        return Relaxed(field=self._field(logits), sample=sample.reshape(-1, *self.above), cost=cost)

    def read(self, z: Float[Tensor, "batch states h w"]) -> Float[Tensor, "batch readout h w"]:
        """Return what the level above and the decoder see of this level's codes."""
        return self.head.read(z)

    def unsure(self, below: Bool[Tensor, "n height_below width_below"]) -> Bool[Tensor, "n height width"]:
        """Return the cells whose code can depend on any of the cells (or pixels) marked beneath."""
        marked = below[:, None].float()
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                assert not isinstance(layer.padding, str), "paddings are given in pixels"
                marked = F.max_pool2d(marked, layer.kernel_size, layer.stride, layer.padding)
            elif not isinstance(layer, nn.ReLU):
                marked = marked.amax(dim=(1, 2, 3), keepdim=True)
        return (marked[:, 0] > 0).expand(-1, *self.above[1:])

    def _field(self, logits: Tensor) -> CategoricalField:
        return CategoricalField(logits.reshape(-1, *self.above))


def halvings(below: Shape, above: Shape) -> int:
    """Return how many times the grid is halved between two levels; raise RGMError where it is not whole."""
    count = 0
    _, height, width = below
    while (height, width) != above[1:]:
        if height % 2 or width % 2 or height <= above[1] or width <= above[2]:
            fits = [
                f"{below[1] // 2**n} × {below[2] // 2**n}"
                for n in range(1, 8)
                if below[1] % 2**n == 0 == below[2] % 2**n
            ]
            raise RGMError(
                f"a grid of {above[1]} × {above[2]} cannot be reached from {below[1]} × {below[2]} by halving: "
                f"what fits is {', '.join(fits) or 'nothing, since a side is odd'}"
            )
        height, width, count = height // 2, width // 2, count + 1
    return count


def _convolutions(config: ConvRecognition, below: Shape, above: Shape) -> nn.Sequential:
    needed = halvings(below, above)
    if len(config.widths) != needed:
        raise RGMError(
            f"recognition from {below[1]} × {below[2]} to {above[1]} × {above[2]} halves the grid {needed} times "
            f"and needs as many widths, but has {len(config.widths)}"
        )
    layers: list[nn.Module] = []
    channels = below[0]
    for width in config.widths:
        layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.ReLU()]
        channels = width
    for _ in range(config.refine):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def _pooled(config: PooledRecognition, below: Shape) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = below[0]
    for index in range(config.convolutions):
        stride = 2 if index >= config.convolutions - config.halvings else 1
        layers += [nn.Conv2d(channels, config.width, 3, stride=stride, padding=1), nn.ReLU()]
        channels = config.width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, config.width, 1), nn.ReLU()]
    return nn.Sequential(*layers)
