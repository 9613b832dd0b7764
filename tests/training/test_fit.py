import numpy as np
import pytest
import torch

import rgm
from rgm.data.images import ImageSet
from rgm.data.labels import few_labels
from rgm.errors import RGMError
from rgm.model.spatial import SpatialRGM


def test_images_and_labels_must_be_the_models() -> None:
    model = SpatialRGM(latent_dim=4, num_classes=10)
    images, labels = np.zeros((3, 28, 28), dtype=np.uint8), [0, 1, 2]
    with pytest.raises(RGMError, match=r"takes images of shape \(1, 28, 28\), but got \(1, 12, 12\)"):
        rgm.fit(model, images[:, :12, :12], labels, recipe="seed")
    with pytest.raises(RGMError, match="concepts are 0 … 9, but a label is 30"):
        rgm.fit(model, images, [0, 1, 30], recipe="seed")
    with pytest.raises(RGMError, match=r"but got \(3, 28, 28\)"):
        rgm.fit(model, images, labels, recipe="seed", validation=(np.zeros((1, 3, 28, 28)), None))


def test_a_model_is_trained_as_its_preset_is_from_seeded_weights(digits: ImageSet) -> None:
    found = []
    for _ in range(2):
        model = SpatialRGM.from_preset("quick", seed=1)
        torch.rand(1)  # the global generator has no part in it
        result = rgm.fit(model, digits.images[:300], digits.labels[:300], epochs=0.02, seed=2, device="cpu")
        found.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert [record.stage for record in result.history] == ["codes", "concept", "prior"]
    assert torch.equal(*found)


@pytest.mark.parametrize("known", [20, 0])
def test_labels_that_are_not_known_are_learned_without(digits: ImageSet, known: int) -> None:
    labels = few_labels(digits, known, seed=0).labels
    assert labels is not None
    for given in (labels, None) if known == 0 else (labels,):
        model = SpatialRGM.from_preset("standard")
        result = rgm.fit(model, digits.images[:], given, epochs=0.1, batch_size=32, device="cpu")
        assert {"concept", "pseudo_label", "information"} <= set(result.history[0].terms)
