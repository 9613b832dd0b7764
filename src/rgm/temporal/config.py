"""Configuration of a model of films: its frames, its tones, its dynamics. Presets are functions that return one."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Discriminator, Field

from rgm.errors import RGMError
from rgm.model.bounds import Size, as_shape
from rgm.model.stored import Configuration, Level
from rgm.presets import preset_of
from rgm.runtime.seeds import whole

Shape = tuple[int, int, int]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Probability = Annotated[float, Field(gt=0, lt=1)]
Tones = Annotated[int, Field(ge=2, le=256)]


@dataclass(frozen=True, kw_only=True)
class TemporalLevel(Level):
    """One level: its grid, the frames that a state spans, its number of states and edges, all cells together."""

    span: Size
    states: Count = 0
    edges: Count = 0


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """A tree over space and time by first appearance, under a chain of events.

    Blocks of `side × side`; the first `doublings` levels above the lowest double the time, so that an event spans
    2^doublings frames. A pixel differs from its state's tone with probability `noise`; an event is followed by any
    other with probability `jump`. `levels` are what was learned.
    """

    kind: Literal["memory"] = "memory"
    side: Annotated[int, Field(ge=2, le=64)] = 2
    doublings: Annotated[int, Field(ge=0, le=8)] = 2
    noise: Probability = 0.01
    jump: Probability = 1e-6
    levels: tuple[TemporalLevel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """A chain of latent events, each a distribution of a frame's tones, learned by EM.

    An event is followed by any other with probability `jump`. `events` and `edges` count what was learned.
    """

    kind: Literal["latent"] = "latent"
    events: Count = 0
    edges: Count = 0
    jump: Probability = 1e-6

    @property
    def levels(self) -> tuple[TemporalLevel, ...]:
        """The events."""
        return (TemporalLevel(grid=(1, 1), span=1, states=self.events, edges=self.edges),)


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Paths as local transformations, under a hidden Markov chain (`rgm.temporal.kernels`).

    Each of `paths` has a kernel of (2 · reach + 1)² places, shared by all pixels, or of each pixel's own (`places` is
    `each`). A pixel copies a source with probability `copied`. How a path follows another depends on the distance, up
    to `sight` pixels, from what is lit to the border ahead. `neighbourhood` is the side of the square within which one
    path holds; None for one path a frame. `firsts` is the number of first frames that are kept.
    """

    kind: Literal["flow"] = "flow"
    paths: Annotated[int, Field(ge=1, le=512)] = 32
    reach: Annotated[int, Field(ge=0, le=8)] = 2
    places: Literal["shared", "each"] = "shared"
    copied: Probability = 0.97
    sight: Annotated[int, Field(ge=0, le=64)] = 6
    neighbourhood: Annotated[int, Field(ge=3, le=255)] | None = None
    firsts: Count = 0

    @property
    def levels(self) -> tuple[TemporalLevel, ...]:
        """The paths, a state a frame."""
        return (TemporalLevel(grid=(1, 1), span=1, states=self.paths, edges=self.paths**2),)


DynamicsConfig = Annotated[MemoryConfig | LatentConfig | FlowConfig, Discriminator("kind")]


@dataclass(frozen=True, kw_only=True)
class TemporalConfig(Configuration):
    """A whole model. `image` is (channels, height, width) of a frame, of which each value is one of `tones`."""

    kind: Literal["temporal"] = "temporal"
    image: Shape
    tones: Tones = 2
    dynamics: DynamicsConfig

    def __post_init__(self) -> None:
        """Raise RGMError for frames that cannot be, or neighbourhoods of colour or of places' own kernels."""
        flow = self.dynamics
        if isinstance(flow, FlowConfig) and flow.neighbourhood is not None:
            if self.image[0] > 1 or flow.places == "each":
                raise RGMError(
                    "neighbourhoods are of frames without colour and of shared kernels, but the model has "
                    f"{self.image[0]} channels and kernels of {flow.places} places: make the frames grey, or give the "
                    "whole frame one path"
                )
            if flow.neighbourhood % 2 == 0:
                raise RGMError(f"the side of a neighbourhood is an odd number of pixels, but is {flow.neighbourhood}")
        if self.image[0] not in (1, 3) or not all(1 <= side <= 4096 for side in self.image[1:]):
            raise RGMError(
                f"frames have 1 or 3 channels and 1 to 4,096 pixels a side, but {' × '.join(map(str, self.image))} "
                "were requested"
            )

    @property
    def levels(self) -> tuple[TemporalLevel, ...]:  # type: ignore[override]
        """The levels, finest first, the events last."""
        return self.dynamics.levels


def film_memory(image: Shape = (1, 24, 24), tones: int = 2) -> TemporalConfig:
    """Return a memory by first appearance, whose events span four frames."""
    return TemporalConfig(image=image, tones=tones, dynamics=MemoryConfig())


def film_latent(image: Shape = (1, 24, 24), tones: int = 2) -> TemporalConfig:
    """Return latent events learned by EM."""
    return TemporalConfig(image=image, tones=tones, dynamics=LatentConfig())


def film_flow(image: Shape = (1, 24, 24), tones: int = 2) -> TemporalConfig:
    """Return paths as local transformations."""
    return TemporalConfig(image=image, tones=tones, dynamics=FlowConfig())


def film_clip(image: Shape = (1, 48, 64), tones: int = 256) -> TemporalConfig:
    """Return paths by half pixels of which each neighbourhood has its own, for grey films of the world."""
    return TemporalConfig(image=image, tones=tones, dynamics=FlowConfig(paths=25, reach=1, sight=0, neighbourhood=9))


def film_preset(name: str, image: Shape, tones: int | None = None) -> TemporalConfig:
    """Return the model of a named preset, with its own number of tones for None.

    Raises RGMError for a preset of another kind of model, or impossible sizes.
    """
    own = {} if tones is None else {"tones": whole(tones, "the number of grey levels", 2, 256)}
    found: TemporalConfig = preset_of(name, "film").make_model()(as_shape(image), **own)
    return found
