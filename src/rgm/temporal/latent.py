"""Latent events: a chain whose events are distributions of a frame's tones, learned by expectation–maximisation."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.temporal.config import LatentConfig
from rgm.temporal.dynamics import Dynamics, Expected, Tones, Visible
from rgm.temporal.events import EventChain
from rgm.temporal.results import NextFrames

LARGEST = 2**25
"""Maximum numbers of a chunk of a batch."""


class Latent(Dynamics):
    """p(e_1) Π_t p(e_t+1 | e_t) Π_i p(x_t,i | e_t): frames given latent events, exact by forward–backward.

    `tables[e, v, i]` is p(x_i = v | e); transitions are an edge list with expected counts.
    """

    tables: Tensor
    edges: Tensor
    edge_counts: Tensor
    start: Tensor

    def __init__(self, image: tuple[int, int, int], tones: int, config: LatentConfig) -> None:
        super().__init__()
        self.image, self.tones, self.config = image, tones, config
        self.register_buffer("tables", torch.full((config.events, tones, math.prod(image)), 1 / tones))
        self.register_buffer("edges", torch.zeros(config.edges, 2, dtype=torch.int32))
        self.register_buffer("edge_counts", torch.ones(config.edges))
        self.register_buffer("start", torch.full((config.events,), 1 / max(1, config.events)))

    def chain(self) -> EventChain:
        """Return the chain of events."""
        edges = self.edges.long()
        return EventChain(edges[:, 0], edges[:, 1], self.edge_counts, self.start, self.config.jump)

    def one_hot(self, tones: Tones, visible: Visible) -> Float[Tensor, "n time symbols"]:
        """Return 1 for the tone of each visible pixel, (films, frames, tones · pixels)."""
        flat = F.one_hot(tones.flatten(2).long(), self.tones).to(self.tables)
        return (flat * visible.flatten(2)[..., None]).transpose(2, 3).flatten(2)

    def observed(self, tones: Tones, visible: Visible) -> Float[Tensor, "steps events n"]:
        """Return log p(visible tones of a frame | event)."""
        log = self.tables.log().flatten(1)
        return (self.one_hot(tones, visible) @ log.T).permute(1, 2, 0)

    def expected(self, events: Float[Tensor, "steps events n"]) -> Expected:
        """Return expected tones of frames whose events have these probabilities."""
        every = torch.arange(self.tones, dtype=self.tables.dtype, device=self.tables.device)
        means = torch.einsum("evp,v->ep", self.tables, every)
        return (events.permute(2, 0, 1) @ means).unflatten(2, self.image)

    def _parts(self, tones: Tones, visible: Visible) -> list[tuple[Tensor, Tensor]]:
        largest = max(self.tones * math.prod(self.image), self.config.events)
        size = max(1, LARGEST // (largest * tones.shape[1]))
        return list(zip(tones.split(size), visible.split(size), strict=True))

    def log_prob(self, tones: Tones, visible: Visible) -> Float[Tensor, " n"]:
        """Return log p(visible tones) in nats, exact."""
        chain = self.chain()
        return torch.cat([chain.filter(self.observed(*part)).log_evidence for part in self._parts(tones, visible)])

    def infer(
        self, tones: Tones, visible: Visible
    ) -> tuple[Expected, Int64[Tensor, "n steps"], Float[Tensor, "n steps events"], tuple[Tensor, ...], Tensor]:
        """Return what `Dynamics.infer` promises, exact."""
        chain, parts = self.chain(), []
        for part in self._parts(tones, visible):
            log = self.observed(*part)
            filtered, smoothed, _ = chain.smooth(log)
            parts.append(
                (self.expected(smoothed), chain.most_probable(log), smoothed.permute(2, 0, 1), filtered.log_evidence)
            )
        frames, path, shares, evidence = (torch.cat(found) for found in zip(*parts, strict=True))
        return frames, path, shares, (), evidence

    def complete(self, tones: Tones, visible: Visible, generator: torch.Generator | None) -> Expected:
        """Return films whose hidden pixels are those expected of events drawn from the exact conditional."""
        chain, parts = self.chain(), []
        for part in self._parts(tones, visible):
            path = chain.draw(chain.filter(self.observed(*part)), generator)
            parts.append(self._of(path))
        return torch.where(visible, tones.to(self.tables.dtype), torch.cat(parts))

    def _of(self, path: Int64[Tensor, "n steps"]) -> Expected:
        return self.expected(F.one_hot(path, self.config.events).to(self.tables).permute(1, 2, 0))

    def predict(self, tones: Tones, visible: Visible, steps: int, generator: torch.Generator | None) -> Expected:
        """Return the frames that follow: expected ones, or those of events drawn."""
        chain, parts = self.chain(), []
        for part in self._parts(tones, visible):
            filtered = chain.filter(self.observed(*part))
            if generator is None:
                parts.append(self.expected(chain.continuation(filtered.posterior[-1], steps)))
            else:
                last = chain.draw(filtered, generator)[:, -1]
                parts.append(self._of(chain.walk(last, steps, generator)))
        return torch.cat(parts)

    def sample(
        self, count: int, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "n steps"]]:
        """Return films by ancestral sampling, without the noise of pixels."""
        chain = self.chain()
        first = torch.multinomial(chain.start, count, replacement=True, generator=generator)
        path = torch.cat([first[:, None], chain.walk(first, steps - 1, generator)], dim=1)
        return self._of(path), path

    def successors(self, tones: Tones, event: int) -> Float[Tensor, " events"]:  # noqa: ARG002 - a chain of events
        """Return p(e′ | e)."""
        return self.chain().successors(event)

    def continued(
        self, tones: Tones, event: int, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "1 steps"]]:
        """Return the frames expected of the event, and of events drawn after it."""
        first = torch.tensor([event], device=tones.device)
        path = torch.cat([first[:, None], self.chain().walk(first, steps - 1, generator)], dim=1)
        return self._of(path), path

    def retold(self, tones: Tones) -> tuple[Float[Tensor, " n"], Expected]:
        """Return the bits that name the most probable events, and the frames that these tell."""
        visible, chain = torch.ones_like(tones, dtype=torch.bool), self.chain()
        path = torch.cat([chain.most_probable(self.observed(*part)) for part in self._parts(tones, visible)])
        return -chain.path_log_prob(path) / math.log(2), self._of(path)

    def next_frames(self, tones: Tones) -> NextFrames:
        """Return the next frame's nats, marginal over pixels and joint, exact."""
        chain = self.chain()
        marginal, joint = [], []
        for part, visible in self._parts(tones, torch.ones_like(tones, dtype=torch.bool)):
            log = self.observed(part, visible)
            posterior = chain.filter(log).posterior
            share, leak = chain.share, chain.leak
            pixels, whole = [], []
            for step in range(1, part.shape[1]):
                prior = chain.advance(posterior[step - 1], share, leak)
                probs = (prior.T @ self.tables.flatten(1)).unflatten(1, (self.tones, -1))
                chosen = probs.gather(1, part[:, step].flatten(1)[:, None].long())[:, 0]
                pixels.append(-chosen.log().mean(dim=1))
                whole.append(-(prior.log() + log[step]).logsumexp(dim=0) / chosen.shape[1])
            marginal.append(torch.stack(pixels, dim=1))
            joint.append(torch.stack(whole, dim=1))
        return NextFrames(marginal_nats=torch.cat(marginal), joint_nats=torch.cat(joint))
