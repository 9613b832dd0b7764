"""How well films are predicted: the next frame, frames further on, and baselines without a model."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rgm.data.frames import Frames
from rgm.temporal.dynamics import Tones
from rgm.temporal.model import TemporalRGM, to_tones

Tones4 = UInt8[Tensor, "_ channels height width"]
CUE, AHEAD = 4, 8
"""Frames of the cue and of the rollout, where the films are long enough."""
ROLLED = 100
"""Films whose rollouts are measured: at most so many."""
MEMORY = 6000
"""Most pairs of training frames among which the nearest neighbour is sought."""


@dataclass(frozen=True, kw_only=True)
class FilmMeasures:
    """Measures of films, means over films and frames; nats are of tones, lower is better.

    `next_frame_nats_per_pixel` is −log p(x_t,i | x_<t), pixel by pixel, from the second frame on; `…_joint_…` the whole
    frame's over its pixels, None where it is not exact. `repeat_…` predicts every pixel from itself in the last frame,
    and `nearest_…` from the frame after the nearest training frame, with probabilities counted on the training films.
    `soft_memory_…` averages what followed every training frame, weighted by exp(−β · distance), with the β that is best
    on training films held out. `rollout_error` and `repeat_error` are mean squared errors, in [0, 1], of each of the
    frames after a cue: those expected of the model, and the cue's last. `log_evidence_nats` is log p(film), the mean
    over films.
    """

    next_frame_nats_per_pixel: float
    next_frame_joint_nats_per_pixel: float | None
    repeat_nats_per_pixel: float
    nearest_nats_per_pixel: float
    soft_memory_nats_per_pixel: float
    rollout_error: list[float]
    repeat_error: list[float]
    log_evidence_nats: float

    def measures(self) -> dict[str, Any]:
        """Return the measures by name, without those that are not known."""
        return {name: value for name, value in vars(self).items() if value is not None}


@torch.no_grad()
def evaluate_films(model: TemporalRGM, train: Frames, test: Frames) -> FilmMeasures:
    """Return the measures of a model on test films; the baselines know the training films."""
    found = model.next_frames(test)
    rollout, repeat = rollout_errors(model, test[:ROLLED])
    known, asked = (model.tones(frames) for frames in (train, test))
    joint = found.joint_nats
    return FilmMeasures(
        next_frame_nats_per_pixel=float(found.marginal_nats.mean()),
        next_frame_joint_nats_per_pixel=None if joint is None else float(joint.mean()),
        repeat_nats_per_pixel=float(repeat_nats(known, asked, model.config.tones).mean()),
        nearest_nats_per_pixel=float(nearest_nats(known, asked, model.config.tones).mean()),
        soft_memory_nats_per_pixel=float(soft_memory_nats(known, asked, model.config.tones).mean()),
        rollout_error=rollout,
        repeat_error=repeat,
        log_evidence_nats=float(model.log_prob(test).mean()),
    )


def rollout_errors(model: TemporalRGM, test: Frames) -> tuple[list[float], list[float]]:
    """Return the squared error of each frame after a cue, of the model's expected frames and of the cue's last."""
    time = test.shape[1]
    cue = max(1, min(CUE, time // 2))
    ahead = min(AHEAD, time - cue)
    after = model.predict(test[:, :cue], ahead).frames[:, cue:].cpu()
    levels = model.config.tones - 1
    true = to_tones(test[:, : cue + ahead], model.config.tones).float() / levels
    axes = (0, *range(2, true.ndim))
    rolled = (after - true[:, cue:]).square().mean(dim=axes)
    repeated = (true[:, cue - 1 : cue] - true[:, cue:]).square().mean(dim=axes)
    return rolled.tolist(), repeated.tolist()


def repeat_nats(train: Tones, test: Tones, tones: int) -> Float[Tensor, " n"]:
    """Return −log p(x_t,i | x_t−1,i) in nats a pixel of each film, with the frequencies of the training films."""
    return _nats(train[:, :-1], train[:, 1:], test[:, :-1], test[:, 1:], tones)


def nearest_nats(train: Tones, test: Tones, tones: int) -> Float[Tensor, " n"]:
    """Return the nats a pixel, of each film, of what followed the nearest training frame, with counted frequencies.

    These are counted on an eighth of the training films, at most 20 frames of each, whose neighbours are sought among
    the others.
    """
    own, others = _divided(train)
    if others.shape[1] < 2 or own.shape[1] < 2:
        return repeat_nats(train, test, tones)
    before, after = (part.flatten(0, 1)[:MEMORY] for part in (others[:, :-1], others[:, 1:]))
    counted = after[_nearest(before, own[:, :-1].flatten(0, 1))]
    asked = after[_nearest(before, test[:, :-1].flatten(0, 1))]
    return _nats(counted, own[:, 1:].flatten(0, 1), asked.view_as(test[:, 1:]), test[:, 1:], tones)


def soft_memory_nats(train: Tones, test: Tones, tones: int) -> Float[Tensor, " n"]:
    """Return −log p(x_t,i | x_t−1) in nats a pixel of each film, for a mean over what followed all training frames.

        p(x_t | x_t−1) ∝ Σ_k exp(−β |x_t−1 − y_k|²) [x_t = y_k+1] + ε

    with the β and the ε that are best on an eighth of the training films, whose frames are not among the y.
    """
    own, others = _divided(train)
    if others.shape[1] < 2 or own.shape[1] < 2:
        own = others = train
    before, after = (part.flatten(0, 1)[:MEMORY] for part in (others[:, :-1], others[:, 1:]))
    choices = [(beta, share) for beta in (0.02, 0.05, 0.1, 0.2, 0.4) for share in (0.003, 0.01, 0.03)]
    found = [float(_soft(before, after, own, tones, *choice).mean()) for choice in choices]
    return _soft(before, after, test, tones, *choices[found.index(min(found))])


def _soft(before: Tones4, after: Tones4, films: Tones, tones: int, beta: float, share: float) -> Float[Tensor, " n"]:
    flat = before.flatten(1).float()
    norm, scale = flat.square().sum(dim=1), beta / (tones - 1) ** 2
    answers = [(after.flatten(1) == tone).float() for tone in range(tones)]
    asked, true = films[:, :-1].flatten(0, 1), films[:, 1:].flatten(0, 1).flatten(1)
    nats = []
    for part, answer in zip(asked.flatten(1).float().split(512), true.split(512), strict=True):
        weight = (scale * (2 * part @ flat.T - norm)).softmax(dim=1)
        probs = sum(((weight @ one) * (answer == tone) for tone, one in enumerate(answers)), torch.zeros(()))
        nats.append(-((1 - share) * probs + share / tones).log().mean(dim=1))
    return torch.cat(nats).view(len(films), -1).mean(dim=1)


def _divided(train: Tones) -> tuple[Tones, Tones]:
    """Return an eighth of the training films, at most 21 frames of each, and the others; or halves of a single film."""
    if len(train) > 1:
        cut = max(1, len(train) // 8)
        return train[:cut, :21], train[cut:]
    cut = train.shape[1] // 2
    return train[:, cut:], train[:, :cut]


def _nearest(known: Tensor, asked: Tensor) -> Tensor:
    """Return the number of the nearest of the known frames for each frame, by squared distance."""
    flat = known.flatten(1).float()
    norm = flat.square().sum(dim=1)
    parts = [(norm - 2 * part.flatten(1).float() @ flat.T).argmin(dim=1) for part in asked.split(512)]
    return torch.cat(parts)


def _nats(guess: Tensor, true: Tensor, asked: Tensor, answer: Tensor, tones: int) -> Float[Tensor, " n"]:
    counts = _pairs(guess, true, tones) + 0.5
    log = (counts / counts.sum(dim=1, keepdim=True)).log()
    return -log[asked.flatten(1).long(), answer.flatten(1).long()].mean(dim=1)


def _pairs(first: Tensor, second: Tensor, tones: int) -> Float[Tensor, "tones tones"]:
    numbers = first.flatten().long() * tones + second.flatten().long()
    return numbers.bincount(minlength=tones**2).view(tones, tones).double()
