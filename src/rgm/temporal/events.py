"""A Markov chain over events as an edge list: exact forward–backward, most probable path and conditional draws."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.distributions.noise import Source, exponential

Log = Float[Tensor, "steps events n"]
"""log p(observations of a step | event), in nats."""


@dataclass(frozen=True)
class Filtered:
    """The forward pass: p(event | steps up to and with its own), and log p(all observations) in nats."""

    posterior: Float[Tensor, "steps events n"]
    log_evidence: Float[Tensor, " n"]


@dataclass(frozen=True)
class EventChain:
    """p(e_1) = `start`, p(e′ | e) = (1 − jump) count(e → e′) / count(e → ·) + jump · start(e′).

    Edges are `source`, `target` and `count`; an event without a successor leads anywhere, as a jump does. All passes
    take a batch and cost its size times the number of edges, a step at a time; there is no dense transition array.
    """

    source: Int64[Tensor, " edges"]
    target: Int64[Tensor, " edges"]
    count: Float[Tensor, " edges"]
    start: Float[Tensor, " events"]
    jump: float

    @property
    def share(self) -> Float[Tensor, " edges"]:
        """(1 − jump) count(e → e′) / count(e → ·) of every edge."""
        return (1 - self.jump) * self.count / self._left()[self.source]

    @property
    def leak(self) -> Float[Tensor, " events"]:
        """Probability that an event is followed by one from `start` in place of an edge's."""
        return torch.ones_like(self.start).masked_fill_(self._left() > 0, self.jump)

    def _left(self) -> Float[Tensor, " events"]:
        return torch.zeros_like(self.start).index_add_(0, self.source, self.count)

    def advance(self, belief: Float[Tensor, "events n"], share: Tensor, leak: Tensor) -> Float[Tensor, "events n"]:
        """Return p(e′) = Σ_e p(e) p(e′ | e)."""
        found = self.start[:, None] * (leak @ belief)
        return found.index_add_(0, self.target, share[:, None] * belief[self.source])

    def filter(self, log: Log) -> Filtered:
        """Return the forward pass; `log` is 0 where nothing is observed."""
        share, leak = self.share, self.leak
        tiny = torch.finfo(log.dtype).tiny
        belief = self.start[:, None].expand(-1, log.shape[2])
        posterior, evidence = torch.empty_like(log), log.new_zeros(log.shape[2])
        for step, observed in enumerate(log):
            if step:
                belief = self.advance(posterior[step - 1], share, leak)
            top = observed.amax(dim=0)
            joint = belief * (observed - top).exp()
            total = joint.sum(dim=0).clamp_min(tiny)
            posterior[step] = joint / total
            evidence = evidence + top + total.log()
        return Filtered(posterior, evidence)

    def smooth(self, log: Log) -> tuple[Filtered, Float[Tensor, "steps events n"], Float[Tensor, " edges"]]:
        """Return the forward pass, p(e | all observations) of every step, and the expected count of every edge."""
        share, leak = self.share, self.leak
        filtered = self.filter(log)
        tiny = torch.finfo(log.dtype).tiny
        smoothed = filtered.posterior.clone()
        counts = torch.zeros_like(self.count)
        for step in range(len(log) - 1, 0, -1):
            before = filtered.posterior[step - 1]
            ratio = smoothed[step] / self.advance(before, share, leak).clamp_min(tiny)
            along = before[self.source] * ratio[self.target]
            counts += share * along.sum(dim=1)
            back = leak[:, None] * (self.start @ ratio)
            back = back.index_add(0, self.source, share[:, None] * ratio[self.target])
            smoothed[step - 1] = before * back
        return filtered, smoothed, counts

    def most_probable(self, log: Log) -> Int64[Tensor, "n steps"]:
        """Return the path of events with the highest posterior probability: max–product."""
        share, leak = self.share.log(), self.leak.log()
        start = self.start.log()
        n, events = log.shape[2], len(start)
        best = start[:, None] + log[0]
        origins = []
        for observed in log[1:]:
            jumps, origin = (best + leak[:, None]).max(dim=0)
            value = start[:, None] + jumps
            came = origin.expand(events, n).clone()
            along = best[self.source] + share[:, None]
            most = torch.full_like(value, -torch.inf)
            most.scatter_reduce_(0, self.target[:, None].expand(-1, n), along, "amax")
            better = most > value
            is_best = (along == most[self.target]).nonzero()
            edge = torch.zeros_like(came)
            edge[self.target[is_best[:, 0]], is_best[:, 1]] = self.source[is_best[:, 0]]
            came = torch.where(better, edge, came)
            best = torch.where(better, most, value) + observed
            origins.append(came)
        path = [best.argmax(dim=0)]
        for came in reversed(origins):
            path.append(came.gather(0, path[-1][None])[0])
        return torch.stack(path[::-1], dim=1)

    def path_log_prob(self, path: Int64[Tensor, "n steps"]) -> Float[Tensor, " n"]:
        """Return log p(e_1, …) of sequences of events, in nats."""
        size = len(self.start)
        keys, order = (self.source * size + self.target).sort()
        found = self.start[path[:, 0]].log()
        share, leak = self.share, self.leak
        for before, after in zip(path.T, path.T[1:], strict=False):
            asked = before * size + after
            place = torch.searchsorted(keys, asked).clamp_max(max(0, len(keys) - 1))
            along = torch.zeros_like(found)
            if len(keys):
                along = torch.where(keys[place] == asked, share[order[place]], 0.0)
            found = found + (along + leak[before] * self.start[after]).log()
        return found

    def draw(self, filtered: Filtered, source: Source) -> Int64[Tensor, "n steps"]:
        """Return one path a film, drawn from its posterior: forwards filtered, backwards sampled."""
        share, leak = self.share, self.leak
        drawn = [_categorical(filtered.posterior[-1], source)]
        for before in filtered.posterior[:-1].flip(0):
            after = drawn[-1]
            weight = before * leak[:, None] * self.start[after]
            into = (self.target[:, None] == after).to(share.dtype) * share[:, None] * before[self.source]
            weight.index_add_(0, self.source, into)
            drawn.append(_categorical(weight, source))
        return torch.stack(drawn[::-1], dim=1)

    def continuation(self, belief: Float[Tensor, "events n"], steps: int) -> Float[Tensor, "steps events n"]:
        """Return p(e) of the steps after a belief."""
        share, leak = self.share, self.leak
        found = belief.new_empty(steps, *belief.shape)
        for step in range(steps):
            belief = self.advance(belief, share, leak)
            found[step] = belief
        return found

    def successors(self, event: int) -> Float[Tensor, " events"]:
        """Return p(e′ | e)."""
        belief = torch.zeros_like(self.start)
        belief[event] = 1
        return self.advance(belief[:, None], self.share, self.leak)[:, 0]

    def walk(self, first: Int64[Tensor, " n"], steps: int, source: Source) -> Int64[Tensor, "n steps"]:
        """Return events drawn one after another, after the `first`."""
        path = [first]
        share, leak = self.share, self.leak
        for _ in range(steps):
            belief = torch.zeros(len(self.start), len(first), dtype=self.start.dtype, device=self.start.device)
            belief[path[-1], torch.arange(len(first), device=first.device)] = 1
            path.append(_categorical(self.advance(belief, share, leak), source))
        return torch.stack(path[1:], dim=1) if steps else first[:, None][:, :0]


def _categorical(weight: Float[Tensor, "events n"], source: Source) -> Int64[Tensor, " n"]:
    columns = weight.T.contiguous()
    return (columns / exponential(columns, source)).argmax(dim=1)
