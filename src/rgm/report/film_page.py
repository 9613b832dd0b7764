"""The page about a model of films: verdicts, films, levels, paths, and errors by step, as one file."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rgm.claims.claim import Claim
from rgm.data.frames import Frames
from rgm.evaluation.films import rollout_errors
from rgm.evaluation.time import TIME_PROPERTIES, TimeResult
from rgm.report.films import film_strips, films_gif, levels_figure, paths_figure, rollout_figure
from rgm.report.page import picture, template
from rgm.report.verdicts import evidence_rows, of_the_model, reason_of
from rgm.storage.files import write_text
from rgm.temporal.config import MemoryConfig
from rgm.temporal.flow import Flow
from rgm.temporal.memory import Memory
from rgm.temporal.model import TemporalRGM

CLAIMED = {
    "abstraction": "The path costs far fewer bits than the frames, and explains how they change.",
    "instantiation": "One path has many films, each of which shows that path.",
    "locality": "A change stays in its place and in its time.",
    "generalisation": "Films that were never seen are predicted better than by repeating, or by remembering.",
}
"""What is claimed over time."""


@dataclass(frozen=True, kw_only=True)
class LevelRow:
    """A level in the table: its grid, frames and numbers, and the bits a frame that its states take."""

    name: str
    grid: str
    span: int
    states: int
    edges: int
    bits: float


def level_rows(model: TemporalRGM) -> list[LevelRow]:
    """Return the levels, finest first.

    Bits a frame: cells · H / span, with H the entropy of a cell's states by how often they were seen, where that is
    known, else log₂ of their number. Every cell has states of its own.
    """
    found = []
    for number, level in enumerate(model.config.levels):
        rows, columns = level.grid
        entropy = math.log2(max(1, level.states))
        if isinstance(model.dynamics, Memory):
            shares = model.dynamics.get_buffer(f"counts_{number}").double()
            shares = shares / shares.sum()
            entropy = float(-torch.xlogy(shares, shares).sum()) / math.log(2) - math.log2(rows * columns)
        top = number == len(model.config.levels) - 1
        found.append(
            LevelRow(
                name=f"level {number + 1}" if not top else "path" if isinstance(model.dynamics, Flow) else "event",
                grid=f"{rows} × {columns}",
                span=level.span,
                states=level.states,
                edges=level.edges,
                bits=rows * columns * entropy / level.span,
            )
        )
    return found


def write_film_report(
    path: Path,
    model: TemporalRGM,
    result: TimeResult,
    claims: Sequence[Claim],
    test: Frames,
    *,
    data: str,
    preset: str,
    command: str,
) -> Path:
    """Write the page as one file that needs no network, and return its path; raise RGMError where that fails."""
    mine = of_the_model(claims)
    model_error, repeat_error = rollout_errors(model, test[:100])
    dynamics = model.config.dynamics
    page = template("film.html.jinja").render(
        data=data,
        preset=preset,
        frame=" × ".join(map(str, model.config.image)),
        films=f"{test.shape[0]:,} of {test.shape[1]:,} frames",
        verdicts=[(mine[name], reason_of(mine[name]), CLAIMED[name]) for name in TIME_PROPERTIES if name in mine],
        controls=[claim for claim in claims if claim.subject != "model"],
        tables=[(name, evidence_rows(claims, name, {}, {})) for name in TIME_PROPERTIES],
        strips=picture(film_strips(result)),
        names=result.names,
        cue=result.cue,
        animation="data:image/gif;base64," + base64.b64encode(films_gif(result)).decode(),
        rows=level_rows(model),
        tree=picture(levels_figure(_restored(model, test), dynamics)) if isinstance(dynamics, MemoryConfig) else None,
        paths=picture(paths_figure(model.dynamics)) if isinstance(model.dynamics, Flow) else None,
        shared=isinstance(model.dynamics, Flow) and len(model.dynamics.kernels) == 1,
        rollout=picture(rollout_figure(model_error, repeat_error)),
        command=command,
    )
    write_text(path, page)
    return path


def _restored(model: TemporalRGM, test: Frames) -> torch.Tensor:
    return model.infer(test[:1, : model.span]).frames[0].cpu()
