"""Which way a model is learned, and what can be asked of it."""

import math
from collections.abc import Callable

import pytest
import torch
from toys import fitted, ranked, toy

from rgm.counting.exemplars import Exemplars, PaperLearner
from rgm.counting.fitting import Recipe, Steps, adjusted, learner, usual
from rgm.counting.learning import Expectation, Learner
from rgm.counting.model import CountingRGM
from rgm.errors import RGMError

IMAGES, LABELS = torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.arange(4) % 2


def test_the_usual_recipe_is_that_of_the_symbols() -> None:
    assert usual(ranked().config) == Exemplars()
    assert usual(toy("flat").config) == Expectation()


@pytest.mark.parametrize(
    ("recipe", "kind"), [(Expectation(), Learner), (Exemplars(exemplars=1), PaperLearner)]
)
def test_a_recipe_has_its_steps(recipe: Recipe, kind: type) -> None:
    steps = learner(toy("flat"), recipe, IMAGES, LABELS, seed=0)
    assert isinstance(steps, kind)
    assert isinstance(steps, Steps)
    for number in range(len(steps.stages)):
        steps.step(number)
    assert all(counts.isfinite().all() for counts in steps.model.counts)


def test_what_is_asked_for_is_what_is_learned() -> None:
    assert adjusted(Expectation(), epochs=None, batch_size=None) == Expectation()
    assert adjusted(Exemplars(), epochs=1.0, batch_size=32) == Exemplars(batch_size=32)
    assert adjusted(Expectation(), epochs=12.0, batch_size=50) == Expectation(passes=3, batch_size=50)
    assert adjusted(Expectation(), epochs=9.0, batch_size=None).passes == 0
    short = Expectation(prototype_passes=2)
    for epochs in (3.0, 5.0):
        assert adjusted(short, epochs=epochs, batch_size=None).epochs == epochs


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: adjusted(Expectation(), epochs=None, batch_size=0), "batch size must be at least 1"),
        (lambda: adjusted(Exemplars(), epochs=2.0, batch_size=None), "sees each image once"),
        (lambda: adjusted(Expectation(), epochs=8.0, batch_size=None), "from 9 on, not 8"),
        (lambda: adjusted(Expectation(), epochs=9.5, batch_size=None), "whole number"),
        (lambda: adjusted(Expectation(), epochs=math.nan, batch_size=None), "whole number"),
        (lambda: adjusted(Expectation(), epochs=math.inf, batch_size=None), "whole number"),
        (lambda: learner(toy("flat"), Expectation(), IMAGES, LABELS * 0, seed=0), "no image is of class 1"),
        (lambda: learner(toy("flat"), Exemplars(), IMAGES, LABELS - 1, seed=0), "every image's label"),
        (lambda: learner(toy("deep"), Expectation(), IMAGES, LABELS, seed=0), "take the recipe Exemplars"),
    ],
)
def test_what_a_user_can_mend(ask: Callable, message: str) -> None:
    with pytest.raises(RGMError, match=message):
        ask()


def test_the_default_recipe_learns(few: tuple[torch.Tensor, torch.Tensor]) -> None:
    model = fitted(toy("flat"), few[0][:, :, 10:14, 10:14], few[1].clamp(max=1))
    assert isinstance(model, CountingRGM)
    assert all(counts.isfinite().all() for counts in model.counts)
