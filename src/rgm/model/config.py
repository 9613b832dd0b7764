"""A model as data: its image, its levels, its decoder. Presets are functions that return one."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Discriminator

from rgm.errors import RGMError, unknown
from rgm.model.catalogue import PRESETS
from rgm.model.factorised import DensePrior
from rgm.model.likelihood import DecoderConfig, PatchDecoder, TransposedDecoder
from rgm.model.recognition import (
    ConvRecognition,
    DenseRecognition,
    Gumbel,
    PooledRecognition,
    RecognitionConfig,
    Shape,
    VectorQuantised,
)
from rgm.model.transformer import OrderedPrior

PriorConfig = Annotated[DensePrior | OrderedPrior, Discriminator("kind")]


@dataclass(frozen=True, kw_only=True)
class LevelConfig:
    """One level: its grid, its number of states, how it is read from beneath, and its prior given the level above.

    The top level has a grid of (1, 1), one state for each concept, and no prior: p(z_L) is uniform.
    """

    grid: tuple[int, int]
    states: int
    recognition: RecognitionConfig
    prior: PriorConfig | None

    @property
    def shape(self) -> Shape:
        """States, height and width of the level's field."""
        return (self.states, *self.grid)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A whole model. `image` is (channels, height, width); `sigma` the likelihood's standard deviation."""

    image: Shape
    levels: tuple[LevelConfig, ...]
    decoder: DecoderConfig
    sigma: float

    def __post_init__(self) -> None:
        """Raise RGMError for levels that make no model."""
        if len(self.levels) < 2:
            raise RGMError(
                f"a model needs at least two levels, but the configuration lists {len(self.levels)}"
            )
        if self.image[0] not in (1, 3):
            raise RGMError(f"images have 1 or 3 channels, but the configuration says {self.image[0]}")
        for number, level in enumerate(self.levels, start=1):
            if level.states < 2:
                raise RGMError(
                    f"level {number} needs at least 2 states, but the configuration says {level.states}"
                )
            if (level.prior is None) != (number == len(self.levels)):
                raise RGMError(
                    f"every level but the top has a prior, and the top has none: mend level {number}"
                )
        if self.levels[-1].grid != (1, 1):
            raise RGMError(
                f"the top level is one concept, a grid of (1, 1), but it is {self.levels[-1].grid}"
            )
        for lower, upper in zip(self.levels, self.levels[1:], strict=False):
            if upper.grid[0] > lower.grid[0] or upper.grid[1] > lower.grid[1]:
                raise RGMError(f"a parent's grid of {upper.grid} is larger than its child's {lower.grid}")


def seed(image: Shape = (1, 28, 28), classes: int = 10, *, states: int = 32) -> ModelConfig:
    """Return the notebook's network: 274,571 parameters on 28 × 28 grey images and 10 classes."""
    gumbel = Gumbel(temperature=1.0)
    z1 = LevelConfig(
        grid=_quarter(image),
        states=states,
        recognition=ConvRecognition(widths=(32, 64), estimator=gumbel),
        prior=DensePrior(width=64),
    )
    concept = LevelConfig(
        grid=(1, 1), states=classes, recognition=DenseRecognition(width=64, estimator=gumbel), prior=None
    )
    decoder = TransposedDecoder(width=64, widths=(32,))
    return ModelConfig(image=image, levels=(z1, concept), decoder=decoder, sigma=0.15)


def standard(image: Shape = (1, 28, 28), classes: int = 10) -> ModelConfig:
    """Return the default: a vector-quantised grid of 32 codes, each painting its own patch."""
    z1 = LevelConfig(
        grid=_quarter(image),
        states=32,
        recognition=ConvRecognition(widths=(32, 64), refine=1, estimator=VectorQuantised()),
        prior=OrderedPrior(),
    )
    concept = LevelConfig(
        grid=(1, 1),
        states=classes,
        recognition=PooledRecognition(width=96, convolutions=3, halvings=2, estimator=Gumbel()),
        prior=None,
    )
    return ModelConfig(image=image, levels=(z1, concept), decoder=PatchDecoder(width=64), sigma=0.08)


def _quarter(image: Shape) -> tuple[int, int]:
    _, height, width = image
    if height % 4 or width % 4:
        fits = (round(height / 4) * 4 or 4, round(width / 4) * 4 or 4)
        raise RGMError(
            f"the grid of codes is a quarter of the image's side, and {height} × {width} does not divide by 4: "
            f"resize to {fits[0]} × {fits[1]} (--size)"
        )
    return height // 4, width // 4


def preset(name: str, image: Shape, classes: int) -> ModelConfig:
    """Return the model of a named preset for images of a shape and a number of classes."""
    makers = {"standard": standard, "seed": seed}
    if name not in makers:
        raise unknown("preset", name, PRESETS)
    if classes < 2:
        raise RGMError(f"a concept needs at least 2 classes to choose from, but the data have {classes}")
    return makers[name](image, classes)
