"""Recognition q(z_ℓ | z_{ℓ−1}) of a level given the level below (z_0 is the image)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Discriminator, Field
from torch import Tensor, nn

from rgm.distributions.categorical import CategoricalField, Codes
from rgm.distributions.noise import Source
from rgm.errors import RGMError
from rgm.model.bounds import Layers, Size
from rgm.model.estimator import AutoregressiveHead, CodebookHead, Estimator, LogitsHead, VectorQuantised
from rgm.runtime.device import shapes_alone

Shape = tuple[Size, Size, Size]
"""Channels (or states), height and width of a field."""

Below = Float[Tensor, "batch below height_below width_below"]


@dataclass(frozen=True, kw_only=True)
class ConvRecognition:
    """Strided 4 × 4 convolutions, one per halving of the grid, `refine` 3 × 3 convolutions, and `residual` blocks.

    `patches`: the embedding of a cell starts as the pixels of its own patch, e = 2 (x − ½), and what the convolutions
    find is added to it. The nearest entry of a codebook is then at first the one with the least squared error.

    `autoregressive`: whether q(z_ℓ | z_{ℓ−1}) is a product over the cells in raster order, each given the codes of the
    cells before it (see `AutoregressiveHead`), in place of a product of independent cells; not for a codebook.
    """

    kind: Literal["conv"] = "conv"
    widths: Annotated[tuple[Size, ...], Field(min_length=1, max_length=16)]
    refine: Layers = 0
    residual: Layers = 0
    patches: bool = False
    autoregressive: bool = False
    estimator: Estimator


@dataclass(frozen=True, kw_only=True)
class DenseRecognition:
    """The notebook's `enc2`: one hidden layer on the flattened input.

    `convolutions`: the channels of 3 × 3 convolutions before it, without padding: each leaves a grid two cells smaller.
    """

    kind: Literal["dense"] = "dense"
    width: Size
    convolutions: Annotated[tuple[Size, ...], Field(max_length=16)] = ()
    estimator: Estimator


@dataclass(frozen=True, kw_only=True)
class PooledRecognition:
    """3 × 3 convolutions, `halvings` of them strided, the mean over the grid, one hidden layer: one variable.

    `patch`: the side of the patches that embeddings start as, an even number, or 0. Embeddings are then laid out as an
    image, and three convolutions at twice the grid's resolution come first, two of half the width and a strided one:
    what lies across the border of two cells is seen as what lies within one.
    """

    kind: Literal["pooled"] = "pooled"
    width: Size
    convolutions: Layers = 2
    halvings: Layers = 1
    patch: Layers = 0
    estimator: Estimator


RecognitionConfig = Annotated[ConvRecognition | DenseRecognition | PooledRecognition, Discriminator("kind")]


@dataclass(frozen=True)
class Relaxed:
    """A level in training: its field, a sample that carries gradient, and the estimator's own cost.

    `sample` is one-hot or relaxed, (batch, states, height, width); `cost` is a scalar, for a codebook alone.
    """

    field: CategoricalField
    sample: Float[Tensor, "batch states height width"]
    cost: Float[Tensor, ""] | None

    def first(self, count: int) -> "Relaxed":
        """Return the part of the batch's first `count` images; the cost stays that of all."""
        return Relaxed(field=CategoricalField(self.field.logits[:count]), sample=self.sample[:count], cost=self.cost)


