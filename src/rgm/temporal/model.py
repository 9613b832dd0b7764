"""TemporalRGM: the renormalizing generative model of films, whatever its dynamics."""

import math
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rgm.data.frames import films_of
from rgm.data.load import as_tensor
from rgm.errors import RGMError
from rgm.model.stored import StoredModel
from rgm.runtime.device import check_generator
from rgm.runtime.memory import affordable
from rgm.runtime.seeds import whole
from rgm.temporal.config import FlowConfig, LatentConfig, MemoryConfig, TemporalConfig, film_preset
from rgm.temporal.dynamics import Dynamics
from rgm.temporal.latent import Latent
from rgm.temporal.memory import Memory
from rgm.temporal.neighbourhood_flow import flow_of
from rgm.temporal.results import FilmInference, FilmPrediction, FilmSamples, NextFrames, Successors

MOST_STEPS = 10**6
"""Most frames that may be asked for at once."""


class TemporalRGM(StoredModel):
    """A renormalizing generative model of films: discrete states and paths over space and time.

    Its dynamics, by the configuration's kind: `memory`, states by first appearance in a tree over space and time,
    exact; `latent`, events learned by expectation–maximisation, exact; `flow`, paths as local transformations, which
    predict films that were never seen. `rgm.fit(model, frames)` learns any of them (`rgm.temporal.fitting`).

    Films are (films, frames, rows, columns), or one of (frames, rows, columns), with a last axis of 3 for colour:
    uint8, or floats in [0, 1]. They are read as `config.tones` tones. A `mask`, of the frames' shape without colour,
    (frames, rows, columns) or one for each film, is true where a pixel is visible. Source: Friston et al. 2024, arXiv
    2407.20292.
    """

    config: TemporalConfig
    kind = "temporal"
    config_type = TemporalConfig
    exact_weights = ("dynamics.",)  # tables of whole numbers among them

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        self.config = config
        self.dynamics = dynamics_of(config)

    @classmethod
    def from_config(cls, config: TemporalConfig) -> "TemporalRGM":
        """Return an untrained model of a configuration."""
        return cls(config)

    @classmethod
    def from_preset(
        cls, name: str, *, image: tuple[int, int, int] = (1, 24, 24), tones: int | None = None
    ) -> "TemporalRGM":
        """Return an untrained model of a preset, `film-memory`, `film-latent`, `film-flow` or `film-clip`.

        `image`: channels, height and width of a frame; `tones`: number of grey levels, by default the
        preset's own, 2 or, for `film-clip`, 256.
        """
        return cls(film_preset(name, image, tones))

    def by_neighbourhoods(self, side: int | None) -> "TemporalRGM":
        """Return a flow with the same tables, of which one path holds within a square of `side` pixels.

        So several things that move apart are predicted, learned from films of one. None for one path a frame. Raises
        RGMError for other dynamics, an even side, grey films, or kernels of each place.
        """
        if not isinstance(self.config.dynamics, FlowConfig):
            raise RGMError(f"neighbourhoods are of flows, but the dynamics are {self.config.dynamics.kind!r}")
        found = TemporalRGM(replace(self.config, dynamics=replace(self.config.dynamics, neighbourhood=side)))
        found.load_state_dict(self.state_dict())
        return found.to(self.device).eval()

    def become(self, dynamics: Dynamics, config: TemporalConfig) -> None:
        """Take over what was learned, and the configuration with its sizes."""
        self.dynamics, self.config = dynamics.to(self.device), config

    @property
    def size(self) -> int:
        """Number of numbers learned, all levels together."""
        return sum(table.numel() for table in self.buffers())

    # What is asked of films

    @torch.no_grad()
    def infer(self, frames: Any, mask: Any = None) -> FilmInference:
        """Return restored frames, the most probable states and path, and the evidence, given all visible pixels.

        Raises RGMError for films or masks of another shape, or an untrained model.
        """
        tones, visible = self._read(frames, mask)
        expected, path, probabilities, states, evidence = self.dynamics.infer(tones, visible)
        return FilmInference(
            frames=self._shown(expected),
            path=path,
            probabilities=probabilities,
            states=states,
            log_evidence_nats=evidence,
        )

    @torch.no_grad()
    def log_prob(self, frames: Any, mask: Any = None) -> Float[Tensor, " n"]:
        """Return log p(visible pixels) of each film, in nats, of its tones."""
        return self.dynamics.log_prob(*self._read(frames, mask))

    @torch.no_grad()
    def predict(
        self, cue: Any, steps: int, mask: Any = None, *, generator: torch.Generator | None = None
    ) -> FilmPrediction:
        """Return the cue, its hidden pixels filled in, and the `steps` frames that follow.

        Without a generator these are expected frames, E[x | cue]; with one, a film drawn from p(x | cue).
        """
        check_generator(generator)
        self._check_steps(steps)
        tones, visible = self._read(cue, mask)
        affordable(len(tones) * steps, self._frame_bytes, "frames")
        after = self.dynamics.predict(tones, visible, steps, generator)
        known = tones.to(after.dtype)
        if not bool(visible.all()):
            known = torch.where(visible, known, self.dynamics.infer(tones, visible)[0])
        return FilmPrediction(frames=self._shown(torch.cat([known, after], dim=1)), cue_frames=tones.shape[1])

    @torch.no_grad()
    def complete(self, frames: Any, mask: Any, *, generator: torch.Generator | None = None) -> FilmPrediction:
        """Return films whose hidden pixels are filled in: expected, or with a generator drawn given the visible."""
        check_generator(generator)
        tones, visible = self._read(frames, mask)
        if generator is None:
            filled = torch.where(visible, tones.to(self.dtype), self.dynamics.infer(tones, visible)[0])
        else:
            filled = self.dynamics.complete(tones, visible, generator)
        return FilmPrediction(frames=self._shown(filled), cue_frames=tones.shape[1])

    @torch.no_grad()
    def sample(self, steps: int, count: int = 1, *, generator: torch.Generator | None = None) -> FilmSamples:
        """Return `count` films of `steps` frames from nothing, ancestral, none rejected."""
        check_generator(generator)
        self._check_steps(steps)
        whole(count, "the number of films")
        self._check_trained()
        affordable(count * steps, self._frame_bytes, "frames")
        expected, path = self.dynamics.sample(count, steps, generator)
        return FilmSamples(frames=self._shown(expected), path=path)

    @torch.no_grad()
    def next_frames(self, frames: Any) -> NextFrames:
        """Return how well each frame is predicted from all before it, in nats a pixel."""
        tones, _ = self._read(frames, None)
        return self.dynamics.next_frames(tones)

    @torch.no_grad()
    def successors(self, film: Any, event: int, *, most: int = 8) -> Successors:
        """Return what may follow a film that ends with an event, or with a path of a flow: at most `most`.

        Raises RGMError for an event that there is not, several films, or a flow whose neighbourhoods have paths.
        """
        tones = self._one(film, event)
        shares = self.dynamics.successors(tones, event)
        probability, number = shares.topk(min(whole(most, "the number of successors"), int((shares > 0).sum())))
        shown = [self.dynamics.continued(tones, one, self.span, None)[0] for one in number.tolist()]
        return Successors(number=number, probability=probability, frames=self._shown(torch.cat(shown)))

    @torch.no_grad()
    def follow(self, film: Any, event: int, steps: int, *, generator: torch.Generator | None = None) -> FilmSamples:
        """Return the `steps` frames after a film where it goes on with an event or path, and others drawn after it.

        Raises RGMError as `successors`.
        """
        check_generator(generator)
        self._check_steps(steps)
        frames, path = self.dynamics.continued(self._one(film, event), event, steps, generator)
        return FilmSamples(frames=self._shown(frames), path=path)

    @property
    def span(self) -> int:
        """Frames of an event."""
        return max((level.span for level in self.config.levels), default=1)

    def _one(self, film: Any, event: int) -> Tensor:
        """Return the tones of one film, and check an event's number."""
        tones = self._read(film, None)[0]
        if len(tones) != 1:
            raise RGMError(f"what follows is asked of one film, but {len(tones)} were given")
        whole(event, "an event of this model", 0, self.num_classes - 1)
        return tones

    # Frames as tones, and back

    def _read(self, frames: Any, mask: Any) -> tuple[Tensor, Tensor]:
        """Return films as tones (n, time, channels, height, width), and their masks; raise RGMError for misfits."""
        pixels = films_of(frames, shortest=1).to(self.device)
        colour = pixels.ndim == 5
        shape = (3 if colour else 1, *pixels.shape[2:4])
        if shape != self.config.image:
            expected, given = (" × ".join(map(str, one)) for one in (self.config.image, shape))
            raise RGMError(
                f"the model's frames are {expected} (channels × rows × columns), but these are {given}: resize them, "
                "or take a model of such frames"
            )
        self._check_trained()
        planes = pixels.permute(0, 1, 4, 2, 3) if colour else pixels[:, :, None]
        tones = to_tones(planes, self.config.tones)
        if mask is None:
            return tones, torch.ones_like(tones, dtype=torch.bool)
        visible = as_tensor(mask, "a mask").to(self.device)
        expected_shape = (len(tones), tones.shape[1], *tones.shape[3:])
        if visible.ndim == 3:
            visible = visible[None]
        if (
            visible.dtype != torch.bool
            or visible.shape[1:] != expected_shape[1:]
            or len(visible) not in (1, len(tones))
        ):
            raise RGMError(
                f"a mask is true where a pixel is visible and has the shape {expected_shape} (or one for all films), "
                f"but is {visible.dtype} of shape {tuple(visible.shape)}"
            )
        return tones, visible[:, :, None].expand_as(tones)

    def tones(self, frames: Any) -> UInt8[Tensor, "n time channels height width"]:
        """Return films as the model reads them; raise RGMError for films of another shape."""
        return self._read(frames, None)[0]

    def _shown(self, expected: Tensor) -> Tensor:
        """Return expected tones as frames in [0, 1], in the films' own shape."""
        shown = (expected / (self.config.tones - 1)).clamp(0, 1).float()
        return shown[:, :, 0] if self.config.image[0] == 1 else shown.permute(0, 1, 3, 4, 2)

    @property
    def _frame_bytes(self) -> int:
        """Bytes of a frame while it is drawn and shown: float64 and float32, in parts and put together."""
        return 24 * math.prod(self.config.image)

    def _check_steps(self, steps: int) -> None:
        whole(steps, "the number of frames", 1, MOST_STEPS)

    def _check_trained(self) -> None:
        if not self.num_classes or not self.depth:
            raise RGMError("the model has seen no films yet: train it with rgm.fit(model, frames) or rgm train")

    @property
    def num_classes(self) -> int:
        """Number of events, or of paths."""
        return self.config.levels[-1].states if self.config.levels else 0


def to_tones(pixels: Tensor, tones: int) -> Tensor:
    """Return bytes as tones 0 … tones − 1, the nearest of evenly spaced ones."""
    if tones == 256:
        return pixels
    return ((pixels.to(torch.int32) * (tones - 1) + 127) // 255).to(torch.uint8)


def tones_in(pixels: Tensor, most: int = 16) -> int:
    """Return a number of tones for films: that of their values where these are even steps, else `most`."""
    values = pixels.unique()
    for count in (2, 3, 4, 6, 16):
        if count <= most and bool((((values.int() * (count - 1)) % 255) == 0).all()):
            return count
    return most


def dynamics_of(config: TemporalConfig) -> Dynamics:
    """Return the dynamics of a configuration."""
    match config.dynamics:
        case MemoryConfig():
            return Memory(config.image, config.tones, config.dynamics)
        case LatentConfig():
            return Latent(config.image, config.tones, config.dynamics)
        case FlowConfig():
            return flow_of(config.image, config.tones, config.dynamics)
