"""Training on a GPU matches training on the CPU up to rounding; runs where there is one."""

from dataclasses import replace

import pytest
import torch

from rgm.data.load import from_arrays
from rgm.model.spatial import SpatialRGM
from rgm.training.loop import NeuralTrainer
from rgm.training.recipe import recipe
from rgm.training.summary import summary

PRESENT = [
    name for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())) if there
]


@pytest.mark.skipif(not PRESENT, reason="needs a GPU")
@pytest.mark.parametrize("preset", ["standard", "pretrained"])
@pytest.mark.parametrize("device", PRESENT or ["none"])
def test_a_gpu_trains_as_the_cpu_does(preset: str, device: str) -> None:
    """Stages without noise except shifts: losses of the first steps within 1 %, and the same measures after."""
    data = from_arrays(
        torch.randint(256, (64, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8),
        torch.arange(64) % 10,
    )
    codes = replace(recipe(preset).stages[0], epochs=1, least_steps=1, batch_size=16, shift=0)
    weights = replace(codes.weights, locality=0.0)  # the changed cell is sampled by the device's generator
    chosen = replace(recipe(preset), stages=(replace(codes, weights=weights),))
    found = []
    for place in ("cpu", device):
        torch.manual_seed(0)
        run = NeuralTrainer(SpatialRGM.from_preset(preset).to(place), data, None, chosen, seed=1)
        losses: list[float] = []
        # The order of images is also sampled by the device's generator: the same image everywhere.
        run.batches.images = run.batches.images[:1].expand(64, -1, -1, -1).contiguous()
        run.batches.labels = torch.zeros(64, dtype=torch.int64, device=place)
        run.run(lambda record, kept=losses: kept.append(record.loss), lambda *_: None)
        found.append((losses, summary(run.model.cpu(), data)["squared_error"]))
    (on_cpu, error), (there, other) = found
    torch.testing.assert_close(torch.tensor(there), torch.tensor(on_cpu), rtol=0.01, atol=0)
    assert other == pytest.approx(error, rel=0.05)
