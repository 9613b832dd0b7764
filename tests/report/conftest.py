from dataclasses import replace

import pytest
import torch
from made_results import KINDS, Results, results_of

from rgm.evaluation.abstraction import Abstraction

COMMON = ("grey", "colour, hostile names, not square")
"""The kinds that quick runs draw as well; drawing a report takes seconds."""


@pytest.fixture(
    scope="session", params=[kind if kind in COMMON else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def results(request: pytest.FixtureRequest) -> Results:
    return results_of(request.param)


@pytest.fixture(scope="session")
def grey() -> Results:
    return results_of("grey")


@pytest.fixture(scope="session")
def hostile() -> Results:
    return results_of("colour, hostile names, not square")


@pytest.fixture(scope="session")
def three_levels(grey: Results) -> Abstraction:
    """Return a result with one grid between z_1 and the concept."""
    between = torch.arange(49).reshape(1, 7, 7).expand(len(grey.abstraction.images), 7, 7) % 5
    inference = replace(grey.abstraction.inference, codes=(grey.abstraction.inference.z1, between))
    return replace(grey.abstraction, inference=inference)
