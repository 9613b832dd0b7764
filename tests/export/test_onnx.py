"""The graphs match PyTorch, for every model and number of images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from rgm.data.images import ImageSet, to_unit
from rgm.export.onnx import graphs, past_shape, prior_graph
from rgm.model.config import preset
from rgm.model.estimator import AutoregressiveHead
from rgm.model.spatial import SpatialRGM
from rgm.model.transformer import TransformerPrior

pytestmark = pytest.mark.slow
"""Exporting takes long: in quick runs, the explorer's second engine shows that graphs match PyTorch."""
SAME = {"atol": 1e-5, "rtol": 0.0}


class Runs(dict[str, onnxruntime.InferenceSession]):
    def __call__(self, name: str, **inputs: torch.Tensor) -> list[torch.Tensor]:
        found = self[name].run(None, {key: value.numpy() for key, value in inputs.items()})
        return [torch.from_numpy(np.asarray(value)) for value in found]


def bounded(*, guided: bool = False) -> SpatialRGM:
    """Return a model with a prior of short context, with guidance or without."""
    config = preset("standard", (1, 28, 28), 10)
    prior = replace(config.levels[0].prior, context=8, width=32, layers=2, guidance=1.5 if guided else 0.0)
    return SpatialRGM.from_config(replace(config, levels=(replace(config.levels[0], prior=prior), config.levels[1])))


@pytest.fixture(scope="module", params=["seed", "pretrained", "three-level", "bounded"])
def pair(request: pytest.FixtureRequest, exported: Callable[..., tuple[SpatialRGM, Path]]) -> tuple[SpatialRGM, Runs]:
    if request.param == "bounded":
        torch.manual_seed(0)
        model = bounded().eval()
        found = dict(graphs(model))
    else:
        model, folder = exported(request.param)
        found = {path.stem: path.read_bytes() for path in folder.glob("*.onnx")}
    return model, Runs({name: onnxruntime.InferenceSession(graph) for name, graph in found.items()})


@pytest.mark.parametrize("count", [1, 5])
def test_graphs_encode_and_decode_like_the_model(pair: tuple[SpatialRGM, Runs], digits: ImageSet, count: int) -> None:
    model, run = pair
    images = to_unit(digits.images[:count])
    inferred = model.infer(images)
    below = images
    for level in range(1, model.depth + 1):
        codes, probabilities = run(f"recognition-{level}", below=below)
        if level < model.depth:
            assert torch.equal(codes, inferred.codes[level - 1])
        else:
            torch.testing.assert_close(probabilities.flatten(1), inferred.concept, **SAME)
        below = codes
    (image,) = run("decoder", z1=inferred.z1)
    torch.testing.assert_close(image, inferred.reconstruction, **SAME)


def test_priors_are_the_models_however_the_cells_are_dealt_out(pair: tuple[SpatialRGM, Runs]) -> None:
    priors_agree(*pair)


def test_a_guided_prior_is_the_models() -> None:
    torch.manual_seed(0)
    model = bounded(guided=True).eval()
    priors_agree(model, Runs({"prior-1": onnxruntime.InferenceSession(prior_graph(model, 1))}))


@torch.no_grad()
def test_codes_that_depend_on_one_another_are_the_models() -> None:
    torch.manual_seed(0)
    model = SpatialRGM.from_preset("likelihood", image=(1, 12, 12)).eval()
    head = model.recognition(1).head
    assert isinstance(head, AutoregressiveHead)
    torch.nn.init.normal_(head.change.weight)
    images = torch.rand(5, 1, 12, 12)
    name, graph = next(graphs(model))
    codes, probabilities = Runs({name: onnxruntime.InferenceSession(graph)})(name, below=images)
    assert torch.equal(codes, model.infer(images).z1)
    torch.testing.assert_close(probabilities, model.cell_logits(images).softmax(dim=1), **SAME)


@torch.no_grad()
def priors_agree(model: SpatialRGM, run: Runs) -> None:
    drawn = model.sample(torch.tensor([3, 7]), generator=torch.Generator().manual_seed(0))
    codes = [*drawn.codes, drawn.concept[:, None, None]]
    for level in range(1, model.depth):
        prior, z, above = model.prior(level), model._one_hot(codes[level - 1], level), codes[level]
        embedded, parent = model._embed(above, level + 1), model._one_hot(above, level + 1)
        if not isinstance(prior, TransformerPrior):
            (logits,) = run(f"prior-{level}", parent=parent)
            torch.testing.assert_close(logits, prior.field(embedded).logits, **SAME)
            continue
        order = torch.stack([torch.arange(prior.cells), torch.randperm(prior.cells)])
        expected = prior._guided_logits(z, embedded, order)
        flat = codes[level - 1].flatten(1).gather(1, order)
        code = torch.cat([torch.full((2, 1), prior.child[0]), flat[:, :-1]], dim=1)
        here = torch.cat([torch.full((2, 1), prior.cells), order[:, :-1]], dim=1)
        keys = values = torch.zeros(past_shape(prior, 2, 0))
        found = []
        for part in torch.arange(prior.cells).split([1, 1, 5, prior.cells - 8, 1]):
            tokens = {"code": code[:, part], "here": here[:, part], "following": order[:, part]}
            logits, keys, values = run(f"prior-{level}", parent=parent, keys=keys, values=values, **tokens)
            found.append(logits)
        torch.testing.assert_close(torch.cat(found, dim=1), expected, **SAME)


def test_a_model_becomes_a_folder_of_graphs(exported: Callable[..., tuple[SpatialRGM, Path]]) -> None:
    _, folder = exported("seed")
    paths = sorted(folder.glob("*.onnx"))
    assert [path.name for path in paths] == [
        *("decoder.onnx", "prior-1.onnx", "recognition-1.onnx", "recognition-2.onnx")
    ]
    assert all(path.stat().st_size > 1000 for path in paths)
