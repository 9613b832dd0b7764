"""Learning latent events: windows that differ little are one event at first, then expectation–maximisation."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.errors import RGMError
from rgm.model.bounds import Positive, Size
from rgm.runtime.progress import StageReport
from rgm.temporal.config import LatentConfig, TemporalConfig
from rgm.temporal.dynamics import Tones
from rgm.temporal.latent import Latent

MOST_EVENTS = 2048
"""Most events, whatever the films."""
MOST_FRAMES = 8192
"""Most frames, all films together: each is compared with each."""


@dataclass(frozen=True, kw_only=True)
class LatentRecipe:
    """How latent events are learned.

    Windows of `window` frames are one event where they differ in a share of their pixels below a tolerance, the first
    of them its exemplar. `passes` of EM follow, exact. The tolerance is the one of `tolerances` whose model makes the
    films held out most probable: `validation`, or the last fifth of the frames.
    """

    window: Size = 8
    tolerances: tuple[float, ...] = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.045, 0.055, 0.065, 0.08)
    passes: Size = 8
    smoothing: Positive = 10.0

    @property
    def epochs(self) -> int:
        """Passes over all films."""
        return self.passes


def learn_latent(
    config: TemporalConfig,
    films: Tones,
    validation: Tones | None,
    recipe: LatentRecipe,
    *,
    seed: int,  # noqa: ARG001 - nothing is random
    report: StageReport = lambda *_: None,
) -> tuple[Latent, TemporalConfig]:
    """Return the latent events of films, and the configuration with their number."""
    films_kept = films
    if validation is None and films.shape[1] >= 10:
        cut = films.shape[1] * 4 // 5
        films_kept, validation = films[:, :cut], films[:, cut:]
    if films.shape[0] * films.shape[1] > MOST_FRAMES:
        raise RGMError(
            f"latent events are learned from at most {MOST_FRAMES:,} frames, all films together, but there are "
            f"{films.shape[0] * films.shape[1]:,}: take fewer, or the preset film-flow or film-memory"
        )
    differs = _differences(films_kept, config.tones, recipe.window)
    chosen = recipe.tolerances[0]
    if validation is not None and len(recipe.tolerances) > 1:
        found = []
        quick, known = replace(recipe, passes=1), set[int]()
        for number, tolerance in enumerate(recipe.tolerances):
            labels = _exemplars(differs, tolerance)
            events = int(labels.max()) + 1
            if events in known or (events > len(labels) / 2 and len(labels) > events):
                continue  # the same events, or hardly any seen twice
            known.add(events)
            latent = _fitted(config, films_kept, quick, labels, lambda *_: None)
            held_out = latent.log_prob(validation, torch.ones_like(validation, dtype=torch.bool))
            found.append((-float(held_out.sum()) / validation.numel(), tolerance))
            report("tolerance", number + 1, len(recipe.tolerances), found[-1][0])
        chosen = min(found)[1] if found else chosen
    if films_kept is not films:
        differs = _differences(films, config.tones, recipe.window)
    latent = _fitted(config, films, recipe, _exemplars(differs, chosen), report)
    return latent, replace(config, dynamics=latent.config)


def _fitted(
    config: TemporalConfig, films: Tones, recipe: LatentRecipe, labels: Int64[Tensor, " frames"], report: StageReport
) -> Latent:
    """Return events that begin as a labelling of all frames, after all passes of EM, or where these change no more."""
    assert isinstance(config.dynamics, LatentConfig)
    n, time = films.shape[:2]
    labels = labels.view(n, time)
    events = int(labels.max()) + 1
    pairs = torch.stack([labels[:, :-1].flatten(), labels[:, 1:].flatten()], dim=1)
    edges, counts = pairs.unique(dim=0, return_counts=True)
    latent = Latent(config.image, config.tones, replace(config.dynamics, events=events, edges=len(edges)))
    latent.edges.copy_(edges)
    latent.edge_counts.copy_(counts)
    visible = torch.ones_like(films, dtype=torch.bool)
    seen = latent.one_hot(films, visible).flatten(0, 1)
    steps = torch.nn.functional.one_hot(labels.flatten(), events).to(seen)
    _update(latent, steps, seen, recipe)
    before = math.inf
    for number in range(recipe.passes):
        filtered, smoothed, expected = latent.chain().smooth(latent.observed(films, visible))
        latent.edge_counts.copy_(expected + 1e-3)
        _update(latent, smoothed.permute(2, 0, 1).flatten(0, 1), seen, recipe)
        value = -float(filtered.log_evidence.sum()) / films.numel()
        report("EM", number + 1, recipe.passes, value)
        if before - value < 1e-6:
            break
        before = value
    return latent


def _update(
    latent: Latent, share: Float[Tensor, "frames events"], seen: Float[Tensor, "frames symbols"], recipe: LatentRecipe
) -> None:
    """Set p(x_i = v | e) and p(e_1) from how probable each frame's events are.

    Counts are smoothed by pseudo-counts of a pixel that has its most frequent tone but for noise, whose rate is that of
    all pixels.
    """
    weight = share.sum(dim=0)
    counts = (share.T @ seen).view_as(latent.tables)
    total = counts.sum(dim=1, keepdim=True)
    most = counts.amax(dim=1, keepdim=True)
    noise = ((total - most).sum() / total.sum()).clamp(1e-4, 0.5)
    likely = counts == most
    prior = torch.where(likely, 1 - noise, noise / (latent.tones - 1))
    prior = prior / prior.sum(dim=1, keepdim=True)
    latent.tables.copy_((counts + recipe.smoothing * prior) / (total + recipe.smoothing))
    latent.start.copy_((weight + 1e-6) / (weight + 1e-6).sum())


def _exemplars(differs: Float[Tensor, "frames frames"], tolerance: float) -> Int64[Tensor, " frames"]:
    """Return an event for every frame: the nearest of the frames before it that began one, unless none is near."""
    leaders: list[int] = []
    labels = torch.zeros(len(differs), dtype=torch.int64)
    for frame, row in enumerate(differs):
        if leaders:
            least, nearest = row[leaders].min(dim=0)
            if float(least) <= tolerance or len(leaders) >= MOST_EVENTS:
                labels[frame] = nearest
                continue
        labels[frame] = len(leaders)
        leaders.append(frame)
    return labels


def _differences(films: Tones, tones: int, window: int) -> Float[Tensor, "frames frames"]:
    """Return the share of pixels in which the windows that end with two frames differ.

    A window reaches back over the frames before, which the first frames of a film lack: these repeat the first.
    """
    n, time = films.shape[:2]
    flat = films.flatten(2).flatten(0, 1)
    agree = torch.zeros(len(flat), len(flat))
    for tone in range(tones):
        has = (flat == tone).float()
        agree += has @ has.T
    agree = agree.view(n, time, n, time) / flat.shape[1]
    total = torch.zeros_like(agree)
    for back in range(window):
        place = (torch.arange(time) - back).clamp_min(0)
        total += agree[:, place][:, :, :, place]
    return (1 - total / window).view(n * time, n * time)
