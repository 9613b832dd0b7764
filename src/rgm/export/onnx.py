"""A model as ONNX graphs: one for each recognition and prior, and the decoder."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.export import Dim

from rgm.errors import RGMError
from rgm.model.factorised import FactorisedPrior
from rgm.model.spatial import SpatialRGM
from rgm.model.transformer import Kept, Order, Past, TransformerPrior
from rgm.storage.files import write_bytes

OPSET = 20
Codes = Int64[Tensor, "n height width"]


class _Graph(nn.Module):
    """A function of a level's tensors as a module, which `torch.onnx.export` takes."""

    def __init__(self, model: SpatialRGM, level: int = 1) -> None:
        super().__init__()
        self.model, self.level = model, level


class RecognitionGraph(_Graph):
    """The level below (images in [0, 1], or codes) to a level's most probable codes and their probabilities."""

    def forward(self, below: Tensor) -> tuple[Codes, Float[Tensor, "n states height width"]]:
        """Return argmax and probabilities of q(z_ℓ | z_{ℓ−1})."""
        if self.level > 1:
            below = _field(below, self.model.config.levels[self.level - 2].states)
            below = self.model.recognition(self.level - 1).read(below)
        field = self.model.recognition(self.level).field(below)
        return field.mode(), field.probs()


class DecoderGraph(_Graph):
    """Codes to mean images in [0, 1]."""

    def forward(self, z1: Codes) -> Float[Tensor, "n channels rows columns"]:
        """Return the mean of p(x | z_1)."""
        return self.model.mean_image(_field(z1, self.model.latent_dim))


class FactorisedGraph(_Graph):
    """A parent's field (one-hot or a mixture) to the logits of every cell of its child."""

    def forward(self, parent: Float[Tensor, "n parents h w"]) -> Float[Tensor, "n states height width"]:
        """Return log p(z_ij = k | parent), up to a constant of each cell."""
        prior = self.model.prior(self.level)
        assert isinstance(prior, FactorisedPrior)
        return prior.field(self.model.recognition(self.level + 1).read(parent)).logits


class OrderedGraph(_Graph):
    """A parent's field, cells, and the keys and values of those before, to the logits of the next cells.

    See `TransformerPrior.extend`.
    """

    def forward(
        self,
        parent: Float[Tensor, "n parents h w"],
        code: Order,
        here: Order,
        following: Order,
        keys: Past,
        values: Past,
    ) -> tuple[Float[Tensor, "n cells states"], Kept, Kept]:
        """Return logits, keys and values."""
        prior = self.model.prior(self.level)
        assert isinstance(prior, TransformerPrior)
        return prior.extend(self.model.recognition(self.level + 1).read(parent), code, here, following, keys, values)


def export(model: SpatialRGM, folder: Path) -> list[Path]:
    """Write a model as `recognition-ℓ.onnx`, `decoder.onnx` and `prior-ℓ.onnx`, and return their paths.

    Batch sizes are dynamic. Needs the extra `onnx`; raises RGMError where it is absent.
    """
    paths = []
    for name, graph in graphs(model):
        paths.append(folder / f"{name}.onnx")
        write_bytes(paths[-1], graph)
    return paths


def graphs(model: SpatialRGM) -> Iterator[tuple[str, bytes]]:
    """Yield each graph's name and bytes."""
    images = torch.rand(2, *model.config.image, generator=torch.Generator().manual_seed(0))
    codes = model.read(images)
    below: list[Tensor] = [images, *codes]
    for level in range(1, model.depth + 1):
        inputs = {"below": below[level - 1]}
        yield f"recognition-{level}", _graph(RecognitionGraph(model, level), inputs, ("codes", "probabilities"))
    yield "decoder", _graph(DecoderGraph(model), {"z1": codes[0]}, ("image",))
    for level in range(1, model.depth):
        yield f"prior-{level}", prior_graph(model, level)


def prior_graph(model: SpatialRGM, level: int) -> bytes:
    """Return the graph of p(z_ℓ | z_{ℓ+1})."""
    above, prior = model.config.levels[level], model.prior(level)
    parent = _field(torch.zeros(2, *above.grid, dtype=torch.int64, device=model.device), above.states)
    if not isinstance(prior, TransformerPrior):
        return _graph(FactorisedGraph(model, level), {"parent": parent}, ("logits",))
    tokens = {name: torch.zeros(2, 3, dtype=torch.int64) for name in ("code", "here", "following")}
    past = torch.zeros(past_shape(prior, 2, 4))
    inputs = {"parent": parent, **tokens, "keys": past, "values": past.clone()}
    return _graph(OrderedGraph(model, level), inputs, ("logits", "keys_out", "values_out"))


def past_shape(prior: TransformerPrior, batch: int, cells: int) -> tuple[int, int, int, int, int]:
    """Return the shape of the keys and of the values of `cells` cells."""
    config = prior.config
    return prior.past_layers, batch, config.heads, cells, config.width // config.heads


def _field(codes: Tensor, states: int) -> Tensor:
    return torch.eye(states, device=codes.device)[codes].movedim(-1, 1)


_IMAGE, _TOKEN, _PAST = {0: "n"}, {0: "n", 1: "cells"}, {1: "n", 3: "before"}
_AXES = {"code": _TOKEN, "here": _TOKEN, "following": _TOKEN, "keys": _PAST, "values": _PAST}


def _graph(module: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...]) -> bytes:
    sizes = {name: Dim(name, min=0 if name == "before" else 1) for name in ("n", "cells", "before")}
    axes = {name: {a: sizes[size] for a, size in _AXES.get(name, _IMAGE).items()} for name in inputs}
    try:
        with _quietly():
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=tuple(axes.values()),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except ImportError:
        raise RGMError("ONNX graphs need two more packages: pip install 'rgm[onnx]'") from None
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
