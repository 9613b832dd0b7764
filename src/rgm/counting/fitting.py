"""The learning algorithms of counting models behind one interface."""

from dataclasses import replace

from rgm.counting.config import CountingConfig, PixelValues, RankedSymbols
from rgm.counting.exemplars import ExemplarRecipe, PaperLearner
from rgm.counting.learning import EMRecipe, Labels, Learner, Pixels
from rgm.counting.model import CountingRGM
from rgm.counting.stepwise import StepwiseLearner, StepwiseRecipe
from rgm.errors import RGMError
from rgm.runtime.seeds import whole

Recipe = ExemplarRecipe | EMRecipe | StepwiseRecipe
Steps = PaperLearner | Learner | StepwiseLearner
"""Learning in steps. The model's counts are its only state, so that it can resume after any step.

`stages` are the stages of the steps, in order; after a stage's last step the model can be evaluated.
"""


def default_recipe(config: CountingConfig) -> Recipe:
    """Return the default recipe for a model's symbols: exemplars for the paper's, else expectation–maximisation."""
    match config.symbols:
        case RankedSymbols():
            return ExemplarRecipe()
        case PixelValues():
            return StepwiseRecipe()
        case _:
            return EMRecipe()


def adjusted(recipe: Recipe, *, epochs: float | None, batch_size: int | None) -> Recipe:
    """Return a recipe with another number of passes, `epochs`, and batch size; raise RGMError for invalid numbers."""
    if batch_size is not None:
        recipe = replace(recipe, batch_size=whole(batch_size, "the batch size"))
    if epochs is None:
        return recipe
    if isinstance(recipe, ExemplarRecipe):
        if epochs != 1:
            raise RGMError(
                f"the preset paper takes one pass over the images: leave --epochs out, or give 1, not {epochs:g}"
            )
        return recipe
    if isinstance(recipe, StepwiseRecipe):
        if epochs < 2 or not float(epochs).is_integer():
            raise RGMError(
                f"the preset exact takes one pass to start and further ones: --epochs is a whole number from 2 on, not "
                f"{epochs:g}"
            )
        return replace(recipe, passes=int(epochs) - 1)
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
    if isinstance(recipe, StepwiseRecipe) != isinstance(model.config.symbols, PixelValues):
        raise RGMError(
            f"trees over pixel values are fitted by StepwiseRecipe, and no others, but {type(recipe).__name__} was "
            f"requested for symbols of the kind {model.config.symbols.kind}: leave `recipe` out"
        )
    if isinstance(recipe, ExemplarRecipe):
        return PaperLearner(model, recipe, images, labels, basis=basis)
    if isinstance(recipe, StepwiseRecipe):
        return StepwiseLearner(model, recipe, images, labels, seed=seed)
    return Learner(model, recipe, images, labels, seed=seed)
