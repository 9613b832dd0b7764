"""Lossless coding of images: range coding of every pixel with its exact conditional given all pixels before it."""

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from rgm.counting.emission import ValueEmission
from rgm.counting.forest import Forest
from rgm.counting.model import CountingRGM
from rgm.counting.queries import pixel_leaves
from rgm.data.images import to_unit
from rgm.errors import RGMError

MAGIC = b"RGMZ\x01"
BITS = 20
"""Binary digits of probabilities and beliefs. Products of two, summed over 2^12 states, are whole numbers below 2^53:
sums are exact in float64 in whatever order they are taken, so that encoder and decoder agree to the bit."""
ONE = float(2**BITS)
SYMBOL_ONE = float(2**24)
"""Resolution of the probabilities of values, exact in the float32 that the range coder takes."""
DIGEST = hashlib.sha256().digest_size
Images = UInt8[Tensor, "n channels rows columns"]
Code = Callable[[Tensor, Float[Tensor, "n values"]], Int64[Tensor, " n"]]
"""Codes one pixel of every image: its place in the image and the probabilities of its values, to its values."""


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What stands before the code: the images' shape, the words of each root state, the checksum of the tables."""

    shape: tuple[int, int, int, int]
    words: tuple[int, ...]
    tables: str


@dataclass(frozen=True)
class _Node:
    """A variable of a tree: its parent (−1 for none), p(state | parent's state), and the cell whose leaves it has."""

    parent: int
    link: Float[Tensor, "parents states"]
    cell: int | None


class _Tables:
    """A model's probabilities as whole numbers: trees as lists of variables in depth-first order, and their leaves."""

    def __init__(self, model: CountingRGM) -> None:
        self.leaves, tables = pixel_leaves(model), model.tables()
        assert isinstance(tables.likelihood, ValueEmission)
        self.values = _whole(tables.likelihood.table.exp().double().cpu())  # (cells, variates, values, states)
        top = tables.top.double().cpu().mean(dim=0)
        self.place, self.known = self.leaves.place.cpu(), self.leaves.known.cpu()
        self.trees: list[list[_Node]] = []
        if isinstance(tables.tree, Forest):
            self.roots = top
            for links, layers in zip(tables.tree.links[0], tables.tree.layers, strict=True):
                whole, order = _whole(links.double().cpu()), layers.order.tolist()
                self.trees.append(
                    [
                        _Node(above, whole[cell, :1] if above < 0 else whole[cell], order[cell])
                        for cell, above in _depth_first(0, layers.children)
                    ]
                )
        else:
            self.roots = torch.ones(1, dtype=torch.float64)
            links = [_whole(link.double().cpu()) for link in tables.tree.links]
            starts = [0]
            for link in links:
                starts.append(starts[-1] + len(link))
            children: list[list[int]] = [[] for _ in range(starts[-1] + 1)]
            for level in range(len(links)):
                for cell, above in enumerate(tables.tree.parents(level).tolist()):
                    children[starts[level + 1] + above].append(starts[level] + cell)
            nodes = []
            for number, above in _depth_first(starts[-1], children):
                if above < 0:
                    nodes.append(_Node(-1, _whole(top)[None], None))
                    continue
                level = sum(number >= start for start in starts) - 1
                cell = number - starts[level]
                nodes.append(_Node(above, links[level][cell], cell if level == 0 else None))
            self.trees.append(nodes)

    @property
    def digest(self) -> str:
        """The checksum of all probabilities: equal for those who can read each other's files."""
        found = hashlib.sha256()
        for numbers in (self.values, *(node.link for tree in self.trees for node in tree)):
            found.update(numbers.to(torch.int32).contiguous().numpy().tobytes())
        return found.hexdigest()

    def code(self, tree: int, count: int, code: Code) -> None:
        """Code the images of one tree, pixel by pixel, `count` images side by side.

        Belief b_i(k) ∝ p(z_i = k | pixels so far) of a cell predicts its pixels, Σ_k b_i(k) p(x | k), and its children,
        b_i P. Once all pixels below a cell are coded, the cell sends P m to its parent, m the product of its pixels'
        likelihoods and its children's messages. Pixels are coded depth first: each costs three products of matrices.
        """
        nodes = self.trees[tree]
        ends = _ends(nodes)
        beliefs: dict[int, Tensor] = {}
        messages: dict[int, Tensor] = {}
        for number, node in enumerate(nodes):
            above = torch.full((count, 1), ONE, dtype=torch.float64) if node.parent < 0 else beliefs[node.parent]
            belief = _scaled(above @ node.link)
            message = torch.full_like(belief, ONE)
            if node.cell is not None:
                for variate in self.known[node.cell].nonzero().flatten().tolist():
                    table = self.values[node.cell, variate]
                    coded = code(self.place[node.cell, variate], belief @ table.T)
                    belief = _scaled(belief * table[coded])
                    message = _scaled(message * table[coded])
            beliefs[number], messages[number] = belief, message
            # Every cell whose last descendant this is: its message to its parent, from the deepest up.
            done = number
            while ends[done] == number and nodes[done].parent >= 0:
                parent = nodes[done].parent
                sent = _scaled(messages.pop(done) @ nodes[done].link.T)
                beliefs.pop(done)
                beliefs[parent] = _scaled(beliefs[parent] * sent)
                messages[parent] = _scaled(messages[parent] * sent)
                done = parent


