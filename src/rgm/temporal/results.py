"""Results of a temporal model's methods, with their shapes and units."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from rgm.runtime.brief import Brief


@dataclass(frozen=True, kw_only=True, repr=False)
class FilmInference(Brief):
    """What films say: their restored frames, the most probable states, the evidence.

    `frames` are expected frames given all visible pixels, in [0, 1]; `path` is the most probable sequence, jointly, of
    events (or of paths of a flow, one a transition); `probabilities` are those of each step's events, (films, steps,
    events); `states[ℓ]` is the most probable state of each cell, level by level, (films, steps of the level, cells),
    where the model has levels below the events; `log_evidence_nats` is log p(visible pixels).
    """

    frames: Float[Tensor, "n time height width *colour"]
    path: Int64[Tensor, "n steps"]
    probabilities: Float[Tensor, "n steps events"]
    states: tuple[Int64[Tensor, "n _ _"], ...]
    log_evidence_nats: Float[Tensor, " n"]


@dataclass(frozen=True, kw_only=True, repr=False)
class FilmPrediction(Brief):
    """A cue and what follows: `frames` in [0, 1], of which the first `cue_frames` are the cue's."""

    frames: Float[Tensor, "n time height width *colour"]
    cue_frames: int


@dataclass(frozen=True, kw_only=True, repr=False)
class FilmSamples(Brief):
    """Films in [0, 1], with the events or paths that they were sampled from."""

    frames: Float[Tensor, "n time height width *colour"]
    path: Int64[Tensor, "n steps"]


@dataclass(frozen=True, kw_only=True, repr=False)
class NextFrames(Brief):
    """How well each frame is predicted from all frames before it, in nats a pixel, (films, frames − 1).

    `marginal_nats` takes pixel by pixel −log p(x_t,i | x_<t), `joint_nats` the whole frame's −log p(x_t | x_<t) over
    its pixels, where that is exact.
    """

    marginal_nats: Float[Tensor, "n steps"]
    joint_nats: Float[Tensor, "n steps"] | None


@dataclass(frozen=True, kw_only=True, repr=False)
class Successors(Brief):
    """What may follow an event (or path), the most probable first: its number, probability, and frames in [0, 1]."""

    number: Int64[Tensor, " choices"]
    probability: Float[Tensor, " choices"]
    frames: Float[Tensor, "choices time height width *colour"]
