"""Learning a flow by expectation–maximisation: kernels, the chain over paths, what the border ahead says of it."""

from dataclasses import dataclass, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from rgm.errors import RGMError
from rgm.model.bounds import Positive, Size
from rgm.runtime.progress import StageReport
from rgm.temporal.config import FlowConfig, TemporalConfig
from rgm.temporal.dynamics import Tones
from rgm.temporal.flow import Flow
from rgm.temporal.kernels import Evidence, blocks_of, shifts
from rgm.temporal.neighbourhood_flow import flow_of
from rgm.temporal.neighbourhoods import EVIDENCE

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

    With a `block`, every square of so many pixels has a path of its own, with evidence as of neighbourhoods
    (`rgm.temporal.neighbourhoods`). With `shifts`, kernels move by multiples of so many pixels, and only the chain is
    learned. `spreads` are compared like starts: widths of the noise of grey tones, in fortieths of their range.
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
    block: Size | None = None
    shifts: Positive | None = None
    spreads: tuple[Positive, ...] = (1.0,)

    @property
    def epochs(self) -> int:
        """Passes over all films."""
        return self.passes + self.border_passes


def clip_recipe() -> FlowRecipe:
    """Return the recipe of grey clips: shifts by half pixels, a path for every block of 8 × 8."""
    return FlowRecipe(
        starts=1, trial=8, passes=8, border_passes=0, own_paths=0, block=8, shifts=0.5, spreads=(0.25, 0.5, 1.0)
    )