def compress(model: CountingRGM, images: Images) -> bytes:
    """Return 8-bit images as a file's content, of about −log₂ p(images) bits; `decompress` restores them exactly.

    Each image is coded under the root state that explains it best: −log₂ p(x, r), at most a fraction of a bit above
    −log₂ p(x). Needs the extra `compress`. Raises RGMError for images of another shape or with values that the model
    does not tell apart.
    """
    range_coder = _constriction()
    leaves = pixel_leaves(model)
    if (
        images.dtype != torch.uint8
        or images.ndim != 4
        or tuple(images.shape[1:]) != model.config.image
        or not len(images)
    ):
        raise RGMError(
            f"the model codes 8-bit images of shape (n, {', '.join(map(str, model.config.image))}) with n ≥ 1, but got "
            f"{images.dtype} of shape {tuple(images.shape)}"
        )
    tables, family = _Tables(model), range_coder.stream.model.Categorical(perfect=False)
    roots, numbers = [], []
    for (part,) in model.chunks(images):
        unit = to_unit(part).to(model.device, model.dtype)
        read = leaves.read(unit)
        if not torch.equal(leaves.image_of(read).mul(255).round().to(torch.uint8).cpu(), part):
            raise RGMError(
                f"the model tells {leaves.levels} grey values apart and would lose others: compress images of these "
                "values, or use a model of 256 values"
            )
        numbers.append((unit * (leaves.levels - 1)).round().long().flatten(1).cpu())
        if len(tables.trees) > 1:
            log_roots = torch.logsumexp(model.tables().log_top, dim=0)
            roots.append((model.upward(unit, likelihood=True).root + log_roots).argmax(dim=1).cpu())
        else:
            roots.append(torch.zeros(len(part), dtype=torch.int64))
    root, pixels = torch.cat(roots), torch.cat(numbers)
    words: list[NDArray[np.uint32]] = [_encode_roots(range_coder, tables.roots, root)]
    for tree in range(len(tables.trees)):
        own = pixels[root == tree]
        if not len(own):
            words.append(np.zeros(0, np.uint32))
            continue
        encoder = range_coder.stream.queue.RangeEncoder()
        tables.code(tree, len(own), partial(_write, encoder, family, own))
        words.append(encoder.get_compressed())
    shape = (len(images), *model.config.image)
    header = json.dumps({"shape": shape, "words": [len(part) for part in words], "tables": tables.digest}).encode()
    content = MAGIC + struct.pack("<I", len(header)) + header + b"".join(part.astype("<u4").tobytes() for part in words)
    return content + hashlib.sha256(content).digest()


def decompress(model: CountingRGM, content: bytes, *, name: str = "the file") -> Images:
    """Return the images of a file's content, exactly; `name` is what errors call it.

    Raises RGMError for a content that is damaged or of another kind, or was written with another model.
    """
    range_coder = _constriction()
    header, code = _parsed(content, name)
    tables = _Tables(model)
    shape = " × ".join(map(str, header.shape[1:]))
    if header.shape[1:] != model.config.image or header.tables != tables.digest:
        raise RGMError(
            f"{name} was compressed with another model, for images of {shape}: use the "
            "model that it was compressed with"
        )
    family = range_coder.stream.model.Categorical(perfect=False)
    words = np.frombuffer(code, "<u4").astype(np.uint32)
    parts = np.split(words, np.cumsum(header.words)[:-1])
    root = _decode_roots(range_coder, tables.roots, parts[0], header.shape[0])
    pixels = torch.zeros(header.shape[0], int(np.prod(header.shape[1:])), dtype=torch.int64)
    for tree in range(len(tables.trees)):
        some = (root == tree).nonzero().flatten()
        if not len(some):
            continue
        decoder = range_coder.stream.queue.RangeDecoder(parts[tree + 1])
        tables.code(tree, len(some), partial(_read, decoder, family, pixels, some))
    unit = pixels.double() / (tables.leaves.levels - 1)
    return (unit * 255).round().to(torch.uint8).view(header.shape)


