"""Paths as local transformations under a hidden Markov chain: what carries over is not a memory but a rule."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rgm.distributions.noise import exponential
from rgm.errors import RGMError
from rgm.runtime.device import shapes_alone
from rgm.temporal.config import FlowConfig
from rgm.temporal.dynamics import Dynamics, Expected, Tones, Visible
from rgm.temporal.kernels import Evidence, evidence
from rgm.temporal.neighbourhoods import TINY
from rgm.temporal.results import NextFrames

BEAM = 24
"""Sequences of paths that are followed when frames are predicted."""
CHUNK = 2**24
"""Maximum numbers of predicted pixels held at once."""


@dataclass(frozen=True)
class PathPosterior:
    """Paths of films: `predicted` p(u_t | x_≤t), before x_t+1 is seen, `filtered` with it; log p(x_2 … | x_1)."""

    predicted: Float[Tensor, "n steps paths"]
    filtered: Float[Tensor, "n steps paths"]
    log_evidence: Float[Tensor, " n"]


class Flow(Dynamics):
    """p(x_1) Π_t Σ_u p(u_t | u_t−1, x_t) p(x_t+1 | x_t, u_t), kernels as in `rgm.temporal.kernels`.

    `follow[u, down, across, u′]` is p(u′ | u, distances): those from what is lit to the border that lies ahead of u's
    motion, up to `sight` pixels, or `sight` + 1 where it does not move along the axis. The chain over paths is exact
    for films that are seen. Where pixels are hidden, or frames are yet to come, pixels are carried as independent
    expected tones (an assumed-density filter); the first frame is a mixture of those kept from learning.
    """

    kernels: Tensor
    start: Tensor
    follow: Tensor
    base: Tensor
    noise: Tensor
    background: Tensor
    firsts: Tensor

    def __init__(self, image: tuple[int, int, int], tones: int, config: FlowConfig) -> None:
        super().__init__()
        self.image, self.tones, self.config = image, tones, config
        _, height, width = image
        places = 1 if config.places == "shared" else height * width
        window, paths, distances = (2 * config.reach + 1) ** 2, config.paths, config.sight + 2
        self.register_buffer("kernels", torch.full((places, paths, window), 1 / window))
        self.register_buffer("start", torch.full((paths,), 1 / paths))
        self.register_buffer("follow", torch.full((paths, distances, distances, paths), 1 / paths))
        self.register_buffer("base", torch.full((tones,), 1 / tones))
        self.register_buffer("noise", torch.empty(tones, tones) if shapes_alone() else torch.eye(tones))
        self.register_buffer("background", torch.zeros((), dtype=torch.uint8))
        self.register_buffer("firsts", torch.zeros(config.firsts, *image, dtype=torch.uint8))

    # The chain over paths

    def displacement(self) -> Float[Tensor, "paths 2"]:
        """Return by how much each path moves what it copies, (down, across) in pixels; 0 where places have kernels."""
        if len(self.kernels) > 1:
            return self.kernels.new_zeros(self.config.paths, 2)
        reach = self.config.reach
        offset = torch.arange(-reach, reach + 1, dtype=self.kernels.dtype, device=self.kernels.device)
        every = torch.cartesian_prod(offset, offset).reshape(-1, 2)
        return -(self.kernels[0] @ every)

    def ahead(self, lit: Bool[Tensor, "*n height width"]) -> tuple[Tensor, Tensor]:
        """Return the distances ahead of every path, down and across, (…, paths), as indices of `follow`."""
        sight, step = self.config.sight, self.displacement().round()
        found = []
        for axis, line in enumerate((lit.any(dim=-1), lit.any(dim=-2))):
            size = line.shape[-1]
            near = torch.where(line.any(dim=-1), line.int().argmax(dim=-1), size).clamp_max(sight)
            far = torch.where(line.any(dim=-1), line.flip(-1).int().argmax(dim=-1), size).clamp_max(sight)
            moves = step[:, axis]
            distance = torch.where(moves < 0, near[..., None], far[..., None])
            found.append(torch.where(moves == 0, sight + 1, distance))
        return found[0], found[1]

    def lit(self, tones: Tones) -> Bool[Tensor, "n time height width"]:
        """Return which pixels are not of the background."""
        return (tones != self.background).any(dim=2)

    def advance(
        self, belief: Float[Tensor, "n paths"], down: Int64[Tensor, "n paths"], across: Int64[Tensor, "n paths"]
    ) -> Float[Tensor, "n paths"]:
        """Return p(u′) = Σ_u p(u) p(u′ | u, distances)."""
        every = torch.arange(self.config.paths, device=belief.device)
        return torch.einsum("nu,nuv->nv", belief, self.follow[every, down, across])

    def filter(self, log: Float[Tensor, "n steps paths"], lit: Bool[Tensor, "n steps height width"]) -> PathPosterior:
        """Return the forward pass over films, given log p(x_t+1 | x_t, u) and the frames that are copied from."""
        down, across = self.ahead(lit)
        belief = self.start.expand(len(log), -1)
        predicted, filtered, evidence = [], [], log.new_zeros(len(log))
        for step in range(log.shape[1]):
            if step:
                belief = self.advance(belief, down[:, step], across[:, step])
            predicted.append(belief)
            joint = belief.clamp_min(TINY).log() + log[:, step]
            total = joint.logsumexp(dim=1, keepdim=True)
            belief = (joint - total).exp()
            filtered.append(belief)
            evidence = evidence + total[:, 0]
        return PathPosterior(torch.stack(predicted, dim=1), torch.stack(filtered, dim=1), evidence)

    def smooth(
        self, posterior: PathPosterior, lit: Bool[Tensor, "n steps height width"]
    ) -> tuple[Float[Tensor, "n steps paths"], Tensor]:
        """Return p(u_t | all frames), and the expected counts of (u, down, across, u′)."""
        down, across = self.ahead(lit)
        every = torch.arange(self.config.paths, device=lit.device)
        counts = torch.zeros_like(self.follow)
        share = posterior.filtered[:, -1]
        found = [share]
        for step in range(down.shape[1] - 1, 0, -1):
            ratio = share / posterior.predicted[:, step].clamp_min(TINY)
            places = (every.expand_as(down[:, step]), down[:, step], across[:, step])
            joint = posterior.filtered[:, step - 1][:, :, None] * self.follow[places] * ratio[:, None]
            counts.index_put_(places, joint, accumulate=True)
            share = joint.sum(dim=2)
            found.append(share)
        return torch.stack(found[::-1], dim=1), counts

    # Frames

    def pair_evidence(self, tones: Tones, side: int | None = None) -> Evidence:
        """Return what pairs of successive frames of films say, film by film, frame by frame, channel by channel.

        With a `side`, also block by block.
        """
        _, height, width = self.image
        before, after = (part.reshape(-1, height, width) for part in (tones[:, :-1], tones[:, 1:]))
        return evidence(
            before,
            after,
            reach=self.config.reach,
            noise=self.noise,
            base=self.base,
            background=int(self.background),
            copied=self.config.copied,
            shared=len(self.kernels) == 1,
            side=side,
        )

    def path_log_prob(self, tones: Tones) -> Float[Tensor, "n steps paths"]:
        """Return log p(x_t+1 | x_t, u) of every step and path, in nats."""
        n, time, channels = tones.shape[:3]
        size = max(1, CHUNK // (8 * math.prod(self.image) * max(1, time - 1)))
        parts = [self.pair_evidence(part).log_prob(self.kernels) for part in tones.split(size)]
        return torch.cat(parts).view(n, time - 1, channels, -1).sum(dim=2)

    def copy(self, field: Float[Tensor, "n channels height width"], weights: Float[Tensor, "n paths"]) -> Tensor:
        """Return λ Σ_u weights[u] Σ_j w_u[j] x[i + j] of every pixel, for a field x that is 0 for the background."""
        n, channels, height, width = field.shape
        side = 2 * self.config.reach + 1
        if len(self.kernels) == 1:
            mixed = (weights @ self.kernels[0]).view(n, 1, side, side).expand(-1, channels, -1, -1)
            flat = F.conv2d(
                field.reshape(1, n * channels, height, width),
                mixed.reshape(n * channels, 1, side, side),
                padding=self.config.reach,
                groups=n * channels,
            )
            return self.config.copied * flat.view(n, channels, height, width)
        around = self._around(field)
        if n < len(weights[0]):
            mixed = torch.einsum("puj,nu->npj", self.kernels, weights)
            found = torch.einsum("ncjp,npj->ncp", around, mixed)
        else:
            found = torch.einsum("ncup,nu->ncp", torch.einsum("ncjp,puj->ncup", around, self.kernels), weights)
        return self.config.copied * found.view(n, channels, height, width)

    def copy_each(self, field: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n paths _ _ _"]:
        """Return λ Σ_j w_u[j] x[i + j] of every path and pixel."""
        n, channels, height, width = field.shape
        side = 2 * self.config.reach + 1
        if len(self.kernels) == 1:
            weights = self.kernels[0].view(-1, 1, side, side)
            found = F.conv2d(field.reshape(-1, 1, height, width), weights, padding=self.config.reach)
            found = found.view(n, channels, -1, height * width)
        else:
            found = torch.einsum("ncjp,puj->ncup", self._around(field), self.kernels)
        return self.config.copied * found.transpose(1, 2).reshape(n, -1, channels, height, width)

    def _around(self, field: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n channels window pixels"]:
        """Return the values around every pixel, 0 outside of the frame."""
        n, channels, height, width = field.shape
        side = 2 * self.config.reach + 1
        found = F.unfold(field.reshape(-1, 1, height, width), side, padding=self.config.reach)
        return found.view(n, channels, side * side, height * width)

    def next_probs(self, tones: Float[Tensor, "n channels height width"] | Tensor, weights: Tensor) -> Tensor:
        """Return p(x′_i = v | x) of every tone v, (n, tones, channels, height, width), for paths of these weights."""
        found = []
        for value in range(self.tones):
            likely = self.noise[:, value]
            zero = float(likely[int(self.background)])
            field = likely[tones.long()] - zero
            rest = self.config.copied * zero + (1 - self.config.copied) * float(self.base[value])
            found.append(self.copy(field, weights) + rest)
        return torch.stack(found, dim=1)

    def next_expected(self, field: Float[Tensor, "n channels height width"], weights: Tensor) -> Tensor:
        """Return the expected tones of the next frame, for expected tones of the last."""
        every = torch.arange(self.tones, device=field.device, dtype=field.dtype)
        zero, mean = float(self.background), float(self.base @ every)
        return self.copy(field - zero, weights) + self.config.copied * zero + (1 - self.config.copied) * mean

    def first_log_prob(self, first: Tones, visible: Visible) -> Float[Tensor, "n firsts"]:
        """Return log p(x_1 | kept frame) of first frames, in nats; a pixel differs with probability 1 − λ or more."""
        hit, found = math.log(0.9), []
        miss = math.log(0.1 / (self.tones - 1))
        kept = self.firsts.flatten(1)
        for frame, shown in zip(first[:, 0].flatten(1), visible[:, 0].flatten(1), strict=True):
            same = (kept == frame) & shown
            agreed = same.sum(dim=1).to(self.start)
            found.append(agreed * hit + (shown.sum() - agreed) * miss)
        return torch.stack(found)

    def first_evidence(self, tones: Tones, visible: Visible) -> tuple[Tensor, Float[Tensor, " n"]]:
        """Return `first_log_prob` of films' first frames, and log p(x_1) of their mixture, in nats."""
        weights = self.first_log_prob(tones[:, :1], visible[:, :1])
        return weights, weights.logsumexp(dim=1) - math.log(max(1, len(self.firsts)))

    # What a model asks

    def log_prob(self, tones: Tones, visible: Visible) -> Float[Tensor, " n"]:
        """Return log p(visible tones): exact where all frames are seen, else by the assumed-density filter."""
        return self._run(tones, visible)[2]

    def infer(
        self, tones: Tones, visible: Visible
    ) -> tuple[Expected, Int64[Tensor, "n steps"], Float[Tensor, "n steps events"], tuple[Tensor, ...], Tensor]:
        """Return what `Dynamics.infer` promises; hidden pixels given the frames before them."""
        frames, posterior, evidence = self._run(tones, visible)
        if posterior is None:
            none = torch.zeros(len(tones), 0, dtype=torch.int64, device=tones.device)
            return frames, none, frames.new_zeros(len(tones), 0, self.config.paths), (), evidence
        path, shares = self._path(posterior, self._lit_of(frames))
        return frames, path, shares, (), evidence

    def _lit_of(self, frames: Expected) -> Bool[Tensor, "n time height width"]:
        return ((frames - float(self.background)).abs() > 0.5).any(dim=2)

    def _path(
        self, posterior: PathPosterior, lit: Bool[Tensor, "n time height width"]
    ) -> tuple[Int64[Tensor, "n steps"], Float[Tensor, "n steps paths"]]:
        """Return the most probable sequence of paths, and each step's smoothed paths."""
        sources = lit[:, : posterior.filtered.shape[1]]
        log = (posterior.filtered.clamp_min(TINY) / posterior.predicted.clamp_min(TINY)).log()
        down, across = self.ahead(sources)
        every = torch.arange(self.config.paths, device=lit.device)
        best = self.start.clamp_min(TINY).log() + log[:, 0]
        origins = []
        for step in range(1, log.shape[1]):
            along = self.follow[every, down[:, step], across[:, step]].clamp_min(TINY).log()
            best, origin = (best[:, :, None] + along).max(dim=1)
            best = best + log[:, step]
            origins.append(origin)
        path = [best.argmax(dim=1)]
        for origin in reversed(origins):
            path.append(origin.gather(1, path[-1][:, None])[:, 0])
        return torch.stack(path[::-1], dim=1), self.smooth(posterior, sources)[0]

    def _run(self, tones: Tones, visible: Visible) -> tuple[Expected, PathPosterior | None, Float[Tensor, " n"]]:
        """Return expected tones of all frames, the paths' posterior, and log p(visible)."""
        weights, evidence = self.first_evidence(tones, visible)
        if bool(visible.all()):
            frames = tones.to(self.start.dtype)
            if tones.shape[1] == 1:
                return frames, None, evidence
            posterior = self.filter(self.path_log_prob(tones), self.lit(tones)[:, :-1])
            return frames, posterior, evidence + posterior.log_evidence
        likely = weights.softmax(dim=1) @ self.firsts.flatten(1).to(weights.dtype)
        field = torch.where(visible[:, 0], tones[:, 0].to(weights), likely.view(len(tones), *self.image))
        run, predicted, filtered = [field], [], []
        belief = self.start.expand(len(tones), -1)
        for step in range(1, tones.shape[1]):
            if step > 1:
                belief = self.advance(belief, *self.ahead(self._lit_of(field[:, None])[:, 0]))
            predicted.append(belief)
            log, after = self._step(field, tones[:, step], visible[:, step], belief)
            total = log.logsumexp(dim=1)
            evidence = evidence + total
            belief = (log - total[:, None]).exp()
            filtered.append(belief)
            field = torch.where(visible[:, step], tones[:, step].to(field), after(belief))
            run.append(field)
        steps = PathPosterior(torch.stack(predicted, dim=1), torch.stack(filtered, dim=1), evidence)
        return torch.stack(run, dim=1), steps, evidence

    def _step(self, field: Tensor, target: Tensor, visible: Tensor, belief: Tensor) -> tuple[Tensor, "Following"]:
        """Return log p(u, visible target), and what gives the next frame for a belief over paths.

        A pixel's probability of a tone is taken from its expected tone: linear between the two nearest tones.
        """
        low = field.floor().clamp(0, self.tones - 1)
        rest = field - low
        high = (low + 1).clamp_max(self.tones - 1)
        probs = field.new_zeros(len(field), self.config.paths, *self.image)
        for value in range(self.tones):
            likely = self.noise[:, value]
            zero = float(likely[int(self.background)])
            source = (1 - rest) * likely[low.long()] + rest * likely[high.long()] - zero
            constant = self.config.copied * zero + (1 - self.config.copied) * float(self.base[value])
            probs = torch.where((target == value)[:, None], self.copy_each(source) + constant, probs)
        found = (probs.clamp_min(TINY).log() * visible[:, None]).flatten(2).sum(dim=2)
        return belief.clamp_min(TINY).log() + found, Following(self, field)

    def complete(self, tones: Tones, visible: Visible, generator: torch.Generator | None) -> Expected:  # noqa: ARG002
        """Return films whose hidden pixels are expected given the frames before them: nothing is drawn."""
        return torch.where(visible, tones.to(self.start.dtype), self._run(tones, visible)[0])

    def predict(self, tones: Tones, visible: Visible, steps: int, generator: torch.Generator | None) -> Expected:
        """Return the frames that follow: expected over the most probable sequences of paths, or along one drawn."""
        frames, posterior, _ = self._run(tones, visible)
        lit = self._lit_of(frames[:, -1:])[:, 0]
        belief = self.start.expand(len(tones), -1)
        if posterior is not None:
            belief = self.advance(posterior.filtered[:, -1], *self.ahead(lit))
        parts = [
            self._follow(frames[place, -1][None], belief[place][None], steps, generator)[0]
            for place in range(len(tones))
        ]
        return torch.cat(parts)

    def _follow(
        self, field: Tensor, belief: Tensor, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "1 steps"]]:
        """Follow one film: its last frame (1, …), the belief over its next path (1, paths)."""
        beam, weights, last, found, path = field, belief.new_ones(1), belief, [], []
        for step in range(steps):
            if step:
                belief = self.advance(last, *self.ahead(self._lit_of(beam[:, None])[:, 0]))
            joint = (weights[:, None] * belief).flatten()
            if generator is not None:
                chosen = (joint / exponential(joint, generator)).argmax()[None]
                weights = joint.new_ones(1)
            else:
                chosen = joint.topk(min(BEAM, int((joint > 0).sum()))).indices
                weights = joint[chosen] / joint[chosen].sum()
            origin, number = chosen // self.config.paths, chosen % self.config.paths
            last = F.one_hot(number, self.config.paths).to(field)
            beam = self.next_expected(beam[origin], last)
            found.append(torch.einsum("b,bchw->chw", weights, beam))
            path.append(number[0])
        return torch.stack(found)[None], torch.stack(path)[None]

    def successors(self, tones: Tones, event: int) -> Float[Tensor, " paths"]:
        """Return p(u′ | u, distances of the last frame)."""
        belief = F.one_hot(torch.tensor([event], device=tones.device), self.config.paths).to(self.start)
        return self.advance(belief, *self.ahead(self.lit(tones[:, -1:])[:, 0]))[0]

    def continued(
        self, tones: Tones, event: int, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "1 steps"]]:
        """Return the expected frames along the path and those drawn after it."""
        belief = F.one_hot(torch.tensor([event], device=tones.device), self.config.paths).to(self.start)
        return self._follow(tones[:, -1].to(self.start), belief, steps, generator)

    def sample(
        self, count: int, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "n steps"]]:
        """Return films that begin with a frame kept from learning and follow a path drawn."""
        chosen = torch.randint(len(self.firsts), (count,), generator=generator)
        films, paths = [], []
        for place in chosen:
            first = self.firsts[place][None].to(self.start.dtype)
            if steps == 1:
                films.append(first[:, None])
                paths.append(torch.zeros(1, 0, dtype=torch.int64))
                continue
            source = generator or torch.default_generator
            after, path = self._follow(first, self.start[None], steps - 1, source)
            films.append(torch.cat([first[:, None], after], dim=1))
            paths.append(path)
        return torch.cat(films), torch.cat(paths)

    def retold(self, tones: Tones) -> tuple[Float[Tensor, " n"], Expected]:
        """Return the bits that name the most probable paths, each given the frames before, and the frames they tell.

        A frame is told by its path and the frame before it. Raises RGMError for films of a single frame.
        """
        posterior = self._run(tones, torch.ones_like(tones, dtype=torch.bool))[1]
        if posterior is None:
            raise RGMError("a film is retold by its paths from frame to frame, but these have a single frame")
        path, _ = self._path(posterior, self.lit(tones))
        bits = -posterior.predicted.gather(2, path[..., None]).clamp_min(TINY).log2().sum(dim=(1, 2))
        chosen = F.one_hot(path, self.config.paths).to(self.start)
        after = [self.next_expected(*part) for part in self._sources(tones, chosen)]
        told = torch.cat(after).unflatten(0, path.shape)
        return bits, torch.cat([tones[:, :1].to(told), told], dim=1)

    def _sources(self, tones: Tones, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for before, _, share in self._pairs(tones, weights):
            yield before.to(self.start), share

    def follow_path(self, first: Tones, path: Int64[Tensor, "n steps"]) -> Expected:
        """Return the films that begin with these frames, (n, 1, …), and follow these paths."""
        frames = [first[:, 0].to(self.start)]
        for step in path.T:
            frames.append(self.next_expected(frames[-1], F.one_hot(step, self.config.paths).to(self.start)))
        return torch.stack(frames, dim=1)

    def next_frames(self, tones: Tones) -> NextFrames:
        """Return the next frame's nats: marginal, and joint, −log Σ_u p(u | x_≤t) Π_i p(x_t+1,i | x_t, u)."""
        log = self.path_log_prob(tones)
        posterior = self.filter(log, self.lit(tones)[:, :-1])
        joint = (posterior.predicted.clamp_min(TINY).log() + log).logsumexp(dim=2)
        marginal = [self._marginal(*part) for part in self._pairs(tones, posterior.predicted)]
        return NextFrames(marginal_nats=torch.cat(marginal).view_as(joint), joint_nats=-joint / math.prod(self.image))

    def _pairs(self, tones: Tones, weights: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        size = max(1, CHUNK // (math.prod(self.image) * (2 * self.config.reach + 1) ** 2))
        before, after = tones[:, :-1].flatten(0, 1), tones[:, 1:].flatten(0, 1)
        yield from zip(before.split(size), after.split(size), weights.flatten(0, 1).split(size), strict=True)

    def _marginal(self, before: Tensor, after: Tensor, weights: Tensor) -> Float[Tensor, " pairs"]:
        """Return −log p(x′_i | past) in nats, the mean over pixels."""
        probs = self.next_probs(before, weights).gather(1, after[:, None].long())[:, 0]
        return -probs.clamp_min(TINY).log().flatten(1).mean(dim=1)


class Following:
    """The next frame's expected tones, for a belief over paths."""

    def __init__(self, flow: Flow, field: Tensor) -> None:
        self.flow, self.field = flow, field

    def __call__(self, belief: Tensor) -> Tensor:
        """Return them."""
        return self.flow.next_expected(self.field, belief)
