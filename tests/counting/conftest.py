"""A few digits of three classes, with the paper's patches fitted to them once, since fitting is slow."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from toys import ranked

from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet

EXEMPLARS = 3


class Subset(NamedTuple):
    images: Tensor
    labels: Tensor


@pytest.fixture(scope="session")
def subset(digits: ImageSet) -> Subset:
    known = digits.labels < 3
    return Subset(digits.images[known][:100], digits.labels[known][:100])


@pytest.fixture(scope="session")
def paper(subset: Subset) -> Callable[[], CountingRGM]:
    """Return a factory of the paper's models in float64, with fitted patches."""
    fitted = ranked(3, EXEMPLARS)
    fitted.leaves.fit(subset.images.double() / 255)
    patches = {name: values.clone() for name, values in fitted.leaves.state_dict().items()}

    def make() -> CountingRGM:
        model = ranked(3, EXEMPLARS)
        model.leaves.load_state_dict(patches)
        model.leaves.fit = lambda _: None  # type: ignore[method-assign]
        return model

    torch.manual_seed(0)
    return make
