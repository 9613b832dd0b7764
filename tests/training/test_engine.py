"""Precision and compilation change how a step is computed, not what is trained."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rgm.data.load import from_arrays
from rgm.errors import RGMError
from rgm.model.spatial import SpatialRGM
from rgm.training.engine import Engine
from rgm.training.loop import NeuralTrainer
from rgm.training.recipe import recipe


def training(preset: str, engine: Engine = Engine(), *, stage: int = 0, batch: int = 16) -> NeuralTrainer:  # noqa: B008
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (4 * batch, 28, 28), generator=generator, dtype=torch.uint8)
    data = from_arrays(pixels, torch.arange(4 * batch) % 10)
    chosen = recipe(preset)
    short = replace(chosen.stages[stage], epochs=1, least_steps=1, batch_size=batch)
    torch.manual_seed(0)
    model = SpatialRGM.from_preset(preset)
    return NeuralTrainer(model, data, None, replace(chosen, stages=(short,)), seed=1, engine=engine)


def losses(run: NeuralTrainer) -> list[float]:
    found: list[float] = []
    run.run(lambda record: found.append(record.loss), lambda *_: None)
    return found


@pytest.mark.parametrize("preset", ["seed", "standard", pytest.param("likelihood", marks=pytest.mark.slow)])
def test_bfloat16_gives_the_same_losses_within_two_percent(preset: str) -> None:
    exact, rounded = losses(training(preset)), losses(training(preset, Engine(precision="bfloat16")))
    assert exact != rounded
    torch.testing.assert_close(torch.tensor(rounded), torch.tensor(exact), rtol=0.02, atol=0)
    run = training(preset, Engine(precision="bfloat16"))
    losses(run)
    assert {weight.dtype for weight in run.model.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_networks_give_the_same_losses_but_for_rounding() -> None:
    exact, compiled = losses(training("seed")), losses(training("seed", Engine(compile=True)))
    torch.testing.assert_close(torch.tensor(compiled), torch.tensor(exact), rtol=1e-4, atol=0)


def test_a_missing_compiler_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RGMError, match=r"--compile needs a C\+\+ compiler"):
        training("seed", Engine(compile=True))


BREAKS = """
import sys, torch
from rgm.model.spatial import SpatialRGM
from rgm.training.engine import networks
for preset in sys.argv[1:]:
    model, shapes = SpatialRGM.from_preset(preset), {}
    parts = networks(model)
    def note(module, inputs):
        shapes[id(module)] = inputs[0].shape
    hooks = [part.register_forward_pre_hook(note) for part in parts]
    levels = model.relax(torch.rand(2, 1, 28, 28))
    model.mean_image(levels[0].sample)
    for level in range(1, model.depth):
        embedded = model.recognition(level + 1).read(levels[level].sample)
        model.prior(level).log_prob(levels[level - 1].sample.detach(), embedded)
    for hook in hooks:
        hook.remove()
    for part in parts:
        print(preset, torch._dynamo.explain(part)(torch.zeros(shapes[id(part)])).graph_break_count)
        torch._dynamo.reset()
"""


@pytest.mark.slow
def test_no_network_breaks_into_several_graphs() -> None:
    """In a process of its own: the tests' checks of shapes would break the graph."""
    presets = ("seed", "standard", "pretrained", "three-level")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BREAKS, *presets], check=True, capture_output=True, text=True
    )
    found = [line.split() for line in done.stdout.splitlines()]
    assert {preset for preset, _ in found} == set(presets)
    assert len(found) == 25
    assert {breaks for _, breaks in found} == {"0"}


class _Counting(TorchDispatchMode):
    """Counts the operations that reach a device."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] += 1
        return func(*args, **kwargs or {})


def operations(preset: str, stage: int, batch: int) -> int:
    run = training(preset, stage=stage, batch=batch)
    index = torch.arange(batch)
    run.model.train()
    run._step(index)
    with _Counting() as counting:
        run._step(index)
    return counting.counts.total()


@pytest.mark.parametrize(
    ("preset", "stage", "most"), [("seed", 0, 300), ("standard", 0, 700), ("standard", 1, 1000), ("pretrained", 3, 370)]
)
def test_a_step_takes_few_operations_however_many_images(preset: str, stage: int, most: int) -> None:
    """A fifth more than were counted: more needs a deliberate change."""
    few, many = (operations(preset, stage, batch) for batch in (4, 32))
    assert few == many
    assert many <= most
