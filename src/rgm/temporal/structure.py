"""The structure of films by first appearance: states of blocks, the edges between them, events.

A state of level 0 is a stack of tones, those of a block of pixels. A state of level ℓ + 1 is a stack of symbols of
level ℓ, one of each member of its block: a state, or where the level doubles the time an edge, a state followed by a
state. States and edges are numbered in order of first appearance, and hold for one cell, since pixels are numbered. The
levels end where one cell is left, whose states are events. Source: Friston et al. 2024, arXiv 2407.20292, and 2025,
Entropy 27(9):992; windows begin at every frame here, not at every 2^n-th, so that an event's offset is a part of it.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int32, Int64, UInt8

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Block:
    """How a level gathers the one below: its grid, its factor in time, each cell's members (−1 for none)."""

    grid: tuple[int, int]
    factor: int
    cells: Int64[Array, "cells width"]


def blocks(height: int, width: int, *, side: int, doublings: int) -> list[Block]:
    """Return levels of blocks of `side × side` until one cell is left; the first `doublings` above 0 double time."""
    found: list[Block] = []
    grid = (height, width)
    while not found or grid != (1, 1) or len(found) <= doublings:
        rows, columns = (-(-edge // side) for edge in grid)
        inside = np.full((rows * side, columns * side), -1, dtype=np.int64)
        inside[: grid[0], : grid[1]] = np.arange(grid[0] * grid[1]).reshape(grid)
        cells = inside.reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(rows * columns, side * side)
        cells = cells[:, (cells >= 0).any(axis=0)]
        factor = 2 if 0 < len(found) <= doublings else 1
        grid = (rows, columns)
        found.append(Block(grid=grid, factor=factor, cells=cells))
    return found


@dataclass
class Table:
    """Distinct rows of symbols in order of first appearance, with how often each was seen."""

    width: int
    rows: Array = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int32))
    counts: Int64[Array, " n"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    known: dict[bytes, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Index the rows."""
        self.rows = np.ascontiguousarray(self.rows, dtype=np.int32).reshape(-1, self.width)
        packed = self.rows.tobytes()
        size = 4 * self.width
        self.known = {packed[start : start + size]: number for number, start in enumerate(range(0, len(packed), size))}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def intern(self, rows: Array, weights: Int64[Array, " n"] | None = None) -> Int32[Array, " n"]:
        """Return the number of each row, new ones appended, and count them."""
        rows = np.ascontiguousarray(rows, dtype=np.int32)
        view = rows.view(np.dtype((np.void, 4 * self.width))).ravel()
        _, first, inverse = np.unique(view, return_index=True, return_inverse=True)
        order = first.argsort()
        numbers = np.empty(len(order), dtype=np.int32)
        new = []
        for place, at in zip(order.tolist(), first[order].tolist(), strict=True):
            key = view[at].tobytes()
            number = self.known.get(key)
            if number is None:
                number = self.known[key] = len(self.known)
                new.append(at)
            numbers[place] = number
        found = numbers[inverse.ravel()]
        if new:
            self.rows = np.concatenate([self.rows, rows[new]])
        counts = np.bincount(found, weights=weights, minlength=len(self.known)).astype(np.int64)
        counts[: len(self.counts)] += self.counts
        self.counts = counts
        return found


@dataclass
class Structure:
    """What was learned: for each level its states (rows of members) and the edges that the level above is made of.

    `states[ℓ].rows` hold numbers of symbols below: pixel · tones + tone for level 0, else states, or edges where level
    ℓ doubles the time; `edges[ℓ].rows` are (source, target) states of level ℓ. `edges[-1]` are the transitions of
    events, one event's span apart.
    """

    blocks: list[Block]
    tones: int
    states: list[Table]
    edges: list[Table]
    rest: UInt8[Array, "frames pixels"] | None = None
    """The last frames of what was observed last, which a continuation begins with."""

    @classmethod
    def empty(cls, height: int, width: int, channels: int, *, side: int, doublings: int, tones: int) -> "Structure":
        """Return a structure without states; a block of level 0 has all channels of its pixels."""
        found = blocks(height, width, side=side, doublings=doublings)
        first = found[0].cells
        planes = np.arange(channels)[:, None, None] * height * width
        spread = np.where(first[None] >= 0, first[None] + planes, -1).transpose(1, 0, 2).reshape(len(first), -1)
        found[0] = Block(grid=found[0].grid, factor=1, cells=spread)
        states = [Table(block.cells.shape[1]) for block in found]
        return cls(found, tones, states, [Table(2) for _ in found])

    @property
    def span(self) -> int:
        """Frames of an event."""
        return int(np.prod([block.factor for block in self.blocks]))

    def spans(self) -> list[int]:
        """Return the frames of a state of each level."""
        return np.cumprod([block.factor for block in self.blocks]).tolist()

    def observe(self, film: UInt8[Array, "frames pixels"], *, continues: bool = False) -> None:
        """Learn from a film of tones, (frames, channels · rows · columns); `continues` the one observed last."""
        fresh = 0
        if continues and self.rest is not None:
            fresh = len(self.rest)
            film = np.concatenate([self.rest, film])
        keep = 2 * self.span - 1
        self._learn(film, fresh)
        self.rest = film[-keep:].copy()

    def _learn(self, film: UInt8[Array, "frames pixels"], seen: int) -> None:
        """Intern every window that ends after the first `seen` frames, which were learned before, and their edges."""
        symbols = np.arange(film.shape[1], dtype=np.int64) * self.tones + film
        span = 1
        for level, block in enumerate(self.blocks):
            if block.factor == 2:
                symbols = self._edges(level - 1, symbols, seen, span)
                span *= 2
            padded = np.concatenate([symbols, np.full((len(symbols), 1), -1)], axis=1)
            stacks = padded[:, block.cells]  # (windows, cells, width); −1 selects the column of −1
            symbols = self._number(self.states[level], stacks, seen, span)
        if len(symbols) > span:
            self._edges(len(self.blocks) - 1, symbols, seen, span)

    def _edges(self, level: int, symbols: Array, seen: int, span: int) -> Array:
        """Return the edge of each window of twice the span, (windows, cells)."""
        if len(symbols) <= span:
            return np.zeros((0, symbols.shape[1]), dtype=np.int64)
        pairs = np.stack([symbols[:-span], symbols[span:]], axis=2)
        return self._number(self.edges[level], pairs, seen, 2 * span)

    @staticmethod
    def _number(table: Table, rows: Array, seen: int, span: int) -> Array:
        """Return the numbers of rows, (windows, cells, width); windows within the first `seen` frames count nothing."""
        windows, cells, width = rows.shape
        if not windows:
            return np.zeros((0, cells), dtype=np.int64)
        old = max(0, min(windows, seen - span + 1))
        weights = np.repeat(np.arange(windows) >= old, cells).astype(np.int64)
        return table.intern(rows.reshape(-1, width), weights).reshape(windows, cells).astype(np.int64)

    def merge(self, other: "Structure") -> None:
        """Learn what another structure of the same blocks knows: new stacks are appended, counts added.

        Raises ValueError for other blocks.
        """
        if self.tones != other.tones or [block.grid for block in self.blocks] != [b.grid for b in other.blocks]:
            raise ValueError("structures of different blocks or tones cannot be merged")
        renumber: Array | None = None
        for level, (mine, theirs) in enumerate(zip(self.states, other.states, strict=True)):
            rows = theirs.rows if renumber is None else np.append(renumber, -1)[theirs.rows]
            states = mine.intern(rows, theirs.counts)
            above = other.edges[level]
            edges = self.edges[level].intern(states[above.rows], above.counts) if len(above) else states[:0]
            doubled = level + 1 < len(self.blocks) and self.blocks[level + 1].factor == 2
            renumber = edges if doubled else states

    def prune(self, keep: Array) -> None:
        """Keep these events (booleans), what they are made of, and the edges between them."""
        for level in range(len(self.blocks) - 1, -1, -1):
            top = level == len(self.blocks) - 1
            states, edges = self.states[level], self.edges[level]
            if not top:
                doubled = self.blocks[level + 1].factor == 2
                used = np.zeros((len(edges) if doubled else len(states)) + 1, dtype=bool)
                used[self.states[level + 1].rows] = True
                used = used[:-1]
                if doubled:
                    self.states[level + 1] = _renumbered(self.states[level + 1], used)
                    self.edges[level] = edges = Table(2, edges.rows[used], edges.counts[used])
                    keep = np.zeros(len(states), dtype=bool)
                    keep[edges.rows] = True
                else:
                    self.states[level + 1] = _renumbered(self.states[level + 1], used)
                    keep = used
            inside = keep[edges.rows].all(axis=1)
            number = np.cumsum(keep) - 1
            self.edges[level] = Table(2, number[edges.rows[inside]], edges.counts[inside])
            self.states[level] = Table(states.width, states.rows[keep], states.counts[keep])


def _renumbered(table: Table, used: Array) -> Table:
    """Return states whose members are numbered as after the unused ones are gone."""
    number = np.append(np.cumsum(used) - 1, -1)
    return Table(table.width, number[table.rows], table.counts)
