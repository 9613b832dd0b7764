"""Trains a few steps in float64, alone or as one of several processes, and saves the weights: `together.py OUT`."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from rgm.data.images import ImageSet
from rgm.data.labels import HIDDEN
from rgm.data.load import from_arrays
from rgm.model.spatial import SpatialRGM
from rgm.runtime.distributed import joined
from rgm.training.loop import NeuralTrainer
from rgm.training.recipe import Recipe, recipe

PRESETS = ("seed", "standard", "pretrained", "three-level", "likelihood", "colour32-sharp", "few labels")


def images(hidden: bool) -> ImageSet:
    """Return 33 images, so that the batches of 7 end with one of 5, and 5 do not divide by 2."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (33, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.arange(33) % 10
    return from_arrays(pixels, torch.where(torch.arange(33) < 20, HIDDEN, labels) if hidden else labels)


def short(name: str) -> Recipe:
    """Return a preset's recipe with ten steps, shared among its stages."""
    chosen = recipe("standard" if name == "few labels" else name)
    if name == "few labels":
        chosen = chosen.with_hidden_labels()
    count = len(chosen.stages)
    steps = [10 // count + (stage < 10 % count) for stage in range(count)]
    stages = tuple(
        replace(stage, epochs=number / 5, least_steps=1, batch_size=7, labelled=min(stage.labelled, 3))
        for stage, number in zip(chosen.stages, steps, strict=True)
    )
    return replace(chosen, stages=stages)


def main(out: Path) -> None:
    torch.set_num_threads(1)
    with joined("cpu") as processes:
        for name in PRESETS:
            torch.manual_seed(0)
            model = SpatialRGM.from_preset("standard" if name == "few labels" else name).double()
            data = images(hidden=name == "few labels")
            training = NeuralTrainer(model, data, data if name != "few labels" else None, short(name), seed=3)
            losses: list[float] = []
            training.run(lambda record, kept=losses: kept.append(record.loss), lambda *_: None)
            if processes.first:
                validation = training.history[-1].validation
                measures = {key: torch.tensor(value, dtype=torch.float64) for key, value in validation.items()}
                weights = {key: value.contiguous() for key, value in model.state_dict().items()}
                losses64 = torch.tensor(losses, dtype=torch.float64)
                save_file({**weights, **measures, "losses": losses64}, out / f"{name}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