class Recognition(nn.Module):
    """q(z_ℓ | z_{ℓ−1}): features of the level below, and a head that maps them to a categorical field."""

    def __init__(self, config: RecognitionConfig, below: Shape, above: Shape) -> None:
        super().__init__()
        self.below, self.above = below, above
        states, height, width = above
        outputs = config.estimator.dimension if isinstance(config.estimator, VectorQuantised) else states
        project: nn.Module
        match config:
            case ConvRecognition():
                self.features = _convolutions(config, below, above)
                project = (
                    _of_patches(config, below, outputs) if config.patches else nn.Conv2d(config.widths[-1], outputs, 1)
                )
            case DenseRecognition():
                self.features = _dense(config, below)
                project = nn.Linear(config.width, outputs * height * width)
                if isinstance(config.estimator, VectorQuantised):  # a codebook needs cells
                    project = nn.Sequential(project, nn.Unflatten(1, (outputs, height, width)))
            case PooledRecognition():
                self.features = _pooled(config, below)
                project = nn.Conv2d(config.width, outputs, 1)
        self.readout: Shape = (outputs, height, width)
        """Shape of the embedding that `read` returns."""
        self.head: LogitsHead | AutoregressiveHead | CodebookHead
        dependent = isinstance(config, ConvRecognition) and config.autoregressive
        if isinstance(config.estimator, VectorQuantised):
            if dependent:
                raise RGMError("a codebook's nearest entries are of independent cells: leave autoregressive out")
            self.head = CodebookHead(project, states, config.estimator)
        elif dependent:
            assert isinstance(project, nn.Conv2d)
            self.head = AutoregressiveHead(project, (height, width), config.estimator)
        else:
            self.head = LogitsHead(project, config.estimator)

    def field(self, below: Below) -> CategoricalField:
        """Return q(z_ℓ | z_{ℓ−1}); of an autoregressive one, each cell's given the most probable codes before it."""
        return self._field(self.head(self.features(below)))

    def draw(self, below: Below, generator: Source) -> tuple[CategoricalField, Codes]:
        """Return samples of q(z_ℓ | z_{ℓ−1}), and each cell's distribution given the samples of those before it."""
        if isinstance(self.head, AutoregressiveHead):
            logits, sample = self.head.draw(self.features(below), generator)
            return CategoricalField(logits), sample.argmax(dim=1)
        field = self.field(below)
        return field, field.sample(generator)

    def relax(self, below: Below, generator: Source) -> Relaxed:
        """Return q(z_ℓ | z_{ℓ−1}) with a sample for training; of an autoregressive one, given that sample."""
        logits, sample, cost = self.head.relax(self.features(below), generator)
        return Relaxed(field=self._field(logits), sample=sample.reshape(-1, *self.above), cost=cost)

    def read(self, z: Float[Tensor, "batch states h w"]) -> Float[Tensor, "batch readout h w"]:
        """Return the embedding of this level's codes that the level above and the decoder take."""
        return self.head.read(z)

    def hidden(self) -> list[nn.Parameter]:
        """Return the convolution kernels."""
        return [weight for weight in self.features.parameters() if weight.ndim == 4]

    def unsure(self, below: Bool[Tensor, "n height_below width_below"]) -> Bool[Tensor, "n height width"]:
        """Return the cells whose code can depend on any marked cell (or pixel) of the level below."""
        marked = below[:, None].float()
        for layer in flattened(self.features):
            if isinstance(layer, nn.Conv2d):
                assert not isinstance(layer.padding, str), "paddings are given in pixels"
                marked = F.max_pool2d(marked, layer.kernel_size, layer.stride, layer.padding)
            elif isinstance(layer, nn.PixelShuffle):
                marked = F.interpolate(marked, scale_factor=layer.upscale_factor, mode="nearest")
            elif isinstance(layer, nn.PixelUnshuffle):
                marked = F.max_pool2d(marked, layer.downscale_factor)
            elif not isinstance(layer, nn.ReLU):
                marked = marked.amax(dim=(1, 2, 3), keepdim=True)
        found = (marked[:, 0] > 0).expand(-1, *self.above[1:])
        if isinstance(self.head, AutoregressiveHead):  # all cells from the first marked one on
            found = found.flatten(1).cummax(dim=1).values.view_as(found)
        return found

    def _field(self, logits: Tensor) -> CategoricalField:
        return CategoricalField(logits.reshape(-1, *self.above))


def halvings(below: Shape, above: Shape) -> int:
    """Return how many times the grid is halved between two levels; raise RGMError for no whole number."""
    (_, height, width), (_, rows, columns) = below, above
    for count in range(max(height, width).bit_length()):
        if (rows << count, columns << count) == (height, width):
            return count
    fits = [f"{height // 2**n} × {width // 2**n}" for n in range(1, 8) if height % 2**n == 0 == width % 2**n]
    raise RGMError(
        f"a grid of {rows} × {columns} cannot be reached from {height} × {width} by halving: "
        f"possible are {', '.join(fits) or 'none, since a side is odd'}"
    )


def _convolutions(config: ConvRecognition, below: Shape, above: Shape) -> nn.Sequential:
    needed = halvings(below, above)
    if len(config.widths) != needed:
        raise RGMError(
            f"recognition from {below[1]} × {below[2]} to {above[1]} × {above[2]} halves the grid {needed} times "
            f"and needs as many widths, but has {len(config.widths)}"
        )
    last = config.widths[-1]
    layers = nn.Sequential(
        *convolutions(below[0], config.widths, 4, stride=2),
        *convolutions(last, [last] * config.refine, 3),
        *residual_blocks(last, config.residual),
    )
    return nn.Sequential(WithPatches(layers, 2**needed)) if config.patches else layers