def _write(
    encoder: Any, family: Any, pixels: Int64[Tensor, "n all"], place: Tensor, chance: Float[Tensor, "n values"]
) -> Int64[Tensor, " n"]:
    shown = pixels[:, place]
    encoder.encode(shown.numpy().astype(np.int32), family, _chances(chance))
    return shown


def _read(
    decoder: Any,
    family: Any,
    pixels: Int64[Tensor, "_ all"],
    some: Int64[Tensor, " n"],
    place: Tensor,
    chance: Float[Tensor, "n values"],
) -> Int64[Tensor, " n"]:
    shown = torch.from_numpy(decoder.decode(family, _chances(chance)).astype(np.int64))
    pixels[some, place] = shown
    return shown


def _parsed(content: bytes, name: str) -> tuple[_Header, bytes]:
    """Return a content's header and code; raise RGMError where it is damaged or none of ours."""
    start = len(MAGIC) + 4
    if content[: len(MAGIC)] != MAGIC:
        raise RGMError(f"{name} is no file of compressed images: `rgm compress` writes such files")
    if len(content) < start + DIGEST or hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise RGMError(f"{name} is truncated or damaged: its checksum is wrong; copy it again")
    (length,) = struct.unpack("<I", content[len(MAGIC) : start])
    try:
        header = TypeAdapter(_Header).validate_json(content[start : start + length])
    except ValidationError as error:
        raise RGMError(f"{name} has a header that this rgm does not know: update rgm") from error
    code = content[start + length : -DIGEST]
    if len(code) != 4 * sum(header.words):
        raise RGMError(f"{name} is damaged: it holds {len(code)} bytes of code, not {4 * sum(header.words)}")
    return header, code


def _encode_roots(range_coder: Any, chance: Tensor, root: Int64[Tensor, " n"]) -> NDArray[np.uint32]:
    if len(chance) == 1:
        return np.zeros(0, np.uint32)
    encoder = range_coder.stream.queue.RangeEncoder()
    encoder.encode(root.numpy().astype(np.int32), _root_model(range_coder, chance))
    found: NDArray[np.uint32] = encoder.get_compressed()
    return found


def _decode_roots(range_coder: Any, chance: Tensor, words: NDArray[np.uint32], count: int) -> Int64[Tensor, " n"]:
    if len(chance) == 1:
        return torch.zeros(count, dtype=torch.int64)
    decoder = range_coder.stream.queue.RangeDecoder(words)
    return torch.from_numpy(decoder.decode(_root_model(range_coder, chance), count).astype(np.int64))


def _root_model(range_coder: Any, chance: Tensor) -> Any:
    return range_coder.stream.model.Categorical(_chances(_whole(chance)[None])[0], perfect=False)


def _chances(numbers: Float[Tensor, "n values"]) -> NDArray[np.float32]:
    """Return whole numbers in proportion to others, at least 1: probabilities for the range coder."""
    largest = numbers.amax(dim=1, keepdim=True)
    found: NDArray[np.float32] = ((numbers * SYMBOL_ONE / largest).floor_() + 1).to(torch.float32).numpy()
    return found


def _scaled(numbers: Float[Tensor, "n states"]) -> Float[Tensor, "n states"]:
    """Return whole numbers in proportion to others, at most 2^20: one rounding each, the same on every machine."""
    return (numbers * ONE / numbers.amax(dim=1, keepdim=True)).floor_().clamp_min_(1)


def _whole(chance: Tensor) -> Tensor:
    return (chance * ONE).round_().clamp_min_(1)


def _depth_first(top: int, children: list[list[int]]) -> Iterator[tuple[int, int]]:
    """Yield each variable and the place of its parent in this order, −1 for the top."""
    stack, count = [(top, -1)], 0
    while stack:
        number, above = stack.pop()
        yield number, above
        stack.extend((child, count) for child in reversed(children[number]))
        count += 1


def _ends(nodes: list[_Node]) -> list[int]:
    """Return the place of each variable's last descendant."""
    ends = list(range(len(nodes)))
    for number in range(len(nodes) - 1, 0, -1):
        parent = nodes[number].parent
        ends[parent] = max(ends[parent], ends[number])
    return ends


def _constriction() -> Any:
    """Return the module of entropy coders (Bamler 2022, arXiv 2201.01741); raise RGMError where it is absent."""
    try:
        import constriction  # optional: the extra compress
    except ImportError:
        raise RGMError("the range coder is not installed: pip install 'rgm[compress]'") from None
    return constriction
