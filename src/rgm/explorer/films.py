"""The requests of the page to a model of films, with plain data as input and output."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import Field
from torch import Tensor

from rgm.data.films import load_films
from rgm.data.frames import Frames
from rgm.errors import RGMError
from rgm.explorer.base import SHARED, Answer, Number, Request, as_bytes, as_hidden, bytes_as_text
from rgm.loading import FilmCheckpoint
from rgm.temporal.config import FlowConfig, MemoryConfig
from rgm.temporal.flow import Flow
from rgm.temporal.model import TemporalRGM

WINDOW = 64
"""Most frames that are shown at once."""
LARGEST = 2**21
"""Most bytes of the frames that are shown at once."""
DRAWN = 8
"""Films that are drawn where there are none."""
CHOICES = 8
"""Most successors of an event that are shown."""
Text = Annotated[str, Field(max_length=3 * 2**20)]


class FilmRequest(Request):
    """The number of a film, and its first frame to show."""

    index: Number
    start: Number = 0


class FramesRequest(Request):
    """Frames: their bytes, frame by frame and row by row, channels last, as base64."""

    frames: Text


class InferRequest(FramesRequest):
    """Frames, and which of their pixels are hidden: a bit a pixel, in the same order; none are if it is empty."""

    hidden: Text = ""


class SuccessorsRequest(FramesRequest):
    """Frames that end with an event."""

    event: Number


class FollowRequest(SuccessorsRequest):
    """Frames, the event that follows them, the frames from there on, and the seed of those events that are drawn."""

    steps: Annotated[int, Field(ge=1, le=WINDOW)]
    seed: Number = 0


class ContinueRequest(InferRequest):
    """Frames, how many are to follow, and the seed with which these are drawn."""

    steps: Annotated[int, Field(ge=1, le=WINDOW)]
    seed: Number = 0


@dataclass(frozen=True)
class FilmExplorer:
    """A model of films, and films of its frames' shape; `own` is false where these are drawn from the model."""

    model: TemporalRGM
    films: Frames
    name: str
    own: bool = True
    files: ClassVar[Mapping[str, str]] = {
        "": "film.html",
        **{name: name for name in (*SHARED, "http.js", "paint.js", "film.js", "film-words.js")},
    }
    largest: ClassVar[int] = 4 * 2**20

    def __post_init__(self) -> None:
        """Raise RGMError for frames of which too few can be shown at once."""
        if self.window < 2 * self.model.span:
            raise RGMError(
                f"frames of {' × '.join(map(str, self.model.config.image))} are too large for the page, which shows "
                f"two events of {self.model.span} frames or more at once: rgm predict and complete write files"
            )

    @property
    def window(self) -> int:
        """Frames that are shown at once, whole events."""
        most = min(WINDOW, LARGEST // math.prod(self.model.config.image))
        return most - most % self.model.span

    def requests(self) -> Mapping[str, Callable[[Any], Answer]]:
        """Return the methods that answer requests, by name."""
        return {
            "film": self.film,
            "infer": self.infer,
            "successors": self.successors,
            "follow": self.follow,
            "continue": self.go_on,
        }

    def about(self) -> Answer:
        """Return a description of the model: its kind, sizes and levels, the motions of its paths, the films."""
        config = self.model.config
        paths = config.dynamics.neighbourhood is None if isinstance(config.dynamics, FlowConfig) else True
        return {
            "name": self.name,
            "kind": config.dynamics.kind,
            "image": list(config.image),
            "tones": config.tones,
            "levels": [
                {"grid": list(level.grid), "span": level.span, "states": level.states, "edges": level.edges}
                for level in config.levels
            ],
            "side": config.dynamics.side if isinstance(config.dynamics, MemoryConfig) else None,
            "paths": paths,
            "motions": self._motions(),
            "films": len(self.films),
            "frames": self.films.shape[1],
            "window": self.window,
            "own": self.own,
        }

    def film(self, request: FilmRequest) -> Answer:
        """Return the frames of a film from a first one on, as many as are shown at once."""
        if request.index >= len(self.films) or request.start >= self.films.shape[1]:
            raise RGMError(
                f"there are {len(self.films):,} films of {self.films.shape[1]:,} frames, but frame "
                f"{request.start + 1:,} of film {request.index + 1:,} was asked for"
            )
        return {"frames": bytes_as_text(self.films[request.index, request.start : request.start + self.window])}

    def infer(self, request: InferRequest) -> Answer:
        """Return frames as the model restores them, with states and path, given all pixels that are not hidden.

        `levels` are the states of every cell, step by step, of the levels below the events where there are any;
        `wrong` is how many of the hidden pixels have another tone than the film's.
        """
        frames = self._frames(request.frames)
        visible = self._visible(request.hidden, frames)
        found = self.model.infer(frames, visible)
        tones = self.model.tones(frames)[0]
        top = self.model.config.tones - 1
        restored = (self._planes(found.frames[0]) * top).round()
        differs = (restored != tones).any(dim=1) & ~visible
        path = found.path[0]
        shares = found.probabilities[0].gather(1, path[:, None])[:, 0]
        return {
            "restored": bytes_as_text(as_pixels(found.frames[0])),
            "path": path.tolist(),
            "probabilities": [round(float(share), 4) for share in shares],
            "levels": [level[0].tolist() for level in found.states[:-1]],
            "evidence_nats": float(found.log_evidence_nats[0]),
            "hidden": int((~visible).sum()),
            "wrong": int(differs.sum()),
        }

    def successors(self, request: SuccessorsRequest) -> Answer:
        """Return what may follow an event that frames end with, the most probable first."""
        frames = self._frames(request.frames)
        found = self.model.successors(frames, request.event, most=CHOICES)
        return {
            "choices": [
                {"event": number, "probability": round(share, 6), "frames": bytes_as_text(as_pixels(shown))}
                for number, share, shown in zip(
                    found.number.tolist(), found.probability.tolist(), found.frames, strict=True
                )
            ]
        }

    def follow(self, request: FollowRequest) -> Answer:
        """Return the frames after a film where an event follows, and others drawn after it."""
        frames = self._frames(request.frames)
        generator = torch.Generator().manual_seed(request.seed)
        found = self.model.follow(frames, request.event, request.steps, generator=generator)
        return {"frames": bytes_as_text(as_pixels(found.frames[0]))}

    def go_on(self, request: ContinueRequest) -> Answer:
        """Return the frames after a film, drawn given its pixels that are not hidden."""
        frames = self._frames(request.frames)
        generator = torch.Generator().manual_seed(request.seed)
        visible = self._visible(request.hidden, frames)
        found = self.model.predict(frames, request.steps, visible, generator=generator)
        return {"frames": bytes_as_text(as_pixels(found.frames[0, found.cue_frames :]))}

    def _motions(self) -> list[list[float]] | None:
        """Return by how much each path moves, (down, across) in pixels, where all places move alike."""
        dynamics = self.model.dynamics
        if not isinstance(dynamics, Flow) or len(dynamics.kernels) > 1:
            return None
        return [[round(one, 2) for one in motion] for motion in dynamics.displacement().tolist()]

    def _frames(self, text: str) -> UInt8[Tensor, "time height width *colour"]:
        """Return the frames of a request; raise RGMError if they are none, too many, or of another size."""
        raw = as_bytes(text)
        channels, height, width = self.model.config.image
        each = channels * height * width
        if not raw or len(raw) % each or len(raw) > each * self.window:
            raise RGMError(
                f"expected 1 to {self.window} frames of {height} × {width} pixels of {channels} bytes, but got "
                f"{len(raw)} bytes"
            )
        pixels = torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape(-1, height, width, channels)
        return pixels[..., 0] if channels == 1 else pixels

    def _visible(self, text: str, frames: Tensor) -> Bool[Tensor, "time height width"]:
        """Return which pixels are not hidden; raise RGMError for another number of them."""
        return ~torch.from_numpy(as_hidden(text, tuple(frames.shape[:3]), "pixels"))

    def _planes(self, frames: Tensor) -> Tensor:
        """Return frames as (time, channels, height, width)."""
        return frames[:, None] if self.model.config.image[0] == 1 else frames.permute(0, 3, 1, 2)


def film_explorer(checkpoint: FilmCheckpoint, name: str, data_dir: Path | None) -> FilmExplorer:
    """Return the service of a model with its test films or, where they are not here, with films drawn from it."""
    model = checkpoint.model
    try:
        films = load_films(checkpoint.origin.data, "test", data_dir=data_dir, image=model.config.image).frames
    except RGMError:
        drawn = model.sample(WINDOW, DRAWN, generator=torch.Generator().manual_seed(0))
        return FilmExplorer(model, torch.stack([as_pixels(film) for film in drawn.frames]), name, own=False)
    return FilmExplorer(model, films, name)


def as_pixels(frames: Float[Tensor, "time height width *colour"]) -> UInt8[Tensor, "time height width *colour"]:
    """Return frames in [0, 1] as bytes."""
    return (frames.cpu().clamp(0, 1) * 255).round().to(torch.uint8)
