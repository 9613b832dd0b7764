"""Configuration of a counting model: its image, its symbols, its levels. Presets are functions that return one."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Discriminator, Field

from rgm.errors import RGMError
from rgm.model.bounds import Positive, Share, Size, as_classes, as_shape
from rgm.model.stored import Configuration, Level
from rgm.presets import preset_of

Shape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class PixelSymbols:
    """Cells of `side × side` binary pixels, and the oriented edges in them (`rgm.counting.edges`).

    Edges overlap several pixels each and are correlated with them: for inference of codes and class, the log-likelihood
    of a pixel is weighted by `pixel_weight`, that of an edge by `edge_weight` (a composite likelihood, Lindsay 1988).
    The probability of an image is that of its pixels alone, each of weight 1.
    """

    kind: Literal["pixels"] = "pixels"
    side: Size = 4
    pixel_weight: Positive = 0.25
    edge_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5


@dataclass(frozen=True, kw_only=True)
class RankedSymbols:
    """The paper's symbols: variates of ranked, overlapping patches, in seven levels (`rgm.counting.ranked`)."""

    kind: Literal["ranked"] = "ranked"


@dataclass(frozen=True, kw_only=True)
class PixelValues:
    """Every pixel of every channel as one of `values` grey values: 256 for 8-bit pixels, 2 for black and white.

    Cells of z_1 share the image evenly; its grid need not divide it (`rgm.counting.values`).
    """

    kind: Literal["values"] = "values"
    values: Annotated[int, Field(ge=2, le=256)] = 256


SymbolConfig = Annotated[PixelSymbols | RankedSymbols | PixelValues, Discriminator("kind")]
Structure = Literal["blocks", "chow-liu", "class-trees"]
"""How cells depend on each other: each on the nearest cell of the grid above, or z_1 as a tree of its own.

In a Chow–Liu tree (Chow and Liu 1968) a cell of z_1 depends on another cell of z_1 and on the root's state; the edges
are those of most mutual information, learned from the images: the same in all classes, or with `class-trees` of each
class its own. The levels are then z_1, the root and the concept.
"""


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """Pseudo-counts of the Dirichlet priors, and the share of outliers among symbols.

    With exemplars (`paper`) they are added to every count, `top` for a class's every root state. With
    expectation–maximisation, those of `symbols` and `links` are distributed in proportion to the marginals over all
    images, and `top` is added for each of a class's own root states.
    """

    symbols: Positive = 1.0
    links: Positive = 0.3
    top: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    outliers: Share = 1e-3


@dataclass(frozen=True, kw_only=True)
class CountingConfig(Configuration):
    """A whole model. `image` is (channels, height, width); the last two levels are the root and the concept."""

    kind: Literal["counting"] = "counting"
    image: Shape
    symbols: SymbolConfig
    levels: Annotated[tuple[Level, ...], Field(min_length=3, max_length=16)]
    smoothing: Smoothing = Smoothing()
    structure: Structure = "blocks"

    @property
    def is_forest(self) -> bool:
        """Whether the cells of z_1 form trees among themselves."""
        return self.structure != "blocks"

    def __post_init__(self) -> None:
        """Raise RGMError for levels that do not form a tree."""
        if len(self.levels) < 3:
            raise RGMError(f"a tree has groups, a root and a concept, but {len(self.levels)} levels are listed")
        for name, level in (("root", self.levels[-2]), ("concept", self.levels[-1])):
            if level.grid != (1, 1):
                raise RGMError(f"the {name} is one variable, a grid of (1, 1), but it is {level.grid}")
        self.check_grids()
        if self.levels[0].grid == (1, 1):
            _, height, width = self.image
            raise RGMError(
                f"images of {height} × {width} are too small for this preset: a single group has no spatial structure; "
                "enlarge them (--size 28)"
            )
        if self.is_forest and (len(self.levels) > 3 or not isinstance(self.symbols, PixelValues)):
            raise RGMError(
                f"a Chow–Liu tree has the levels z1, root and concept over pixel values, but {len(self.levels)} levels "
                f"over {self.symbols.kind} were requested: use the structure blocks"
            )
        if self.levels[-2].states % self.levels[-1].states:
            raise RGMError(
                f"every class has the same number of root states, but {self.levels[-2].states} are not a multiple of "
                f"{self.levels[-1].states}"
            )


def paper(
    image: Shape = (1, 28, 28),
    classes: int = 10,
    images: int | None = None,  # noqa: ARG001 - as for `counting`
) -> CountingConfig:
    """Return the paper's tree: 8 × 8 tiles in 4 × 4 groups, 2 × 2 groups, one, each with 13 exemplars per class."""
    states = 13 * classes
    return CountingConfig(
        image=image,
        symbols=RankedSymbols(),
        levels=(*(Level(grid=(side, side), states=states) for side in (4, 2, 1)), Level(grid=(1, 1), states=classes)),
        smoothing=Smoothing(symbols=1 / 16, links=1 / 16, top=1 / 128, outliers=0.0),
    )


def counting(image: Shape = (1, 28, 28), classes: int = 10, images: int | None = None) -> CountingConfig:
    """Return cells of 4 × 4 pixels with 128 states, and 300 prototypes a class: of `images`, at most a tenth."""
    prototypes = 300 if images is None else min(300, max(1, images // (10 * classes)))
    symbols = PixelSymbols()
    return CountingConfig(
        image=image,
        symbols=symbols,
        levels=(
            Level(grid=(image[1] // symbols.side, image[2] // symbols.side), states=128),
            Level(grid=(1, 1), states=prototypes * classes),
            Level(grid=(1, 1), states=classes),
        ),
    )


def exact(image: Shape = (1, 28, 28), classes: int = 10, images: int | None = None) -> CountingConfig:
    """Return a hidden Chow–Liu tree over the 8-bit pixels for each class, all of the same leaves.

    A cell has 2 × 2 pixels, or more of images of more than 64 × 64, and 256 states, or fewer with fewer `images`.
    """
    _, height, width = image
    side = max(2, math.ceil(max(height, width) / 32))
    states = 256 if images is None or images >= 20_000 else 64 if images >= 5_000 else 32
    return CountingConfig(
        image=image,
        symbols=PixelValues(),
        structure="class-trees",
        levels=(
            Level(grid=(math.ceil(height / side), math.ceil(width / side)), states=states),
            Level(grid=(1, 1), states=classes),
            Level(grid=(1, 1), states=classes),
        ),
        smoothing=Smoothing(symbols=500.0, links=5.0, top=0.5, outliers=0.0),
    )


def counting_preset(name: str, image: Shape, classes: int, images: int | None = None) -> CountingConfig:
    """Return the counting model of a named preset; raise RGMError for an invalid combination."""
    maker = preset_of(name, "counting").make_model()
    return maker(as_shape(image), as_classes(classes), images)
