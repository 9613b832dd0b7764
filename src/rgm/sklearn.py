"""The model as a scikit-learn estimator: a classifier, with the grid of codes as its transform."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from rgm.distributions.noise import seeded
from rgm.model.config import preset as preset_config
from rgm.model.results import Inference
from rgm.model.spatial import SpatialRGM
from rgm.training.fit import fit
from rgm.training.recipe import recipe

Images = Any
"""Anything that scikit-learn takes: (n, features)."""


class SpatialRGMClassifier(ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, BaseEstimator):
    """A spatial RGM with scikit-learn's interface.

    Rows of X are images, flattened: `image_shape` is (channels, height, width), by default a grey square, with rows
    padded to the next square; squares of an unsuitable side are padded at the right and bottom. Pixels
    are scaled to [0, 1] by the minimum and maximum of the training data. `transform` returns the codes z₁ as integers,
    (n, cells), in raster order, and `inverse_transform` decodes them to rows of X; `predict_proba` is q(z_L | x).

    `preset`: model and recipe by name; `epochs`, `batch_size`: instead of the recipe's; `device`: for training, as in
    `rgm.fit` (predictions are on the CPU, in double precision); `random_state`: seeds everything; `min_steps`: minimum
    number of training steps, for few images.

    Fitted: `model_` (the `SpatialRGM`), `classes_`, `n_features_in_`, `history_` (the epochs' records).
    """

    def __init__(
        self,
        preset: str = "quick",
        *,
        image_shape: tuple[int, int, int] | None = None,
        epochs: float | None = None,
        batch_size: int | None = None,
        min_steps: int = 200,
        device: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.preset = preset
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.min_steps = min_steps
        self.device = device
        self.random_state = random_state

    def fit(self, X: Images, y: Any) -> "SpatialRGMClassifier":
        """Train a new model; raise ValueError for invalid data, or a single class."""
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs at least 2 classes, but the data have 1 class")
        self.image_shape_ = self._shape(X.shape[1])
        self.low_, self.high_ = float(X.min()), float(X.max())
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        plan = recipe(self.preset).adjusted(epochs=self.epochs, batch_size=self.batch_size)
        steps = plan.epochs * math.ceil(len(X) / plan.stages[0].batch_size)
        if steps < self.min_steps:
            plan = plan.adjusted(epochs=plan.epochs * self.min_steps / steps)
        with seeded(seed):
            model = SpatialRGM(config=preset_config(self.preset, self.image_shape_, len(self.classes_)))
        images = self._images(X)
        found = fit(model, images, torch.from_numpy(labels), recipe=plan, seed=seed, device=self.device)
        self.model_, self.history_ = found.model.cpu().double(), found.history
        height, width = self.model_.config.levels[0].grid
        self._n_features_out = height * width
        return self

    def predict_proba(self, X: Images) -> NDArray[np.float64]:
        """Return q(z_L | x): probabilities of `classes_`, (n, classes)."""
        return self._infer(X).concept.numpy()

    def predict(self, X: Images) -> NDArray[Any]:
        """Return the most probable class of each row."""
        probabilities = self.predict_proba(X)  # refused before it is fitted, as scikit-learn asks
        return self.classes_[probabilities.argmax(axis=1)]

    def transform(self, X: Images) -> NDArray[np.int64]:
        """Return the codes z₁ of each row, (n, cells), in raster order."""
        return self._infer(X).z1.flatten(1).numpy()

    def inverse_transform(self, codes: Any) -> NDArray[np.float32]:
        """Return codes decoded to rows of X; raise ValueError for codes that the model does not have."""
        check_is_fitted(self)
        z1 = torch.from_numpy(check_array(codes, dtype=np.int64))
        if z1.shape[1] != self._n_features_out:
            raise ValueError(f"codes have {self._n_features_out} cells a row, but got {z1.shape[1]}")
        decoded = self.model_.decode(z1.reshape(-1, *self.model_.config.levels[0].grid))
        if side := self._side(self.n_features_in_):
            decoded = decoded[:, :, :side, :side]
        rows = decoded.flatten(1)[:, : self.n_features_in_].numpy()
        return (self.low_ + (self.high_ - self.low_) * rows).astype(np.float32)

    def __sklearn_tags__(self) -> Any:
        """Declare a poor score on tabular data, and integer codes."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        tags.classifier_tags.poor_score = True
        return tags

    def _shape(self, features: int) -> tuple[int, int, int]:
        if self.image_shape is not None:
            if len(self.image_shape) != 3:
                raise ValueError(f"image_shape is (channels, height, width), not {self.image_shape}")
            if math.prod(self.image_shape) != features:
                raise ValueError(f"image_shape {self.image_shape} does not make the {features} features of X")
            channels, height, width = self.image_shape
            return (channels, height, width)
        side = 4 * math.ceil(math.sqrt(features) / 4)
        return (1, side, side)

    def _side(self, features: int) -> int | None:
        """Return the side of square rows, or None for others and where `image_shape` is given."""
        side = math.isqrt(features)
        return side if self.image_shape is None and side**2 == features else None

    def _images(self, X: NDArray[np.float32]) -> torch.Tensor:
        unit = np.clip((X - self.low_) / ((self.high_ - self.low_) or 1.0), 0, 1)
        if side := self._side(unit.shape[1]):
            missing = self.image_shape_[2] - side
            padded = np.pad(unit.reshape(-1, side, side), ((0, 0), (0, missing), (0, missing)))
        else:
            padded = np.pad(unit, ((0, 0), (0, math.prod(self.image_shape_) - unit.shape[1])))
        return torch.from_numpy(padded.astype(np.float32)).reshape(-1, *self.image_shape_)

    def _infer(self, X: Images) -> Inference:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return self.model_.infer(self._images(X).double())
