"""A tree over space and time by first appearance, under a chain of events: exact inference with any mask."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from rgm.temporal.config import MemoryConfig, TemporalConfig, TemporalLevel
from rgm.temporal.dynamics import Dynamics, Expected, Tones, Visible
from rgm.temporal.events import EventChain
from rgm.temporal.results import NextFrames
from rgm.temporal.structure import Structure, Table

LARGEST = 2**25
"""Maximum numbers in a message of a chunk of a batch."""


class Memory(Dynamics):
    """The tables of a `Structure` as buffers, and the sum–product over them.

    Every state has its members for certain, so that messages are sums of look-ups:

        l_0[s] = Σ_m log p(x_m | tone A_0[s, m])
        e[s → s′] = l[s] in the first half + l[s′] in the second,  l_{ℓ+1}[S] = Σ_m l_ℓ or e_ℓ [A_{ℓ+1}[S, m]]

    then forward–backward over events; posteriors scatter down the same look-ups. A pixel has its state's tone with
    probability 1 − noise, each other tone with noise / (tones − 1).
    """

    noise: Tensor

    def __init__(self, image: tuple[int, int, int], tones: int, config: MemoryConfig) -> None:
        super().__init__()
        self.image, self.tones, self.config = image, tones, config
        structure = self._empty()
        for number, level in enumerate(config.levels):
            width = structure.states[number].width
            self.register_buffer(f"members_{number}", torch.zeros(level.states, width, dtype=torch.int32))
            self.register_buffer(f"counts_{number}", torch.zeros(level.states, dtype=torch.int64))
            self.register_buffer(f"edges_{number}", torch.zeros(level.edges, 2, dtype=torch.int32))
            self.register_buffer(f"edge_counts_{number}", torch.zeros(level.edges, dtype=torch.int64))
        self.register_buffer("noise", torch.tensor(config.noise))
        self.factors = [block.factor for block in structure.blocks]
        self.span = structure.span

    def _empty(self) -> Structure:
        channels, height, width = self.image
        config = self.config
        return Structure.empty(height, width, channels, side=config.side, doublings=config.doublings, tones=self.tones)

    @classmethod
    def of(cls, structure: Structure, config: TemporalConfig) -> tuple["Memory", TemporalConfig]:
        """Return the dynamics of a structure, and the configuration with its sizes."""
        dynamics = config.dynamics
        assert isinstance(dynamics, MemoryConfig)
        levels = tuple(
            TemporalLevel(grid=block.grid, span=span, states=len(states), edges=len(edges))
            for block, span, states, edges in zip(
                structure.blocks, structure.spans(), structure.states, structure.edges, strict=True
            )
        )
        learned = replace(config, dynamics=replace(dynamics, levels=levels))
        memory = cls(config.image, config.tones, replace(dynamics, levels=levels))
        for number, (states, edges) in enumerate(zip(structure.states, structure.edges, strict=True)):
            for name, array in (
                ("members", states.rows),
                ("counts", states.counts),
                ("edges", edges.rows),
                ("edge_counts", edges.counts),
            ):
                memory.get_buffer(f"{name}_{number}").copy_(torch.from_numpy(np.ascontiguousarray(array)))
        return memory, learned

    def structure(self) -> Structure:
        """Return the structure, to learn more into."""
        found = self._empty()
        for number in range(len(self.config.levels)):
            for name, tables in (("members", found.states), ("edges", found.edges)):
                counts = "counts" if name == "members" else "edge_counts"
                rows = self.get_buffer(f"{name}_{number}").cpu().numpy()
                seen = self.get_buffer(f"{counts}_{number}").cpu().numpy().copy()
                tables[number] = Table(tables[number].width, rows, seen)
        return found

    # The chain, and look-ups

    @property
    def events(self) -> int:
        """Number of events."""
        return self.config.levels[-1].states if self.config.levels else 0

    def chain(self) -> EventChain:
        """Return the chain of events: edges with counts; the first is any, in proportion to how often it was seen."""
        top = len(self.config.levels) - 1
        edges = self.get_buffer(f"edges_{top}").long()
        start = self.get_buffer(f"counts_{top}").to(self.noise)
        return EventChain(
            source=edges[:, 0],
            target=edges[:, 1],
            count=self.get_buffer(f"edge_counts_{top}").to(self.noise),
            start=start / start.sum(),
            jump=self.config.jump,
        )

    def _members(self, level: int) -> Int64[Tensor, "states width"]:
        return self.get_buffer(f"members_{level}").long()

    def _leaves(self, tones: Tones, visible: Visible) -> Float[Tensor, "symbols n padded"]:
        """Return log p(x | tone) of every pixel and tone, 0 where it is hidden; time fills whole spans."""
        time = tones.shape[1]
        flat = tones.flatten(2).permute(2, 0, 1)
        hit = torch.log1p(-self.noise)
        miss = self.noise.log() - math.log(self.tones - 1)
        every = torch.arange(self.tones, device=tones.device)
        same = flat[:, None] == every[None, :, None, None]
        log = torch.where(same, hit, miss) * visible.flatten(2).permute(2, 0, 1)[:, None]
        padding = -time % self.span
        return torch.nn.functional.pad(log, (0, padding)).flatten(0, 1)

    def _up(self, leaves: Float[Tensor, "symbols n padded"]) -> Float[Tensor, "steps events n"]:
        """Return log p(visible | event) of every step."""
        log = leaves
        for level, factor in enumerate(self.factors):
            if factor == 2:
                edges = self.get_buffer(f"edges_{level - 1}").long()
                log = log[edges[:, 0], :, 0::2] + log[edges[:, 1], :, 1::2]
            log = torch.cat([log, log.new_zeros(1, *log.shape[1:])])
            members = self._members(level)
            found = log[members[:, 0]]
            for column in members.T[1:]:
                found += log[column]
            log = found
        return log.permute(2, 0, 1)

    def _down(self, events: Float[Tensor, "steps events n"]) -> list[Float[Tensor, "_ n _"]]:
        """Return the posteriors of the states of every level, events last, and before them those of pixels' tones."""
        share = events.permute(1, 2, 0).contiguous()
        found = [share]
        sizes = [self.image[0] * self.image[1] * self.image[2] * self.tones]
        sizes += [level.states for level in self.config.levels]
        for level in range(len(self.factors) - 1, -1, -1):
            doubled = self.factors[level] == 2
            size = self.config.levels[level - 1].edges if doubled else sizes[level]
            below = share.new_zeros(size + 1, *share.shape[1:])
            for column in self._members(level).T:
                below.index_add_(0, torch.where(column < 0, size, column), share)
            share = below[:-1]
            if doubled:
                edges = self.get_buffer(f"edges_{level - 1}").long()
                halves = share.new_zeros(sizes[level], *share.shape[1:], 2)
                halves[..., 0].index_add_(0, edges[:, 0], share)
                halves[..., 1].index_add_(0, edges[:, 1], share)
                share = halves.flatten(2)
            found.insert(0, share)
        return found

    def films_of(self, events: Int64[Tensor, "n steps"]) -> Tones:
        """Return the frames of sequences of events, as tones."""
        number, place = events.unique(return_inverse=True)
        symbols = self.descend(number[:, None, None], len(self.factors) - 1)
        shown = (symbols % self.tones).to(torch.uint8).unflatten(2, self.image)
        return shown[place].flatten(1, 2)

    def descend(self, symbols: Int64[Tensor, "n _ _"], level: int, lowest: int = 0) -> Int64[Tensor, "n _ _"]:
        """Return what the states of a level's cells, (n, steps, cells), are made of.

        Symbols of pixels, (n, frames, pixels), or the states of the level below `lowest`.
        """
        for here in range(level, lowest - 1, -1):
            members = self._members(here)
            grid = self.cells[here]
            below = members[symbols]  # (…, cells, width)
            size = int(grid.max()) + 1
            flat = below.new_zeros(*below.shape[:2], size + 1)
            index = torch.where(grid < 0, size, grid).to(below.device).expand_as(below).flatten(2)
            flat.scatter_(2, index, below.flatten(2))
            symbols = flat[..., :-1]
            if self.factors[here] == 2:
                edges = self.get_buffer(f"edges_{here - 1}").long()[symbols]  # (…, cells, 2)
                symbols = edges.permute(0, 1, 3, 2).flatten(1, 2)
        return symbols

    @property
    def cells(self) -> list[Int64[Tensor, "cells width"]]:
        """The members of every cell, level by level: cells of the level below, −1 for none."""
        return [torch.from_numpy(block.cells) for block in self._empty().blocks]

    def _expected(self, events: Float[Tensor, "steps events n"]) -> Expected:
        """Return the expected tones of the frames of events with these probabilities."""
        share = self._down(events)[0]
        tones = share.unflatten(0, (-1, self.tones))
        every = torch.arange(self.tones, device=share.device, dtype=share.dtype)
        expected = torch.einsum("pvnt,v->ntp", tones, every)
        return expected.unflatten(2, self.image)

    # What a model asks

    def log_prob(self, tones: Tones, visible: Visible) -> Float[Tensor, " n"]:
        """Return log p(visible tones) in nats, exact."""
        chain = self.chain()
        return torch.cat(
            [chain.filter(self._up(self._leaves(*part))).log_evidence for part in self._parts(tones, visible)]
        )

    def infer(
        self, tones: Tones, visible: Visible
    ) -> tuple[Expected, Int64[Tensor, "n steps"], Float[Tensor, "n steps events"], tuple[Tensor, ...], Tensor]:
        """Return what `Dynamics.infer` promises, exact."""
        chain, parts = self.chain(), []
        for part in self._parts(tones, visible):
            log = self._up(self._leaves(*part))
            filtered, smoothed, _ = chain.smooth(log)
            levels = self._down(smoothed)
            values = torch.arange(self.tones, device=log.device, dtype=log.dtype)
            expected = torch.einsum("pvnt,v->ntp", levels[0].unflatten(0, (-1, self.tones)), values)
            found = [self._best(level, share) for level, share in enumerate(levels[1:])]
            parts.append(
                (
                    expected.unflatten(2, self.image)[:, : tones.shape[1]],
                    chain.most_probable(log),
                    smoothed.permute(2, 0, 1),
                    found,
                    filtered.log_evidence,
                )
            )
        frames, path, probabilities, states, evidence = zip(*parts, strict=True)
        best = tuple(torch.cat(level) for level in zip(*states, strict=True))
        return torch.cat(frames), torch.cat(path), torch.cat(probabilities), best, torch.cat(evidence)

    def _best(self, level: int, share: Float[Tensor, "states n steps"]) -> Int64[Tensor, "n steps cells"]:
        """Return the most probable state of each cell of a level."""
        owner = self.owners()[level].to(share.device)
        cells = math.prod(self.config.levels[level].grid)
        index = owner[:, None, None].expand_as(share)
        most = share.new_full((cells, *share.shape[1:]), -1.0).scatter_reduce_(0, index, share, "amax")
        number = torch.arange(len(share), device=share.device)[:, None, None].expand_as(share)
        first = torch.where(share == most[owner], number, len(share))
        found = first.new_full((cells, *share.shape[1:]), len(share)).scatter_reduce_(0, index, first, "amin")
        return found.permute(1, 2, 0)

    def owners(self) -> list[Int64[Tensor, " states"]]:
        """Return the cell of every state, level by level: that of its first member's cell's parent."""
        pixels = self.image[0] * self.image[1] * self.image[2]
        below = torch.arange(pixels).repeat_interleave(self.tones)
        found = []
        for level, cells in enumerate(self.cells):
            if self.factors[level] == 2:
                below = below[self.get_buffer(f"edges_{level - 1}").cpu().long()[:, 0]]
            parent = torch.zeros(int(cells.max()) + 1, dtype=torch.int64)
            for cell, members in enumerate(cells):
                parent[members[members >= 0]] = cell
            members = self._members(level).cpu()
            first = members.gather(1, (members >= 0).int().argmax(dim=1, keepdim=True))[:, 0]
            below = parent[below[first]]
            found.append(below)
        return found

    def complete(self, tones: Tones, visible: Visible, generator: torch.Generator | None) -> Expected:
        """Return films drawn from the exact conditional."""
        chain, parts = self.chain(), []
        for part in self._parts(tones, visible):
            events = chain.draw(chain.filter(self._up(self._leaves(*part))), generator)
            parts.append(self.films_of(events)[:, : tones.shape[1]])
        return torch.where(visible, tones, torch.cat(parts)).to(self.noise.dtype)

    def predict(self, tones: Tones, visible: Visible, steps: int, generator: torch.Generator | None) -> Expected:
        """Return the frames that follow a cue: the rest of its last event, then those of the chain."""
        chain, parts = self.chain(), []
        time = tones.shape[1]
        inside = -time % self.span
        more = -(-max(0, steps - inside) // self.span)
        for part in self._parts(tones, visible):
            filtered = chain.filter(self._up(self._leaves(*part)))
            last = filtered.posterior[-1]
            if generator is None:
                after = [self._expected(last[None])[:, self.span - inside :]] if inside else []
                size = max(1, LARGEST // max(1, self.tones * math.prod(self.image) * self.span * len(part[0])))
                for some in chain.continuation(last, more).split(size):
                    after.append(self._expected(some))
            else:
                events = chain.draw(filtered, generator)
                walked = chain.walk(events[:, -1], more, generator)
                both = self.films_of(torch.cat([events[:, -1:], walked], dim=1))
                after = [both[:, self.span - inside :].to(self.noise.dtype)]
            parts.append(torch.cat(after, dim=1)[:, :steps])
        return torch.cat(parts)

    def sample(
        self, count: int, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "n steps"]]:
        """Return films by ancestral sampling, without the noise of pixels."""
        chain = self.chain()
        first = torch.multinomial(chain.start, count, replacement=True, generator=generator)
        path = torch.cat([first[:, None], chain.walk(first, -(-steps // self.span) - 1, generator)], dim=1)
        return self.films_of(path)[:, :steps].to(self.noise.dtype), path

    def successors(self, tones: Tones, event: int) -> Float[Tensor, " events"]:  # noqa: ARG002 - a chain of events
        """Return p(e′ | e)."""
        return self.chain().successors(event)

    def continued(
        self, tones: Tones, event: int, steps: int, generator: torch.Generator | None
    ) -> tuple[Expected, Int64[Tensor, "1 steps"]]:
        """Return the event's frames, and those of events drawn after it."""
        first = torch.tensor([event], device=tones.device)
        path = torch.cat([first[:, None], self.chain().walk(first, -(-steps // self.span) - 1, generator)], dim=1)
        return self.films_of(path)[:, :steps].to(self.noise.dtype), path

    def retold(self, tones: Tones) -> tuple[Float[Tensor, " n"], Expected]:
        """Return the bits that name the most probable events, and the frames that these tell."""
        visible, chain = torch.ones_like(tones, dtype=torch.bool), self.chain()
        parts = self._parts(tones, visible)
        path = torch.cat([chain.most_probable(self._up(self._leaves(*part))) for part in parts])
        frames = self.films_of(path)[:, : tones.shape[1]].to(self.noise.dtype)
        return -chain.path_log_prob(path) / math.log(2), frames

    def next_frames(self, tones: Tones) -> NextFrames:
        """Return the next frame's nats, each frame given all before it: a frame at a time, exact.

        With a[t] = log p(x_≤t | e) of the events of a step, p(x_t,i | x_<t) = Σ_e p(e | x_<t) p(x_t,i | e).
        """
        chain = self.chain()
        marginal, joint = [], []
        for part, visible in self._parts(tones, torch.ones_like(tones, dtype=torch.bool)):
            leaves = self._leaves(part, visible)
            frame = torch.arange(leaves.shape[-1]) % self.span
            evidence = [self._up(leaves * (frame == inside)) for inside in range(self.span)]
            share, leak = chain.share, chain.leak
            found, whole = [], []
            belief = chain.start[:, None].expand(-1, len(part))
            for begin in range(0, part.shape[1], self.span):
                log = torch.zeros_like(belief)
                for inside in range(self.span):
                    if begin + inside >= part.shape[1]:
                        break
                    prior = (belief.clamp_min(torch.finfo(belief.dtype).tiny).log() + log).softmax(dim=0)
                    observed = evidence[inside][begin // self.span]
                    pixels = self._down(prior[None])[0][..., inside].unflatten(0, (-1, self.tones))
                    noise = self.noise / (self.tones - 1)
                    smooth = pixels * (1 - self.noise - noise) + noise
                    target = part[:, begin + inside].flatten(1).T.long()
                    probs = smooth.gather(1, target[:, None])[:, 0]
                    found.append(-probs.log().mean(dim=0))
                    whole.append(-(prior.log() + observed).logsumexp(dim=0) / len(probs))
                    log = log + observed
                after = (belief.clamp_min(torch.finfo(belief.dtype).tiny).log() + log).softmax(dim=0)
                belief = chain.advance(after, share, leak)
            marginal.append(torch.stack(found[1:], dim=1))
            joint.append(torch.stack(whole[1:], dim=1))
        return NextFrames(marginal_nats=torch.cat(marginal), joint_nats=torch.cat(joint))

    def _parts(self, tones: Tones, visible: Visible) -> list[tuple[Tensor, Tensor]]:
        """Return chunks of a batch with messages of bounded size."""
        largest = max([self.tones * math.prod(self.image), *(level.states for level in self.config.levels)])
        size = max(1, LARGEST // (largest * max(self.span, tones.shape[1])))
        return list(zip(tones.split(size), visible.split(size), strict=True))
