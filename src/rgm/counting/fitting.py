"""The two learning algorithms of counting models behind one interface."""

from dataclasses import replace

from rgm.counting.config import CountingConfig, RankedSymbols
from rgm.counting.exemplars import ExemplarRecipe, PaperLearner
from rgm.counting.learning import EMRecipe, Labels, Learner, Pixels
from rgm.counting.model import CountingRGM
from rgm.errors import RGMError

Recipe = ExemplarRecipe | EMRecipe
Steps = PaperLearner | Learner
"""Learning in steps. The model's counts are its only state, so that it can resume after any step.

`stages` are the stages of the steps, in order; after a stage's last step the model can be evaluated.
"""


def default_recipe(config: CountingConfig) -> Recipe:
    """Return the default recipe for a model's symbols: exemplars for the paper's, else expectation–maximisation."""
    return ExemplarRecipe() if isinstance(config.symbols, RankedSymbols) else EMRecipe()


def adjusted(recipe: Recipe, *, epochs: float | None, batch_size: int | None) -> Recipe:
    """Return a recipe with another number of passes, `epochs`, and batch size; raise RGMError for invalid numbers."""
    if batch_size is not None:
        if batch_size < 1:
            raise RGMError(f"the batch size must be at least 1, but is {batch_size}")
        recipe = replace(recipe, batch_size=batch_size)
    if epochs is None:
        return recipe
    if isinstance(recipe, ExemplarRecipe):
        if epochs != 1:
            raise RGMError(
                f"the preset paper takes one pass over the images: leave --epochs out, or give 1, not {epochs:g}"
            )
        return recipe
    least = replace(recipe, passes=0).epochs
    if epochs < least or not float(epochs).is_integer():
        raise RGMError(
            f"the preset counting takes {least} passes to count and further ones over the whole tree: --epochs is a "
            f"whole number from {least} on, not {epochs:g}"
        )
    return replace(recipe, passes=int(epochs) - least)


def learner(
    model: CountingRGM, recipe: Recipe, images: Pixels, labels: Labels, *, seed: int, basis: Pixels | None = None
) -> Steps:
    """Return the steps of a recipe; raise RGMError for labels that leave a class without images."""
    if isinstance(recipe, ExemplarRecipe):
        return PaperLearner(model, recipe, images, labels, basis=basis)
    return Learner(model, recipe, images, labels, seed=seed)
