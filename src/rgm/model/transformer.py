"""A structured prior: a transformer, autoregressive over the cells of a grid in any order."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from rgm.data.jitter import Pose
from rgm.distributions.categorical import gumbel_noise
from rgm.distributions.noise import Source, uniform
from rgm.errors import RGMError
from rgm.model.attention import Block, Memory, Room, Tokens
from rgm.model.bounds import Layers, Share, Size
from rgm.model.prior import Child, Codes, Keep, Parent, PerCell, PerCode, PerImage, Prior
from rgm.model.recognition import Shape
from rgm.runtime.device import shapes_alone

Order = Int64[Tensor, "batch cells"]
Past = Float[Tensor, "layers batch heads before features"]
Kept = Float[Tensor, "layers batch heads after features"]
Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_PARENTLESS = 0.1
"""The share of training images without a parent, for guidance."""
_TOGETHER = 1024
"""Sequences that a processor takes a step of at once."""
_SCORED = 64
"""Grids whose probabilities a processor computes at once: few enough for its caches."""


@dataclass(frozen=True, kw_only=True)
class OrderedPrior:
    """A transformer, autoregressive over cells.

    A cell attends to between `context` and 2 · `context` − 1 of the cells before it (all of them, in a grid of at most
    twice `context` cells). `raster` is the share of training images in raster order; the others are in random order.
    `poses`: whether it can be conditioned on how an image was rotated, scaled and shifted. `guidance`: the weight w of
    p(z_t | z_<t, parent)^(1 + w) / p(z_t | z_<t)^w, normalised, in place of the first factor; 0 for that alone.
    """

    kind: Literal["ordered"] = "ordered"
    width: Size = 96
    layers: Layers = 3
    heads: Size = 4
    context: Size = 256
    raster: Share = 0.5
    poses: bool = False
    guidance: Strength = 0.0


class TransformerPrior(Prior):
    """p(z | parent) = Π_t p(z_σ(t) | z_σ(1), …, z_σ(t−1), parent) for an order σ of the cells.

    Every token is conditioned on its own cell and on the next one (Pannatier, Courdier and Fleuret 2024, σ-GPTs), so
    that one set of weights serves every order: `log_prob` and `sample` use raster order; `complete` takes the kept
    cells first and then the others, so that its samples are conditioned on all kept cells. Positions are Fourier
    features and the parent is a grid: the number of parameters does not depend on the grid.

    With `poses` it is also trained on rotated, scaled and shifted images, conditioned on the transformation (Jun et al.
    2020, distribution augmentation); it samples without one.

    With `guidance` it is also trained without the parent, and every probability, of samples and of given codes alike,
    is the guided one (Ho and Salimans 2022, classifier-free guidance): what all parents have in common counts less. The
    product over cells is normalised as before, so that the free energy remains a bound.
    """

    def __init__(self, config: OrderedPrior, parent: Shape, child: Shape) -> None:
        super().__init__()
        if config.width % config.heads:
            raise RGMError(f"the width {config.width} must be a multiple of the {config.heads} heads")
        self.config, self.parent, self.child = config, parent, child
        width = config.width
        self.places: Tensor
        self.register_buffer("places", _fourier_features(child[1], child[2]), persistent=False)
        self.code = nn.Linear(child[0], width, bias=False)
        self.begin = nn.Parameter(torch.zeros(width))
        self.here = nn.Linear(self.places.shape[1], width)
        self.next = nn.Linear(self.places.shape[1], width)
        kernel = 1 if parent[1:] == (1, 1) else 3
        self.condition = nn.Conv2d(parent[0], width, kernel, padding=kernel // 2)
        self.pose = nn.Parameter(torch.zeros(width, 4)) if config.poses else None
        self.blocks = nn.ModuleList(Block(width, config.heads, config.context) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, child[0])

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.child[1] * self.child[2]

    @property
    def parents(self) -> nn.Parameter:
        """The weights of `condition`."""
        assert isinstance(self.condition.weight, nn.Parameter)
        return self.condition.weight

    def hidden(self) -> list[nn.Parameter]:
        """Return the blocks' matrices."""
        return [weight for weight in self.blocks.parameters() if weight.ndim == 2]

    def expected_log_prob(self, probs: Child, z: Child, parent: Parent) -> PerImage:
        """Return Σ_t Σ_k probs_t(k) log p(z_t = k | z_<t, parent) in nats per image, the cells in raster order."""
        size = _SCORED if z.is_cpu and not torch.is_grad_enabled() else len(z)
        parts = [
            self._log_probs(*part, self._raster(len(part[0]), z.device)).sum(dim=1)
            for part in zip(probs.split(size), z.split(size), parent.split(size), strict=True)
        ]
        return torch.cat(parts)

    def score(self, z: Child, parent: Parent, generator: Source, pose: Pose | None = None) -> PerCell:
        """Return log p of each cell, in raster order or, for some images, in a random one."""
        order = self._order(len(z), generator, z.device)
        if self.config.guidance:
            parent = parent * (uniform((len(z), 1, 1, 1), generator, z.device) >= _PARENTLESS)
        return self._scored(z, parent, order, pose)

    def contrast(
        self,
        z: Child,
        parent: Parent,
        every: Float[Tensor, "every parents height_above width_above"],
        generator: Source,
        pose: Pose | None = None,
    ) -> tuple[PerCell, PerCell]:
        """Return `score`, and log p(z_t | z_<t, parent) − log p(z_t | z_<t) of each cell in nats, without gradient.

        `every` are the parents that are summed out: p(z_t | z_<t) = Σ_c p(c | z_<t) p(z_t | z_<t, c), p(c) uniform.
        """
        order = self._order(len(z), generator, z.device)
        scores = self._scored(z, parent, order, pose)
        with torch.no_grad():
            each = torch.stack([self._scored(z, one.expand_as(parent), order, pose) for one in every])
            so_far = each.cumsum(dim=2)
            alone = so_far.logsumexp(dim=0) - (so_far - each).logsumexp(dim=0)
        return scores, scores.detach() - alone

    def _order(self, batch: int, generator: Source, device: torch.device) -> Order:
        """Return the order of the cells in training, in raster order or, for some images, at random."""
        keys = uniform((batch, self.cells), generator, device)
        chosen = uniform((batch, 1), generator, device) < self.config.raster
        return torch.where(chosen, self._raster(batch, device), keys.argsort(dim=1))

    def _scored(self, z: Child, parent: Parent, order: Order, pose: Pose | None) -> PerCell:
        # Looked up by number: products with one-hot codes take a tenth of a step.
        codes = z.argmax(dim=1).flatten(1).gather(1, order)
        logits = self._predicted(F.embedding(codes, self.code.weight.T), parent, order, pose)
        return -F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").view_as(codes)

    @torch.no_grad()
    def complete(
        self, codes: Codes, keep: Keep, parent: Parent, generator: Source = None, *, temperature: float = 1.0
    ) -> Codes:
        """Return grids whose cells in `keep` are those of `codes`, the rest sampled given all of them."""
        flat, kept = codes.flatten(1).clone(), keep.flatten(1)
        order = (~kept).long().argsort(dim=1, stable=True)  # kept cells first, then the rest, in raster order
        fixed = int(kept.sum(dim=1).min())
        guided = self._guided(parent)
        copies = len(guided) // len(parent)
        memories = self._memories(guided)
        sizes = [memory.room.count for memory in memories]
        embedded, nearest = self.condition(guided).flatten(2).movedim(1, 2), self._nearest()
        by_code, here, following = self.code.weight.T.contiguous(), self.here(self.places), self.next(self.places)
        logits = embedded.new_empty(len(guided), self.child[0])
        rows, token = torch.arange(len(guided), device=guided.device), self.begin.expand(len(parent), -1)
        for step in range(self.cells):
            cell = order[:, step]
            places = cell.repeat(copies)
            x = token.repeat(copies, 1) + (embedded[rows, nearest[places]] + following[places])
            for memory, tokens, found in zip(memories, x.split(sizes), logits.split(sizes), strict=True):
                memory.step(tokens, step)
                if step >= fixed:
                    torch.addmm(self.head.bias, self.norm(tokens), self.head.weight.T, out=found)
            known = flat.gather(1, cell[:, None])[:, 0]
            if step >= fixed:
                tempered = self._combined(logits) / temperature
                drawn = (tempered + gumbel_noise(tempered, generator)).argmax(dim=1)
                known = torch.where(kept.gather(1, cell[:, None])[:, 0], known, drawn)
                flat.scatter_(1, cell[:, None], known[:, None])
            token = by_code[known] + here[cell]
        return flat.reshape(codes.shape)

    def cell_log_probs(self, z: Child, parent: Parent, row: int, column: int) -> PerCode:
        """Return log p(z_ij = k | all other cells, parent) of one cell, in nats: it comes last in the order."""
        place = row * self.grid[1] + column
        order = [*range(place), *range(place + 1, self.cells), place]
        batch = torch.tensor(order, device=z.device).expand(len(z), -1)
        return self._guided_logits(z, parent, batch)[:, -1].log_softmax(dim=1)

    def extend(
        self, parent: Parent, code: Order, here: Order, following: Order, keys: Past, values: Past
    ) -> tuple[Float[Tensor, "batch cells states"], Kept, Kept]:
        """Return the logits of the next cells given those before them, and the updated keys and values.

        Token t: cell `here` has the code `code`, and `following` comes next; the first token has the code `states` at
        the cell `cells`. `keys` and `values` are those returned for the tokens before, empty at first, of `past_layers`
        layers. As `complete`'s steps, but without in-place changes.
        """
        codes = torch.cat([self.code.weight.T, self.begin[None]])
        places = torch.cat([self.here(self.places), torch.zeros_like(self.begin)[None]])
        token = codes[code] + places[here]
        found, kept = [], list[tuple[Tensor, Tensor]]()
        for one in (parent, torch.zeros_like(parent)) if self.config.guidance else (parent,):
            x = token + self._target(one, following)
            for block in self.blocks:
                assert isinstance(block, Block)
                x, key, value = block.extend(x, keys[len(kept)], values[len(kept)])
                kept.append((key, value))
            found.append(self.head(self.norm(x)))
        logits = found[0] if len(found) == 1 else self._sharpened(*found)
        return logits, torch.stack([key for key, _ in kept]), torch.stack([value for _, value in kept])

    @property
    def past_layers(self) -> int:
        """Number of layers of the keys and values of `extend`: twice as many with guidance."""
        return self.config.layers * (2 if self.config.guidance else 1)

    def _memories(self, sequences: Tensor) -> list[Memory]:
        """Return memories of sequences, in parts that a step is taken of at once."""
        parts = sequences.split(_TOGETHER if sequences.is_cpu else len(sequences))
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        window = min(self.cells, 2 * self.config.context)
        rooms = [Room(self.begin, self.config.heads, window, len(part)) for part in parts]
        return [Memory(blocks, room, self.cells) for room in rooms]

    def _raster(self, batch: int, device: torch.device) -> Order:
        return torch.arange(self.cells, device=device).expand(batch, -1)

    def _log_probs(self, probs: Child, z: Child, parent: Parent, order: Order) -> PerCell:
        return self._picked(probs, self._guided_logits(z, parent, order), order)

    @staticmethod
    def _picked(probs: Child, logits: Float[Tensor, "batch cells states"], order: Order) -> PerCell:
        """Return the expected log-probability of each cell in nats, in order."""
        return (logits.log_softmax(dim=2) * _ordered(probs, order)).sum(dim=2)

    def _guided(self, parent: Parent) -> Float[Tensor, "copies parents height_above width_above"]:
        """Return the parents and, with guidance, as many of zeros: none at all."""
        return torch.cat([parent, torch.zeros_like(parent)]) if self.config.guidance else parent

    def _combined(self, logits: Tensor) -> Tensor:
        """Return the guided logits of those with parents and, as many, without."""
        if not self.config.guidance:
            return logits
        return self._sharpened(*logits.chunk(2))

    def _sharpened(self, given: Tensor, alone: Tensor) -> Tensor:
        return given + self.config.guidance * (given - alone)

    def _guided_logits(self, z: Child, parent: Parent, order: Order) -> Float[Tensor, "batch cells states"]:
        """Return the guided logits of the cells in their order, each given those before it."""
        guided = self._guided(parent)
        copies = len(guided) // len(parent)
        return self._combined(self._logits(z.repeat(copies, 1, 1, 1), guided, order.repeat(copies, 1)))

    def _logits(self, z: Child, parent: Parent, order: Order) -> Float[Tensor, "batch cells states"]:
        """Return the logits of the cells in their order, each given those before it."""
        return self._predicted(self.code(_ordered(z, order)), parent, order)

    def _predicted(
        self, codes: Tokens, parent: Parent, order: Order, pose: Pose | None = None
    ) -> Float[Tensor, "batch cells states"]:
        """Return the same of codes that are embedded, in order."""
        tokens = codes + self.here(self.places[order])
        first = self.begin.expand(len(codes), 1, -1)
        x = torch.cat([first, tokens[:, :-1]], dim=1) + self._target(parent, order)
        if pose is not None and self.pose is not None:
            x = x + (pose @ self.pose.T)[:, None]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def _target(self, parent: Parent, order: Order) -> Tokens:
        """Return, in order, the embedding of the next cell's position and parent."""
        embedded = self.condition(parent)
        embedded = F.interpolate(embedded, size=self.grid, mode="nearest").flatten(2).movedim(1, 2)
        embedded = embedded.gather(1, order[:, :, None].expand(-1, -1, embedded.shape[2]))
        return embedded + self.next(self.places[order])

    def _nearest(self) -> Int64[Tensor, " cells"]:
        """Return the parent's cell above each cell of the grid, as `_target` takes it."""
        above = torch.arange(math.prod(self.parent[1:]), dtype=torch.float32, device=self.begin.device)
        nearest = F.interpolate(above.view(1, 1, *self.parent[1:]), size=self.grid, mode="nearest")
        return nearest.long().flatten()


def _ordered(z: Child, order: Order) -> Float[Tensor, "batch cells states"]:
    """Return a field's cells in an order."""
    flat = z.flatten(2).movedim(1, 2)
    return flat.gather(1, order[:, :, None].expand(-1, -1, flat.shape[2]))


def _fourier_features(height: int, width: int, octaves: int = 4) -> Float[Tensor, "cells features"]:
    """Return sines and cosines of each cell's row and column, as shares of the grid, at doubling frequencies."""
    if shapes_alone():
        return torch.empty(height * width, 2 + 4 * octaves)
    rows = (torch.arange(height) + 0.5) / height
    columns = (torch.arange(width) + 0.5) / width
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).reshape(-1, 2)
    angles = (grid[:, :, None] * math.pi * 2.0 ** torch.arange(octaves)).flatten(1)
    return torch.cat([grid, angles.sin(), angles.cos()], dim=1)