def learn_flow(
    config: TemporalConfig,
    films: Tones,
    validation: Tones | None,
    recipe: FlowRecipe,
    *,
    seed: int,
    report: StageReport = lambda *_: None,
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
    candidates = [(replace(wanted, firsts=0), spread) for spread in recipe.spreads for _ in range(recipe.starts)]
    if wanted.places == "shared" and recipe.own_paths and config.tones == 2 and len(films) > 1:
        own = replace(wanted, places="each", reach=recipe.own_reach, paths=recipe.own_paths, firsts=0)
        candidates = [*candidates, (own, 1.0)]
    best: tuple[float, _Learner] | None = None
    for number, (dynamics, spread) in enumerate(candidates):
        learner = _Learner(config, dynamics, recipe, spread, some, generator)
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
    finished = flow_of(config.image, config.tones, done)
    finished.load_state_dict(flow.state_dict() | {"firsts": firsts})
    return finished, replace(config, dynamics=done)


class _Learner:
    """A flow with the films that it is learned from."""

    def __init__(
        self,
        config: TemporalConfig,
        dynamics: FlowConfig,
        recipe: FlowRecipe,
        spread: float,
        films: Tones,
        generator: torch.Generator,
    ) -> None:
        self.flow = flow = flow_of(config.image, config.tones, dynamics)
        self.block, self.fixed = recipe.block, recipe.shifts is not None
        self.weight = 1.0 if recipe.block is None else EVIDENCE
        counts = films.flatten().long().bincount(minlength=config.tones).to(flow.base)
        flow.background.copy_(counts.argmax())
        if config.tones == 2:
            other = 1 - int(flow.background)
            flow.base.copy_(torch.tensor([0.05 if tone == other else 0.95 for tone in range(2)]))
        else:
            flow.base.copy_((counts + 1) / (counts + 1).sum())
            flow.noise.copy_(_spread(config.tones, spread))
        flow.kernels.copy_(self._start(generator) if recipe.shifts is None else self._shifts(recipe.shifts))
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

    def _shifts(self, step: float) -> Tensor:
        found = shifts(self.flow.config.reach, step)[None]
        if found.shape != self.flow.kernels.shape:
            raise RGMError(
                f"shifts by {step:g} pixels over {self.flow.config.reach} make {found.shape[1]} paths, shared by all "
                f"places, but the model has {self.flow.config.paths} and kernels of {self.flow.config.places} places"
            )
        return found

    def take(self, films: Tones) -> None:
        """Learn from these films from now on."""
        self.films = films
        self.evidence = self.flow.pair_evidence(films, self.block)
        self.lit = self._lit(films)
        self.numbers = films[:, 1:].numel()

    def _lit(self, films: Tones) -> Bool[Tensor, "_ _ _ _"]:
        """Return what is lit in the frames that are copied from; nothing, block by block, where blocks have paths."""
        if self.block is None:
            return self.flow.lit(films)[:, :-1]
        blocks = int(blocks_of(films.shape[3], films.shape[4], self.block).max()) + 1
        return torch.zeros(len(films) * blocks, films.shape[1] - 1, 1, 1, dtype=torch.bool)

    def log_prob(self) -> Float[Tensor, "n steps paths"]:
        """Return log p(x_t+1 | x_t, u) of the films, or of all blocks of all films, weighted."""
        return self._log_prob(self.evidence, self.films)

    def _log_prob(self, found: Evidence, films: Tones) -> Float[Tensor, "n steps paths"]:
        n, time, channels = films.shape[:3]
        log = found.log_prob(self.flow.kernels).view(n, time - 1, channels, -1, self.flow.config.paths).sum(dim=2)
        return self.weight * log.transpose(1, 2).flatten(0, 1)

    def value(self, films: Tones) -> float:
        """Return −log p of films given their first frames, in nats a pixel."""
        flow = self.flow
        blocks = self.block is not None
        log = self._log_prob(flow.pair_evidence(films, self.block), films) if blocks else flow.path_log_prob(films)
        posterior = flow.filter(log, self._lit(films))
        return -float(posterior.log_evidence.sum()) / films[:, 1:].numel() / self.weight

    def kernel_pass(self, number: int, *, smooth: bool) -> float:
        """Take one pass of EM over kernels and the chain, which depends on the last path alone."""
        flow = self.flow
        temper = min(1.0, 0.05 + 0.1 * number) if len(flow.kernels) == 1 else min(1.0, 0.02 + 0.05 * number)
        temper = 1.0 if self.fixed else temper
        posterior = flow.filter(self.log_prob() * temper, self.lit)
        shares, pairs = flow.smooth(posterior, self.lit)
        if not self.fixed:
            counts = self.evidence.counts(flow.kernels, self._pairwise(shares))
            if smooth and len(flow.kernels) > 1:
                counts = self._blurred(counts)
            counts = counts + 1 / counts.shape[2]
            flow.kernels.copy_(counts / counts.sum(dim=2, keepdim=True))
        follow = pairs.sum(dim=(1, 2)) + 0.5 / pairs.shape[3]
        flow.follow.copy_((follow / follow.sum(dim=1, keepdim=True))[:, None, None].expand_as(flow.follow))
        self._count_start(shares)
        return -float(posterior.log_evidence.sum()) / self.numbers / temper / self.weight

    def _pairwise(self, shares: Float[Tensor, "n steps paths"]) -> Float[Tensor, "pairs paths"]:
        """Return the paths' shares of every pair of frames, channel and block, in the order of the evidence."""
        n, channels = len(self.films), self.films.shape[2]
        by_block = shares.unflatten(0, (n, -1)).transpose(1, 2)
        return by_block[:, :, None].expand(-1, -1, channels, -1, -1).flatten(0, 3)

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
        first = (shares[:, 0] if self.block is None else shares.flatten(0, 1)).sum(dim=0) + 0.5
        self.flow.start.copy_(first / first.sum())

    def _blurred(self, counts: Tensor) -> Tensor:
        """Return the counts of each place with those of the places around it added."""
        places, paths, window = counts.shape
        planes = counts.view(*self.flow.image[1:], paths * window).permute(2, 0, 1)[:, None]
        blurred = F.avg_pool2d(planes, 3, stride=1, padding=1, divisor_override=1)
        return blurred[:, 0].permute(1, 2, 0).reshape(places, paths, window)


def _backed_off(counts: Tensor, prior: Tensor, strength: float) -> Tensor:
    return (counts + strength * prior) / (counts.sum(dim=-1, keepdim=True) + strength)


def _spread(tones: int, width: float) -> Float[Tensor, "tones tones"]:
    """Return the noise of copied grey tones: Student's t with two degrees of freedom, `width` fortieths of the range.

    Its heavy tails keep a pixel that did not move as predicted from deciding where its neighbourhood moves.
    """
    every = torch.arange(tones, dtype=torch.float32)
    apart = (every[:, None] - every) / max(0.4, width * (tones - 1) / 40)
    weights = (1 + apart.square()) ** -1.5
    return weights / weights.sum(dim=1, keepdim=True)
