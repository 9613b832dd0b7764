"""Small models of films for the page: a memory of a film with a fork, a flow of balls, each learned at once."""

from dataclasses import replace

import torch
from torch import Tensor

from rgm import TemporalRGM
from rgm.data.made_films import bouncing_balls
from rgm.explorer.films import FilmExplorer
from rgm.temporal.flow_learning import FlowRecipe
from rgm.training.fit import fit


def forked() -> Tensor:
    """Return 48 frames of 8 × 8: A A B B A A C C …, so that two events follow the first one, as often."""
    a, b, c = torch.zeros(3, 8, 8, dtype=torch.uint8).unbind(0)
    a[:4, :4], b[4:, :4], c[4:, 4:] = 255, 255, 255
    return torch.stack([a, a, b, b, a, a, c, c] * 6)


def memory_explorer() -> FilmExplorer:
    """Return a memory of the forked film, whose events are of two frames."""
    model = TemporalRGM.from_preset("film-memory", image=(1, 8, 8))
    model = TemporalRGM(replace(model.config, dynamics=replace(model.config.dynamics, doublings=1)))
    return FilmExplorer(fit(model, forked(), device="cpu").model, forked()[None], "a memory")


def flow_explorer() -> FilmExplorer:
    """Return a flow of bouncing balls."""
    films = torch.stack([bouncing_balls(12, ((1, step),), height=8, width=8, radius=1.5) for step in (1, 2)])
    model = TemporalRGM.from_preset("film-flow", image=(1, 8, 8))
    model = TemporalRGM(replace(model.config, dynamics=replace(model.config.dynamics, paths=5, reach=2, sight=2)))
    recipe = FlowRecipe(starts=1, trial=4, passes=5, own_paths=0, border_passes=1)
    return FilmExplorer(fit(model, films, recipe=recipe, device="cpu").model, films, "a flow")