def _of_patches(config: ConvRecognition, below: Shape, outputs: int) -> nn.Conv2d:
    """Return the map from features and patches to embeddings, which starts as 2 (x − ½) of the patches."""
    pixels = below[0] * 4 ** len(config.widths)
    if outputs != pixels:
        raise RGMError(
            f"embeddings that start as patches have as many dimensions as a patch has values, {pixels}, but the "
            f"estimator has {outputs}"
        )
    width = config.widths[-1]
    project = nn.Conv2d(width + pixels, outputs, 1)
    assert project.bias is not None
    if not shapes_alone():
        with torch.no_grad():
            project.weight.copy_(2 * torch.eye(outputs, width + pixels).roll(width, 1)[..., None, None])
            project.bias.fill_(-1.0)
    return project


def convolutions(
    channels: int, widths: Sequence[int], kernel: int, *, stride: int | tuple[int, int] = 1, padding: int | None = None
) -> list[nn.Module]:
    """Return a convolution and a ReLU for each width; a stride of 1 keeps the grid for odd kernels, one of 2 halves it.

    `channels` are those of the input; `padding` is (kernel − 1) / 2, rounded down, if not given.
    """
    padding = (kernel - 1) // 2 if padding is None else padding
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(channels, width, kernel, stride=stride, padding=padding), nn.ReLU()]
        channels = width
    return layers


class Residual(nn.Module):
    """x + f(x), f a ReLU, a 3 × 3 convolution, a ReLU and a 1 × 1 convolution (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return x + f(x)."""
        return x + self.inner(x)


class WithPatches(nn.Module):
    """The outputs of layers, and beside them the pixels of each cell's own patch, `side` × `side`."""

    def __init__(self, inner: nn.Sequential, side: int) -> None:
        super().__init__()
        self.inner = inner
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Return the features with the patches appended to their channels."""
        return torch.cat([self.inner(x), F.pixel_unshuffle(x, self.side)], dim=1)


def residual_blocks(channels: int, count: int) -> list[nn.Module]:
    """Return `count` residual blocks and a final ReLU, or nothing."""
    return [*(Residual(channels) for _ in range(count)), nn.ReLU()] if count else []


def flattened(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """Return layers with those beside a shorter path in its place, whose receptive field is theirs."""
    found: list[nn.Module] = []
    for layer in layers:
        found += flattened(layer.inner) if isinstance(layer, Residual | WithPatches) else [layer]
    return found


def _dense(config: DenseRecognition, below: Shape) -> nn.Sequential:
    channels, height, width = below
    lost = 2 * len(config.convolutions)
    if min(height, width) <= lost:
        raise RGMError(
            f"{len(config.convolutions)} convolutions of 3 × 3 cells without padding need a grid of more than {lost} "
            f"cells a side, but there are {height} × {width}"
        )
    layers = convolutions(channels, config.convolutions, 3, padding=0)
    size = (channels, *config.convolutions)[-1] * (height - lost) * (width - lost)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(size, config.width), nn.ReLU())


def _pooled(config: PooledRecognition, below: Shape) -> nn.Sequential:
    strided = min(config.halvings, config.convolutions)
    plain, width, (channels, *sides) = config.convolutions - strided, config.width, below
    first: list[nn.Module] = []
    if side := config.patch:
        if side % 2 or channels % side**2:
            raise RGMError(
                f"embeddings of {channels} dimensions cannot be laid out as patches of {side} × {side} pixels: "
                "the side must be even, and the dimensions a multiple of its square"
            )
        half = max(1, width // 2)
        first = [nn.PixelShuffle(side), nn.PixelUnshuffle(side // 2)]
        first += convolutions(channels // 4, [half, half], 3) + convolutions(half, [width], 3, stride=2)
        channels = width
    halving: list[nn.Module] = []
    for _ in range(strided):
        # A side of 1 is left by a stride of 1 as by one of 2, whose gradient in bfloat16 is not all written (oneDNN).
        before = width if plain or halving else channels
        halving += convolutions(before, [width], 3, stride=(2 if sides[0] > 1 else 1, 2 if sides[1] > 1 else 1))
        sides = [(side + 1) // 2 for side in sides]
    return nn.Sequential(
        *first,
        *convolutions(channels, [width] * plain, 3),
        *halving,
        nn.AdaptiveAvgPool2d(1),
        *convolutions(width if config.convolutions else channels, [width], 1),
    )
