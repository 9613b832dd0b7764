"""Training on tensors or arrays."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex, overload

import torch

from rgm.counting.fitting import Recipe as CountingRecipe
from rgm.counting.fitting import adjusted, default_recipe
from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet
from rgm.data.labels import HIDDEN
from rgm.data.load import arrays_for
from rgm.errors import RGMError
from rgm.model.generative import RGM
from rgm.model.spatial import SpatialRGM
from rgm.runtime.brief import Brief
from rgm.runtime.device import check_processor, resolve_device
from rgm.runtime.progress import Callback, StepRecord, Watch
from rgm.runtime.seeds import as_seed
from rgm.temporal.fitting import Recipe as FilmRecipe
from rgm.temporal.fitting import film_recipe, learn
from rgm.temporal.model import TemporalRGM
from rgm.training.counting import CountingTrainer
from rgm.training.loop import NeuralTrainer
from rgm.training.recipe import Recipe
from rgm.training.recipe import recipe as named_recipe
from rgm.training.trainer import FitResult, Trainer, finished


@dataclass(frozen=True, kw_only=True, repr=False)
class FilmFit(Brief):
    """A model of films after learning (the given one), and how long it took."""

    model: TemporalRGM
    elapsed_s: float


@overload
def fit(
    model: TemporalRGM,
    images: Any,
    labels: None = None,
    *,
    recipe: FilmRecipe | None = None,
    seed: SupportsIndex = 0,
    device: str | torch.device = "auto",
    validation: Any = None,
    watch: Watch = ...,
) -> FilmFit: ...


@overload
def fit(
    model: RGM,
    images: Any,
    labels: Any = None,
    *,
    recipe: str | Recipe | CountingRecipe | None = None,
    epochs: int | float | None = None,
    batch_size: int | None = None,
    seed: SupportsIndex = 0,
    device: str | torch.device = "auto",
    validation: tuple[Any, Any] | None = None,
    watch: Watch = ...,
    callbacks: Sequence[Callback] = (),
) -> FitResult: ...


def fit(
    model: RGM | TemporalRGM,
    images: Any,
    labels: Any = None,
    *,
    recipe: str | Recipe | CountingRecipe | FilmRecipe | None = None,
    epochs: int | float | None = None,
    batch_size: int | None = None,
    seed: SupportsIndex = 0,
    device: str | torch.device = "auto",
    validation: Any = None,
    watch: Watch = lambda _: None,
    callbacks: Sequence[Callback] = (),
) -> FitResult | FilmFit:
    """Train a model in place on tensors or arrays, and return it with its history.

    `images`: (n, channels, height, width) or (n, height, width), uint8 or floats in [0, 1]; `labels`: (n,) integers
    from 0. For a `SpatialRGM`, −1 for unknown classes, and without any labels the concepts are clusters; a
    `CountingRGM` needs every label and is trained from scratch. `recipe`: a preset's name or a recipe, by default that
    of the preset that the model is made from (`standard` for other models), or the one for a counting model's symbols;
    `validation`: images and labels for the history's measures; `callbacks` are called after every step and epoch
    (`rgm.runtime.progress.Callback`). The model stays on the training device. Raises RGMError for invalid images,
    images or labels that do not fit the model, or a loss that is not finite.

    A `TemporalRGM` takes films in the place of images, without labels, and films alone as `validation`
    (`rgm.temporal.fitting`); it is learned in one piece, from scratch.
    """
    number = as_seed(seed)
    if not callable(watch):
        raise RGMError(f"`watch` is called with every step's record, but is {type(watch).__name__}")
    if not isinstance(callbacks, Sequence) or not all(isinstance(one, Callback) for one in callbacks):
        raise RGMError("`callbacks` is a list of objects with on_step and on_epoch (rgm.runtime.progress.Callback)")
    if isinstance(model, TemporalRGM):
        if labels is not None or epochs is not None or batch_size is not None:
            raise RGMError("films are learned without labels, epochs or batches: leave them out, or give a recipe")
        return fit_films(model, images, recipe, validation=validation, seed=number, device=device, watch=watch)

    if not isinstance(model, RGM):
        raise RGMError(f"fit trains a SpatialRGM, a CountingRGM or a TemporalRGM, not {type(model).__name__}")
    if validation is not None and not (isinstance(validation, tuple | list) and len(validation) == 2):
        raise RGMError(f"`validation` must be images and labels, a pair, but is {type(validation).__name__}")

    def checked(images: Any, labels: Any) -> ImageSet:
        labelled = isinstance(model, CountingRGM)
        return arrays_for(images, labels, shape=model.config.image, classes=model.num_classes, labelled=labelled)

    data = checked(images, labels)
    held_out = None if validation is None else checked(*validation)
    model.to(resolve_device(device))
    trainer: Trainer
    match model:
        case SpatialRGM():
            chosen = named_recipe(recipe or model.preset or "standard") if isinstance(recipe, str | None) else recipe
            if not isinstance(chosen, Recipe):
                raise RGMError(f"a SpatialRGM is trained by a recipe of stages, not {type(chosen).__name__}")
            known = 0 if data.labels is None else int((data.labels != HIDDEN).sum())
            if known < len(data):
                chosen = chosen.with_hidden_labels()
            chosen = chosen.adjusted(epochs=epochs, batch_size=batch_size)
            trainer = NeuralTrainer(model, data, held_out, chosen, seed=number)
        case CountingRGM():
            if isinstance(recipe, str | Recipe | FilmRecipe):
                raise RGMError("a CountingRGM is fitted by EMRecipe(…) or ExemplarRecipe(…): leave `recipe` out")
            counts = adjusted(recipe or default_recipe(model.config), epochs=epochs, batch_size=batch_size)
            trainer = CountingTrainer(model, data, held_out, counts, seed=number)
        case _:
            raise RGMError(f"there is no trainer for a {type(model).__name__}")
    return finished(trainer, watch, callbacks)


def fit_films(
    model: TemporalRGM,
    frames: Any,
    recipe: Any = None,
    *,
    validation: Any = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    watch: Watch = lambda _: None,
) -> FilmFit:
    """Learn a model of films in place, on the CPU; see `fit`. Raises RGMError for another device."""

    def report(stage: str, step: int, steps: int, value: float) -> None:
        watch(StepRecord(stage=stage, step=step, steps=steps, images=len(frames), loss=value, terms={}))

    chosen = film_recipe(model, recipe)
    check_processor(device)
    start = time.perf_counter()
    model.cpu()
    learn(model, frames, chosen, validation=validation, seed=seed, report=report)
    model.eval()
    return FilmFit(model=model, elapsed_s=time.perf_counter() - start)
