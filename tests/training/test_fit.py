import numpy as np
import pytest

import rgm
from rgm.errors import RGMError
from rgm.model.spatial import SpatialRGM


def test_images_and_labels_must_be_the_models() -> None:
    model = SpatialRGM(latent_dim=4, num_classes=10)
    images, labels = np.zeros((3, 28, 28), dtype=np.uint8), [0, 1, 2]
    with pytest.raises(RGMError, match=r"takes images of shape \(1, 28, 28\), but these have \(1, 12, 12\)"):
        rgm.fit(model, images[:, :12, :12], labels, recipe="seed")
    with pytest.raises(RGMError, match="concepts are 0 … 9, but a label is 30"):
        rgm.fit(model, images, [0, 1, 30], recipe="seed")
    with pytest.raises(RGMError, match=r"but these have \(3, 28, 28\)"):
        rgm.fit(model, images, labels, recipe="seed", validation=(np.zeros((1, 3, 28, 28)), None))
