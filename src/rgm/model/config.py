"""Configuration of a model: its image, its levels, its decoder. Presets are functions that return one."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Discriminator, Field

from rgm.errors import RGMError
from rgm.model.bounds import MOST_STATES, as_classes, as_shape
from rgm.model.decoder import BlendedDecoder, DecoderConfig, PatchDecoder, TransposedDecoder
from rgm.model.estimator import Gumbel, StraightThrough, VectorQuantised, named_estimator
from rgm.model.factorised import DensePrior, LocalPrior
from rgm.model.likelihood import Bernoulli, Gaussian, PixelConfig
from rgm.model.recognition import ConvRecognition, DenseRecognition, PooledRecognition, RecognitionConfig, Shape
from rgm.model.stored import Configuration, Level
from rgm.model.transformer import OrderedPrior
from rgm.presets import preset_of
from rgm.runtime.seeds import whole

PriorConfig = Annotated[DensePrior | LocalPrior | OrderedPrior, Discriminator("kind")]


@dataclass(frozen=True, kw_only=True)
class LevelConfig(Level):
    """A level with its recognition from the level below and its prior given the level above.

    The top level has a grid of (1, 1), one state for each concept, and no prior: p(z_L) is uniform.
    """

    recognition: RecognitionConfig
    prior: PriorConfig | None

    def __post_init__(self) -> None:
        """Raise RGMError for a number of states out of range."""
        object.__setattr__(self, "states", whole(self.states, "the number of a level's states", 2, MOST_STATES))


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Configuration):
    """A whole model. `image` is (channels, height, width); `pixels` is the distribution of a pixel."""

    image: Shape
    levels: Annotated[tuple[LevelConfig, ...], Field(max_length=16)]
    decoder: DecoderConfig
    pixels: PixelConfig

    def __post_init__(self) -> None:
        """Raise RGMError for levels that do not form a model."""
        if len(self.levels) < 2:
            raise RGMError(f"a model needs at least two levels, but the configuration lists {len(self.levels)}")
        if self.image[0] not in (1, 3):
            raise RGMError(f"images have 1 or 3 channels, but the configuration has {self.image[0]}")
        for number, level in enumerate(self.levels, start=1):
            if (level.prior is None) != (number == len(self.levels)):
                raise RGMError(f"every level but the top has a prior, and the top has none: fix level {number}")
        if self.levels[-1].grid != (1, 1):
            raise RGMError(f"the top level is one concept, a grid of (1, 1), but it is {self.levels[-1].grid}")
        self.check_grids()


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
    return ModelConfig(image=image, levels=(z1, concept), decoder=decoder, pixels=Gaussian(sigma=0.15))


def standard(image: Shape = (1, 28, 28), classes: int = 10) -> ModelConfig:
    """Return the default: a vector-quantised grid with 64 codes, each decoded to its own patch."""
    patch = VectorQuantised(dimension=16 * image[0])
    z1 = LevelConfig(
        grid=_quarter(image),
        states=64,
        recognition=ConvRecognition(widths=(32, 64), refine=1, patches=True, estimator=patch),
        prior=OrderedPrior(raster=0.9),
    )
    return ModelConfig(
        image=image, levels=(z1, _concept(classes)), decoder=PatchDecoder(width=64), pixels=Gaussian(sigma=0.08)
    )


def quick(image: Shape = (1, 28, 28), classes: int = 10) -> ModelConfig:
    """Return `standard` with a smaller encoder and prior, and one convolution and one hidden layer to the concept."""
    config = standard(image, classes)
    grid, concept = config.levels
    widths = (32,) if min(grid.grid) > 2 else ()
    recognition = ConvRecognition(widths=(16, 64), patches=True, estimator=grid.recognition.estimator)
    levels = (
        replace(grid, recognition=recognition, prior=OrderedPrior(width=64, layers=2)),
        replace(concept, recognition=DenseRecognition(width=128, convolutions=widths, estimator=Gumbel())),
    )
    return replace(config, levels=levels)


def pretrained(image: Shape = (1, 28, 28), classes: int = 10) -> ModelConfig:
    """Return `standard` with a deeper encoder, a larger prior, and a decoder that reaches half a patch further."""
    config = standard(image, classes)
    grid, concept = config.levels
    patch = grid.recognition.estimator
    recognition = ConvRecognition(widths=(32, 64), refine=2, patches=True, estimator=patch)
    prior = OrderedPrior(width=128, layers=4, raster=0.9, poses=True)
    levels = (replace(grid, recognition=recognition, prior=prior), concept)
    return replace(config, levels=levels, decoder=BlendedDecoder(width=192))


def likelihood(image: Shape = (1, 28, 28), classes: int = 10) -> ModelConfig:
    """Return the model for the bound: binary pixels, codes sampled from q, a prior in raster order alone."""
    config = standard(image, classes)
    grid, concept = config.levels
    recognition = ConvRecognition(widths=(32, 128), residual=2, autoregressive=True, estimator=StraightThrough())
    prior = OrderedPrior(width=128, layers=2, raster=1.0)
    levels = (replace(grid, states=128, recognition=recognition, prior=prior), concept)
    return replace(config, levels=levels, decoder=PatchDecoder(width=192, residual=3, hidden=0), pixels=Bernoulli())


def pyramid(image: Shape, classes: int, *, states: tuple[int, ...], sigma: float) -> ModelConfig:
    """Return a model with one grid for each of `states`, each half the side of the grid below it, and a concept.

    The finest grid has a quarter of the image's side, or half of it where a quarter cannot be halved often enough.
    Grids have local priors; the coarsest is autoregressive, conditioned on the concept.
    """
    _, height, width = image
    grids = len(states)
    first = 4 if all(side % (4 * 2 ** (grids - 1)) == 0 for side in (height, width)) else 2
    coarsest = first * 2 ** (grids - 1)
    if height % coarsest or width % coarsest:
        raise _fits(image, coarsest)
    levels = []
    for number, count in enumerate(states):
        cell = first * 2**number
        widths = (32, 64)[-(first // 2) :] if number == 0 else (64,)
        levels.append(
            LevelConfig(
                grid=(height // cell, width // cell),
                states=count,
                recognition=ConvRecognition(widths=widths, refine=1, estimator=VectorQuantised()),
                prior=LocalPrior(decoder=PatchDecoder(width=64)) if number < grids - 1 else OrderedPrior(),
            )
        )
    return ModelConfig(
        image=image, levels=(*levels, _concept(classes)), decoder=PatchDecoder(width=64), pixels=Gaussian(sigma=sigma)
    )


def three_level(image: Shape = (1, 28, 28), classes: int = 10) -> ModelConfig:
    """Return two grids and a concept: on 28 × 28 images 14 × 14 cells, 7 × 7 cells, one digit."""
    return pyramid(image, classes, states=(16, 128), sigma=0.08)


def colour32(image: Shape = (3, 32, 32), classes: int = 10) -> ModelConfig:
    """Return a grid of 8 × 8 cells with 512 codes for 32 × 32 pixels, and a concept; a prior with guidance.

    Embeddings start as patches. Guidance is stronger for images in colour, whose classes are harder to tell.
    """
    patch = VectorQuantised(dimension=16 * image[0])
    z1 = LevelConfig(
        grid=_quarter(image),
        states=512,
        recognition=ConvRecognition(widths=(48, 96), residual=1, patches=True, estimator=patch),
        prior=OrderedPrior(width=128, layers=4, raster=0.9, guidance=3.0 if image[0] == 3 else 0.7),
    )
    recognition = PooledRecognition(width=128, convolutions=4, halvings=2, estimator=Gumbel())
    concept = LevelConfig(grid=(1, 1), states=classes, recognition=recognition, prior=None)
    decoder = PatchDecoder(width=128, hidden=2)
    return ModelConfig(image=image, levels=(z1, concept), decoder=decoder, pixels=Gaussian(sigma=0.08))


def colour32_large(image: Shape = (3, 32, 32), classes: int = 10) -> ModelConfig:
    """Return `colour32` with 1,024 codes, a deeper prior, and a concept read at twice the grid's resolution.

    Its prior is meant to be trained for longer, and needs less guidance.
    """
    config = colour32(image, classes)
    grid, concept = config.levels
    recognition = PooledRecognition(width=96, convolutions=3, halvings=2, patch=4, estimator=Gumbel())
    prior = OrderedPrior(width=128, layers=5, raster=0.9, guidance=1.0 if image[0] == 3 else 0.5)
    levels = (replace(grid, states=1024, prior=prior), replace(concept, recognition=recognition))
    return replace(config, levels=levels)


def colour64(image: Shape = (3, 64, 64), classes: int = 10) -> ModelConfig:
    """Return `colour32` with a grid of 16 × 16 cells for 64 × 64 pixels, and a concept that sees twice as far."""
    config = colour32(image, classes)
    grid, concept = config.levels
    recognition = PooledRecognition(width=128, convolutions=5, halvings=3, estimator=Gumbel())
    return replace(config, levels=(grid, replace(concept, recognition=recognition)))


def _estimated(grid: LevelConfig, name: str) -> LevelConfig:
    """Return a grid with the estimator of that name: as it is where it has it; only a codebook starts from patches."""
    chosen, recognition = named_estimator(name), grid.recognition
    if recognition.estimator.kind == chosen.kind:
        return grid
    if isinstance(recognition, ConvRecognition):
        sampled = recognition.autoregressive and not isinstance(chosen, VectorQuantised)
        recognition = replace(recognition, patches=False, autoregressive=sampled)
    return replace(grid, recognition=replace(recognition, estimator=chosen))


def _concept(classes: int) -> LevelConfig:
    """Return the top level: one variable, inferred by convolutions and a mean over the grid below."""
    recognition = PooledRecognition(width=96, convolutions=3, halvings=2, estimator=Gumbel())
    return LevelConfig(grid=(1, 1), states=classes, recognition=recognition, prior=None)


def _quarter(image: Shape) -> tuple[int, int]:
    _, height, width = image
    if height % 4 or width % 4:
        raise _fits(image, 4)
    return height // 4, width // 4


def _fits(image: Shape, cell: int) -> RGMError:
    """Return the error for an image that the coarsest grid's cells do not tile."""
    _, height, width = image
    near = [max(1, round(side / cell)) * cell for side in (height, width)]
    return RGMError(
        f"the coarsest grid has cells of {cell} × {cell} pixels, and {height} × {width} does not divide by {cell}: "
        f"resize to {near[0]} × {near[1]} (--size)"
    )


def preset(
    name: str,
    image: Shape,
    classes: int,
    *,
    binarise: Literal["dynamic", "fixed", "none"] | None = None,
    estimator: str | None = None,
) -> ModelConfig:
    """Return the model of a named preset for images of a shape and a number of classes.

    `binarise` overrides that of a preset with Bernoulli pixels; `estimator`, by name, that of every grid. Raises
    RGMError for an invalid combination.
    """
    maker = preset_of(name, "network").make_model()
    config: ModelConfig = maker(as_shape(image), as_classes(classes))
    if estimator is not None:
        *grids, concept = config.levels  # the concept keeps its own
        config = replace(config, levels=(*(_estimated(grid, estimator) for grid in grids), concept))
    if binarise is None:
        return config
    if not isinstance(config.pixels, Bernoulli):
        raise RGMError(
            f"--binarise is for binary pixels, but the preset {name} has Gaussian ones: "
            "leave it out, or use the preset likelihood"
        )
    return replace(config, pixels=Bernoulli(binarise=binarise))
