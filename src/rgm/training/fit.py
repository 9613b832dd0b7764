"""Training on the user's own tensors."""

from collections.abc import Sequence
from typing import Any

from rgm.data.images import ImageSet
from rgm.data.labels import HIDDEN
from rgm.data.load import from_arrays
from rgm.device import resolve_device
from rgm.errors import RGMError
from rgm.model.spatial import SpatialRGM
from rgm.progress import Callback, Watch
from rgm.training.loop import FitResult, train
from rgm.training.recipe import Recipe
from rgm.training.recipe import recipe as named_recipe


def fit(
    model: SpatialRGM,
    images: Any,
    labels: Any = None,
    *,
    recipe: str | Recipe = "standard",
    epochs: int | float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    validation: tuple[Any, Any] | None = None,
    watch: Watch = lambda _: None,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Train a model in place on tensors or arrays of the user's own, and return it with its history.

    `images`: (n, channels, height, width) or (n, height, width), uint8 or floats in [0, 1]; `labels`: (n,) whole
    numbers from 0, −1 where the class is not known; without any, the concepts are clusters; `recipe`: a preset's
    name or a `Recipe`; `validation`: images and labels that the history's measures are taken on; `callbacks` hear of
    every step and epoch (`rgm.progress.Callback`). The model stays on the device that it was trained on. Raises
    RGMError for arrays that are no images, images or labels that are not the model's, or a loss that is no longer
    finite.
    """
    if not isinstance(model, SpatialRGM):
        raise RGMError(f"a {type(model).__name__} is not trained but counted: model.fit(images, labels)")
    data = _fitting(model, images, labels)
    held_out = None if validation is None else _fitting(model, *validation)
    chosen = named_recipe(recipe) if isinstance(recipe, str) else recipe
    known = 0 if data.labels is None else int((data.labels != HIDDEN).sum())
    if known < len(data):
        chosen = chosen.with_hidden_labels()
    model.to(resolve_device(device))
    return train(
        model,
        data,
        chosen.adjusted(epochs=epochs, batch_size=batch_size),
        seed=seed,
        validation=held_out,
        watch=watch,
        callbacks=callbacks,
    )


def _fitting(model: SpatialRGM, images: Any, labels: Any) -> ImageSet:
    """Return arrays as a set; raise RGMError where a model has other images or fewer concepts."""
    data = from_arrays(images, labels)
    if data.shape != model.config.image:
        raise RGMError(
            f"the model takes images of shape {model.config.image}, but these have {data.shape}: resize them, or "
            "take a model for that shape"
        )
    if len(data.classes) > model.num_classes:
        raise RGMError(
            f"the model's concepts are 0 … {model.num_classes - 1}, but a label is {len(data.classes) - 1}"
        )
    return data
