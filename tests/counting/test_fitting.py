"""The learning algorithm of a model, and its options."""

import math
from collections.abc import Callable

import pytest
import torch
from toys import fitted, ranked, toy

from rgm.counting.exemplars import ExemplarRecipe, PaperLearner
from rgm.counting.fitting import Recipe, Steps, adjusted, default_recipe, learner
from rgm.counting.learning import EMRecipe, Learner
from rgm.counting.model import CountingRGM
from rgm.errors import RGMError

IMAGES, LABELS = torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.arange(4) % 2


def test_the_usual_recipe_is_that_of_the_symbols() -> None:
    assert default_recipe(ranked().config) == ExemplarRecipe()
    assert default_recipe(toy("flat").config) == EMRecipe()


@pytest.mark.parametrize(("recipe", "kind"), [(EMRecipe(), Learner), (ExemplarRecipe(exemplars=1), PaperLearner)])
def test_a_recipe_has_its_steps(recipe: Recipe, kind: type) -> None:
    steps = learner(toy("flat"), recipe, IMAGES, LABELS, seed=0)
    assert isinstance(steps, kind)
    assert isinstance(steps, Steps)
    for number in range(len(steps.stages)):
        steps.step(number)
    assert all(counts.isfinite().all() for counts in steps.model.counts)


def test_recipes_are_adjusted() -> None:
    assert adjusted(EMRecipe(), epochs=None, batch_size=None) == EMRecipe()
    assert adjusted(ExemplarRecipe(), epochs=1.0, batch_size=32) == ExemplarRecipe(batch_size=32)
    assert adjusted(EMRecipe(), epochs=12.0, batch_size=50) == EMRecipe(passes=3, batch_size=50)
    assert adjusted(EMRecipe(), epochs=9.0, batch_size=None).passes == 0
    short = EMRecipe(prototype_passes=2)
    for epochs in (3.0, 5.0):
        assert adjusted(short, epochs=epochs, batch_size=None).epochs == epochs


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: adjusted(EMRecipe(), epochs=None, batch_size=0), "batch size must lie in 1"),
        (lambda: adjusted(ExemplarRecipe(), epochs=2.0, batch_size=None), "takes one pass over the images"),
        (lambda: adjusted(EMRecipe(), epochs=8.0, batch_size=None), "from 9 on, not 8"),
        (lambda: adjusted(EMRecipe(), epochs=9.5, batch_size=None), "whole number"),
        (lambda: adjusted(EMRecipe(), epochs=math.nan, batch_size=None), "whole number"),
        (lambda: adjusted(EMRecipe(), epochs=math.inf, batch_size=None), "whole number"),
        (lambda: learner(toy("flat"), EMRecipe(), IMAGES, LABELS * 0, seed=0), "no image is of class 1"),
        (lambda: learner(toy("flat"), ExemplarRecipe(), IMAGES, LABELS - 1, seed=0), "every image's label"),
        (lambda: learner(toy("deep"), EMRecipe(), IMAGES, LABELS, seed=0), "use the recipe ExemplarRecipe"),
    ],
)
def test_errors(ask: Callable, message: str) -> None:
    with pytest.raises(RGMError, match=message):
        ask()


def test_the_default_recipe_learns(subset: tuple[torch.Tensor, torch.Tensor]) -> None:
    model = fitted(toy("flat"), subset[0][:, :, 10:14, 10:14], subset[1].clamp(max=1))
    assert isinstance(model, CountingRGM)
    assert all(counts.isfinite().all() for counts in model.counts)
