"""Learning a flow by expectation–maximisation: kernels, the chain over paths, what the border ahead says of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from rgm.model.bounds import Positive, Size
from rgm.temporal.config import FlowConfig, TemporalConfig
from rgm.temporal.dynamics import Tones
from rgm.temporal.flow import Flow

Report = Callable[[str, int, int, float], None]
"""Called after every pass: its stage, its number, how many there are, and −log p of the films in nats a pixel."""

COPIED = (0.97, 0.99, 0.995, 0.998, 0.999)
"""Shares of copied pixels that are compared on the films held out."""


@dataclass(frozen=True, kw_only=True)
class FlowRecipe:
    """How a flow is learned.

    `starts` random starts of shared kernels and one of each place's own are taken `trial` passes over `sample` films,
    and the best on the films held out (`validation`, or a tenth of the films) is taken on to `passes` passes over all
    films. In pass k of a start the evidence is tempered by min(1, 0.05 + 0.1 k). Kernels of each place are smoothed
    over their neighbours, but for the last `sharpening` passes; there are `own_paths` of them, none for 0, that reach
    `own_reach`. Then the chain's dependence on the border ahead is learned in `border_passes`; its counts are smoothed
    by `smoothing` pseudo-counts.
    """

    starts: Size = 2
    sample: Size = 100
    trial: Size = 15
    passes: Size = 30
    sharpening: int = 6
    border_passes: int = 4
    smoothing: Positive = 4.0
    own_paths: Annotated[int, Field(ge=0)] = 16
    own_reach: Size = 3

    @property
    def epochs(self) -> int:
        """Passes over all films."""
        return self.passes + self.border_passes


def learn_flow(
    config: TemporalConfig,
    films: Tones,
    validation: Tones | None,
    recipe: FlowRecipe,
    *,
    seed: int,
    report: Report = lambda *_: None,
) -> tuple[Flow, TemporalConfig]:
    """Return the flow of films, and its configuration."""
    wanted = config.dynamics
    assert isinstance(wanted, FlowConfig)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(films), generator=generator)
    if validation is None:
        held = max(1, len(films) // 10) if len(films) >= 10 else 0
        validation = films[order[:held]] if held else films
        films = films[order[held:]]
        order = torch.arange(len(films))
    some = films[order[: recipe.sample].sort().values]
    candidates = [replace(wanted, firsts=0)] * recipe.starts
    if wanted.places == "shared" and recipe.own_paths and config.tones == 2 and len(films) > 1:
        own = replace(wanted, places="each", reach=recipe.own_reach, paths=recipe.own_paths, firsts=0)
        candidates = [*candidates, own]
    best: tuple[float, _Learner] | None = None
    for number, dynamics in enumerate(candidates):
        learner = _Learner(config, dynamics, some, generator)
        for step in range(recipe.trial):
            value = learner.kernel_pass(step, smooth=True)
            report(f"start {number + 1}", step + 1, recipe.trial, value)
        held_out = learner.value(validation)
        if best is None or held_out < best[0]:
            best = held_out, learner
    assert best is not None
    learner = best[1]
    learner.take(films)
    for step in range(recipe.trial, recipe.passes):
        value = learner.kernel_pass(step, smooth=step < recipe.passes - recipe.sharpening)
        report("kernels", step + 1, recipe.passes, value)
    for step in range(recipe.border_passes):
        value = learner.border_pass(recipe.smoothing)
        report("border", step + 1, recipe.border_passes, value)
    learner.choose_copied(validation)
    flow = learner.flow
    firsts = films[order[: min(len(films), 300)].sort().values, 0]
    done = replace(flow.config, firsts=len(firsts))
    finished = Flow(config.image, config.tones, done)
    finished.load_state_dict(flow.state_dict() | {"firsts": firsts})
    return finished, replace(config, dynamics=done)


class _Learner:
    """A flow with the films that it is learned from."""

    def __init__(self, config: TemporalConfig, dynamics: FlowConfig, films: Tones, generator: torch.Generator) -> None:
        self.flow = flow = Flow(config.image, config.tones, dynamics)
        counts = films.flatten().long().bincount(minlength=config.tones).to(flow.base)
        flow.background.copy_(counts.argmax())
        if config.tones == 2:
            other = 1 - int(flow.background)
            flow.base.copy_(torch.tensor([0.05 if tone == other else 0.95 for tone in range(2)]))
        else:
            flow.base.copy_((counts + 1) / (counts + 1).sum())
            flow.noise.copy_(_spread(config.tones))
        flow.kernels.copy_(self._start(generator))
        self.take(films)

    def _start(self, generator: torch.Generator) -> Tensor:
        """Return random kernels; those of neighbouring places are alike."""
        kernels = self.flow.kernels
        _, paths, window = kernels.shape
        if len(kernels) == 1:
            drawn = torch.empty_like(kernels).exponential_(generator=generator)
        else:
            coarse = torch.empty(paths, window, 4, 4).exponential_(generator=generator)
            fine = F.interpolate(coarse, size=self.flow.image[1:], mode="bilinear")
            drawn = fine.permute(2, 3, 0, 1).reshape(kernels.shape)
        return drawn / drawn.sum(dim=2, keepdim=True)

    def take(self, films: Tones) -> None:
        """Learn from these films from now on."""
        self.films = films
        self.evidence = self.flow.pair_evidence(films)
        self.lit = self.flow.lit(films)[:, :-1]
        self.numbers = films[:, 1:].numel()

    def log_prob(self) -> Float[Tensor, "n steps paths"]:
        """Return log p(x_t+1 | x_t, u) of the films."""
        n, time, channels = self.films.shape[:3]
        return self.evidence.log_prob(self.flow.kernels).view(n, time - 1, channels, -1).sum(dim=2)

    def value(self, films: Tones) -> float:
        """Return −log p of films given their first frames, in nats a pixel."""
        flow = self.flow
        posterior = flow.filter(flow.path_log_prob(films), flow.lit(films)[:, :-1])
        return -float(posterior.log_evidence.sum()) / films[:, 1:].numel()

    def kernel_pass(self, number: int, *, smooth: bool) -> float:
        """Take one pass of EM over kernels and the chain, which depends on the last path alone."""
        flow = self.flow
        temper = min(1.0, 0.05 + 0.1 * number) if len(flow.kernels) == 1 else min(1.0, 0.02 + 0.05 * number)
        posterior = flow.filter(self.log_prob() * temper, self.lit)
        shares, pairs = flow.smooth(posterior, self.lit)
        channels = self.films.shape[2]
        counts = self.evidence.counts(flow.kernels, shares.flatten(0, 1).repeat_interleave(channels, dim=0))
        if smooth and len(flow.kernels) > 1:
            counts = self._blurred(counts)
        counts = counts + 1 / counts.shape[2]
        flow.kernels.copy_(counts / counts.sum(dim=2, keepdim=True))
        follow = pairs.sum(dim=(1, 2)) + 0.5 / pairs.shape[3]
        flow.follow.copy_((follow / follow.sum(dim=1, keepdim=True))[:, None, None].expand_as(flow.follow))
        self._count_start(shares)
        return -float(posterior.log_evidence.sum()) / self.numbers / temper

    def border_pass(self, smoothing: float) -> float:
        """Take one pass of EM over the chain alone, which depends on the distances to the border ahead.

        Counts of all three back off to p(u′ | u, down) p(u′ | u, across) / p(u′ | u), these to p(u′ | u).
        """
        flow = self.flow
        posterior = flow.filter(self.log_prob(), self.lit)
        shares, pairs = flow.smooth(posterior, self.lit)
        last = pairs.sum(dim=(1, 2)) + 0.3 / pairs.shape[3]
        last = (last / last.sum(dim=1, keepdim=True))[:, None]
        down, across = (_backed_off(pairs.sum(dim=axis), last, smoothing) for axis in (2, 1))
        both = down[:, :, None] * across[:, None] / last[:, None]
        both = both / both.sum(dim=3, keepdim=True)
        flow.follow.copy_(_backed_off(pairs, both, smoothing))
        self._count_start(shares)
        return -float(posterior.log_evidence.sum()) / self.numbers

    def choose_copied(self, validation: Tones) -> None:
        """Set λ to the one of `COPIED` under which films held out are most probable."""
        found = []
        for copied in COPIED:
            self.flow.config = replace(self.flow.config, copied=copied)
            found.append((self.value(validation), copied))
        self.flow.config = replace(self.flow.config, copied=min(found)[1])

    def _count_start(self, shares: Float[Tensor, "n steps paths"]) -> None:
        first = shares[:, 0].sum(dim=0) + 0.5
        self.flow.start.copy_(first / first.sum())

    def _blurred(self, counts: Tensor) -> Tensor:
        """Return the counts of each place with those of the places around it added."""
        places, paths, window = counts.shape
        planes = counts.view(*self.flow.image[1:], paths * window).permute(2, 0, 1)[:, None]
        blurred = F.avg_pool2d(planes, 3, stride=1, padding=1, divisor_override=1)
        return blurred[:, 0].permute(1, 2, 0).reshape(places, paths, window)


def _backed_off(counts: Tensor, prior: Tensor, strength: float) -> Tensor:
    return (counts + strength * prior) / (counts.sum(dim=-1, keepdim=True) + strength)


def _spread(tones: int) -> Float[Tensor, "tones tones"]:
    """Return the noise of copied grey tones: a discretised Laplace distribution, a fortieth of the range wide."""
    every = torch.arange(tones, dtype=torch.float32)
    weights = torch.exp(-(every[:, None] - every).abs() / max(0.4, (tones - 1) / 40))
    return weights / weights.sum(dim=1, keepdim=True)
