"""The learners of temporal models behind one interface."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from rgm.data.frames import films_of
from rgm.errors import RGMError
from rgm.runtime.progress import StageReport
from rgm.runtime.seeds import whole
from rgm.temporal.config import FlowConfig, LatentConfig, MemoryConfig
from rgm.temporal.dynamics import Tones
from rgm.temporal.flow_learning import FlowRecipe, learn_flow
from rgm.temporal.latent_learning import LatentRecipe, learn_latent
from rgm.temporal.memory import Memory
from rgm.temporal.model import TemporalRGM, to_tones
from rgm.temporal.structure import Structure


@dataclass(frozen=True, kw_only=True)
class MemoryRecipe:
    """How a memory is learned: every film once, in its order. `closed`: its last frame is followed by its first."""

    closed: bool = False

    @property
    def epochs(self) -> int:
        """Passes over all films."""
        return 1


Recipe = MemoryRecipe | LatentRecipe | FlowRecipe
RECIPES: dict[type[Any], type[Any]] = {MemoryConfig: MemoryRecipe, LatentConfig: LatentRecipe, FlowConfig: FlowRecipe}
"""The recipe of each dynamics."""


def film_recipe(model: TemporalRGM, recipe: Any = None) -> Recipe:
    """Return a model's recipe, by default that of its dynamics; raise RGMError for another's."""
    expected = RECIPES[type(model.config.dynamics)]
    found: Recipe = expected() if recipe is None else recipe
    if not isinstance(found, expected):
        raise RGMError(
            f"a model of films with the dynamics {model.config.dynamics.kind!r} is fitted by {expected.__name__}(…), "
            f"not {type(recipe).__name__}"
        )
    return found


def of_passes(recipe: Recipe, passes: float) -> Recipe:
    """Return a recipe of so many passes of expectation–maximisation over all films.

    Raises RGMError for a memory, which sees every film once, or for parts of a pass.
    """
    if isinstance(recipe, MemoryRecipe):
        raise RGMError("a memory sees every film once: leave --epochs out, or take the preset film-latent or film-flow")
    number = whole(int(passes) if passes == int(passes) else passes, "the number of epochs")
    if isinstance(recipe, LatentRecipe):
        return replace(recipe, passes=number)
    return replace(
        recipe, passes=number, trial=min(recipe.trial, number), border_passes=min(recipe.border_passes, number)
    )


@torch.no_grad()
def learn(
    model: TemporalRGM,
    frames: Any,
    recipe: Recipe,
    *,
    validation: Any = None,
    seed: int,
    report: StageReport = lambda *_: None,
) -> None:
    """Learn a model in place, from scratch, from films.

    Raises RGMError for films of another size than the model's, or without anything in them.
    """
    films = tones_for(model, frames)
    held_out = None if validation is None else tones_for(model, validation)
    match recipe:
        case MemoryRecipe():
            structure = Memory(model.config.image, model.config.tones, _emptied(model)).structure()
            _observe(structure, films, recipe)
            _remember(model, structure)
        case LatentRecipe():
            model.become(*learn_latent(model.config, films, held_out, recipe, seed=seed, report=report))
        case FlowRecipe():
            model.become(*learn_flow(model.config, films, held_out, recipe, seed=seed, report=report))


@torch.no_grad()
def partial_fit(model: TemporalRGM, frames: Any) -> None:
    """Learn further films into a memory: new stacks of symbols are appended, counts add.

    Raises RGMError for other dynamics, which are learned from all films at once.
    """
    structure = _structure(model)
    _observe(structure, tones_for(model, frames), MemoryRecipe())
    _remember(model, structure)


@torch.no_grad()
def merge(model: TemporalRGM, other: TemporalRGM) -> None:
    """Learn all that another memory knows into a memory; raise RGMError for other dynamics, frames or tones."""
    mine, theirs = _structure(model), _structure(other)
    try:
        mine.merge(theirs)
    except ValueError as error:
        raise RGMError(
            f"memories are merged where frames, tones and blocks are the same, but one has {model.config.image} and "
            f"{model.config.tones} tones, the other {other.config.image} and {other.config.tones}"
        ) from error
    _remember(model, mine)


@torch.no_grad()
def prune(model: TemporalRGM, least: int = 2) -> None:
    """Forget events that were seen less than `least` times, and what only they are made of.

    Raises RGMError where none would be left.
    """
    structure = _structure(model)
    keep = structure.states[-1].counts >= least
    if not keep.any():
        raise RGMError(f"no event was seen {least} times or more: nothing would be left; give a smaller number")
    structure.prune(keep)
    _remember(model, structure)


def tones_for(model: TemporalRGM, frames: Any) -> Tones:
    """Return films as a model's tones; raise RGMError for films of another size, or of one colour throughout."""
    pixels = films_of(frames)
    shape = (3 if pixels.ndim == 5 else 1, *pixels.shape[2:4])
    if shape != model.config.image:
        expected, given = (" × ".join(map(str, one)) for one in (model.config.image, shape))
        raise RGMError(f"the model's frames are {expected} (channels × rows × columns), but the films' are {given}")
    planes = pixels.permute(0, 1, 4, 2, 3) if pixels.ndim == 5 else pixels[:, :, None]
    tones = to_tones(planes, model.config.tones)
    if bool((tones == tones.flatten()[0]).all()):
        raise RGMError(
            f"the films are constant: every pixel of every frame has the same of {model.config.tones} tones, and there "
            "is nothing to learn"
        )
    return tones


def _observe(structure: Structure, films: Tones, recipe: MemoryRecipe) -> None:
    span = structure.span
    if films.shape[1] < span:
        raise RGMError(
            f"an event spans {span} frames, but the films have {films.shape[1]}: give longer films, or fewer doublings"
        )
    for film in films.flatten(2).numpy():
        around = np.concatenate([film, film[: 2 * span - 1]]) if recipe.closed else film
        structure.observe(around)


def _emptied(model: TemporalRGM) -> MemoryConfig:
    dynamics = model.config.dynamics
    assert isinstance(dynamics, MemoryConfig)
    return MemoryConfig(side=dynamics.side, doublings=dynamics.doublings, noise=dynamics.noise, jump=dynamics.jump)


def _structure(model: TemporalRGM) -> Structure:
    if not isinstance(model.dynamics, Memory):
        raise RGMError(
            f"only a memory learns on, merges and forgets, but these dynamics are {model.config.dynamics.kind!r}: "
            "fit it to all films at once, or take the preset film-memory"
        )
    return model.dynamics.structure()


def _remember(model: TemporalRGM, structure: Structure) -> None:
    model.become(*Memory.of(structure, model.config))
