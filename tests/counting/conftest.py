"""A few digits of three classes, and the paper's patches fitted to them once: fitting is what takes time."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from toys import ranked

from rgm.counting.model import CountingRGM
from rgm.data.images import ImageSet

EXEMPLARS = 3


class Few(NamedTuple):
    images: Tensor
    labels: Tensor


@pytest.fixture(scope="session")
def few(digits: ImageSet) -> Few:
    known = digits.labels < 3
    return Few(digits.images[known][:100], digits.labels[known][:100])


@pytest.fixture(scope="session")
def paper(few: Few) -> Callable[[], CountingRGM]:
    """Return what makes models of the paper's kind, in float64, whose patches are fitted already."""
    fitted = ranked(3, EXEMPLARS)
    fitted.leaves.fit(few.images.double() / 255)
    patches = {name: values.clone() for name, values in fitted.leaves.state_dict().items()}

    def make() -> CountingRGM:
        model = ranked(3, EXEMPLARS)
        model.leaves.load_state_dict(patches)
        model.leaves.fit = lambda _: None  # type: ignore[method-assign]
        return model

    torch.manual_seed(0)
    return make
