"""What is claimed of models over time, measured: abstraction, instantiation, locality, generalisation."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from rgm.data.frames import Frames
from rgm.evaluation.films import nearest_nats, repeat_nats, soft_memory_nats
from rgm.evaluation.statistics import Findings, PerImage
from rgm.temporal.config import FlowConfig, MemoryConfig
from rgm.temporal.fitting import MemoryRecipe, learn
from rgm.temporal.flow import Flow
from rgm.temporal.flow_learning import FlowRecipe
from rgm.temporal.memory import Memory
from rgm.temporal.model import TemporalRGM

TimeProperty = Literal["abstraction", "instantiation", "locality", "generalisation"]
TIME_PROPERTIES: tuple[TimeProperty, ...] = get_args(TimeProperty)
STEPS = 4
"""Steps for which a path is followed from another film's frame."""
CHANGES = 100
"""Changed pixels, or changed states of each level, whose consequences are measured."""
FEW = 60
"""Films that a control is learned from."""


@dataclass(frozen=True, kw_only=True)
class TimeResult:
    """The findings of each claim, and films for a figure, in [0, 1]: (rows, time, height, width)."""

    findings: dict[TimeProperty, Findings]
    names: tuple[str, ...]
    strips: Float[Tensor, "rows time height width *colour"]
    cue: int


@torch.no_grad()
def measure_time(model: TemporalRGM, train: Frames, test: Frames, *, seed: int = 0) -> TimeResult:
    """Return what is measured of a model on test films; the baselines know the training films."""
    findings = {name: findings_of(name, model, train, test, seed=seed) for name in TIME_PROPERTIES}
    time = test.shape[1]
    cue = max(1, min(4, time // 2))
    film = test[:1]
    generator = torch.Generator().manual_seed(seed)
    visible = torch.rand(film.shape[:4], generator=generator) > 1 / 3
    visible[:, :cue] = True
    shown = film.float() / 255
    hidden = torch.where(visible if film.ndim == 4 else visible[..., None], shown, 0.5)
    ahead = model.predict(film[:, :cue], time - cue)
    drawn = model.predict(film[:, :cue], time - cue, generator=generator)
    filled = model.complete(film, visible)
    rows = [shown, ahead.frames, drawn.frames, hidden, filled.frames]
    names = ("film", "expected from the cue", "a path drawn", "a third hidden", "filled in")
    return TimeResult(findings=findings, names=names, strips=torch.cat([row.cpu() for row in rows]), cue=cue)


def findings_of(name: TimeProperty, model: TemporalRGM, train: Frames, test: Frames, *, seed: int = 0) -> Findings:
    """Return what is measured for a claim; nothing where the model's dynamics have none of it."""
    match name:
        case "abstraction":
            return _abstraction(model, train, test)
        case "instantiation":
            return _instantiation(model, test)
        case "locality":
            return _locality(model, test, seed)
        case "generalisation":
            return _generalisation(model, train, test)


def _generalisation(model: TemporalRGM, train: Frames, test: Frames) -> Findings:
    """Return the next frame's nats over those of each baseline; nothing where the films are those of training."""
    if torch.equal(train, test):
        return {}
    tones, known, asked = model.config.tones, model.tones(train), model.tones(test)
    nats = model.next_frames(test).marginal_nats.mean(dim=1)
    baselines = {"repeat": repeat_nats, "nearest": nearest_nats, "soft_memory": soft_memory_nats}
    return {
        f"next_frame_over_{name}": PerImage(parts=nats, wholes=baseline(known, asked, tones), unit="ratio")
        for name, baseline in baselines.items()
    }


def _abstraction(model: TemporalRGM, train: Frames, test: Frames) -> Findings:
    """Return bits of frames, coded as repetitions, over bits of the path, and the share of the change that it keeps."""
    known, asked = model.tones(train), model.tones(test)
    bits, told = model.dynamics.retold(asked)
    pixels = asked[0, 1:].numel()
    frames = repeat_nats(known, asked, model.config.tones) * pixels / torch.log(torch.tensor(2.0))
    true = asked.to(told.dtype)
    error, change = ((one - true[:, 1:]).square().flatten(1).mean(dim=1) for one in (told[:, 1:], true[:, :-1]))
    return {
        "time_compression": PerImage(parts=frames, wholes=bits, unit="ratio"),
        "motion_kept": PerImage(parts=change - error, wholes=change, unit="share"),
    }


def _instantiation(model: TemporalRGM, test: Frames) -> Findings:
    """Return how often the path that made a film, from another film's frame, is read from it again."""
    flow = model.dynamics
    if not isinstance(flow, Flow) or len(test) < 2:  # a path is followed from another film's frame
        return {}
    tones = model.tones(test)[:, : STEPS + 1]
    path = model.infer(test[:, : STEPS + 1]).path
    first = tones.roll(1, 0)[:, :1]
    made = flow.follow_path(first, path).round().to(torch.uint8)
    visible = torch.ones_like(made, dtype=torch.bool)
    again = flow.infer(made, visible)[1]
    steps = flow.displacement().round()
    alike = (steps[path] == steps[again]).all(dim=2) if len(flow.kernels) == 1 else path == again
    apart = (made.float() - tones.float()).square().flatten(1).mean(dim=1)
    other = (tones.roll(1, 0).float() - tones.float()).square().flatten(1).mean(dim=1)
    return {
        "path_recognised": PerImage.mean(alike[:, 1:].double().mean(dim=1), "share"),
        "instances_apart": PerImage(parts=apart, wholes=other, unit="ratio"),
    }


def _locality(model: TemporalRGM, test: Frames, seed: int) -> Findings:
    """Return the share of a change that stays in the field of what was changed, in space and in time."""
    generator = torch.Generator().manual_seed(seed)
    match model.dynamics:
        case Flow() as flow:
            return {"field_share": PerImage.mean(_flow_fields(flow, model.tones(test), generator), "share")}
        case Memory() as memory:
            return {"field_share": PerImage.mean(_memory_fields(memory, generator), "share")}
        case _:
            return {}


def _flow_fields(flow: Flow, tones: Tensor, generator: torch.Generator) -> Float[Tensor, " changes"]:
    """Return the share of the next frame's change within `reach` of a changed pixel."""
    _, height, width = flow.image
    shares = []
    for _ in range(CHANGES):
        film, frame, row, column, path = (
            int(torch.randint(size, (), generator=generator))
            for size in (len(tones), tones.shape[1] - 1, height, width, flow.config.paths)
        )
        before = tones[film, frame][None].to(flow.start)
        other = before.clone()
        other[..., row, column] = flow.tones - 1 - other[..., row, column]
        weights = torch.nn.functional.one_hot(torch.tensor([path]), flow.config.paths).to(flow.start)
        change = (flow.next_expected(before, weights) - flow.next_expected(other, weights)).square()
        change[change < 1e-12] = 0  # rounding
        reach = flow.config.reach
        rows, columns = (slice(max(0, at - reach), at + reach + 1) for at in (row, column))
        whole = change.sum()
        if whole > 0:
            shares.append(change[..., rows, columns].sum() / whole)
    return torch.stack(shares)


def _memory_fields(memory: Memory, generator: torch.Generator) -> Float[Tensor, " changes"]:
    """Return the share of changed pixels in the block and the frames of a state that was exchanged, level by level."""
    owners, cells = memory.owners(), memory.cells
    spans = [level.span for level in memory.config.levels]
    shares = []
    for level in range(len(cells) - 1):
        fields = _fields(cells[: level + 1])
        for _ in range(CHANGES):
            event = torch.randint(memory.events, (1, 1, 1), generator=generator)
            symbols = memory.descend(event, len(cells) - 1, level + 1)
            step, cell = (int(torch.randint(size, (), generator=generator)) for size in symbols.shape[1:])
            others = (owners[level] == cell).nonzero().flatten()
            other = symbols.clone()
            other[0, step, cell] = others[torch.randint(len(others), (), generator=generator)]
            before, after = (memory.descend(one, level) for one in (symbols, other))
            changed = (before != after)[0]
            if changed.any():
                inside = torch.zeros_like(changed)
                inside[step * spans[level] : (step + 1) * spans[level], fields[cell]] = True
                shares.append((changed & inside).sum() / changed.sum())
    return torch.stack(shares)


def _fields(cells: list[Tensor]) -> list[Tensor]:
    """Return the pixels of each cell of the last of these levels."""
    found = [one[one >= 0] for one in cells[0]]
    for level in cells[1:]:
        found = [torch.cat([found[member] for member in one[one >= 0]]) for one in level]
    return found


@torch.no_grad()
def time_controls(
    model: TemporalRGM, train: Frames, test: Frames, *, seed: int = 0
) -> dict[str, tuple[TemporalRGM, Frames, Frames]]:
    """Return controls that must not generalise, each with its training and its test films.

    `memoriser`: all training films remembered; `shuffled`: frames in random order, in training and in test;
    `without paths`: a flow of one path alone. The last two are learned from few films.
    """
    image, tones = model.config.image, model.config.tones
    memoriser = TemporalRGM.from_preset("film-memory", image=image, tones=tones)
    learn(memoriser, train, MemoryRecipe(), seed=seed)
    assert isinstance(memoriser.config.dynamics, MemoryConfig)
    generator = torch.Generator().manual_seed(seed)
    shuffled = [
        torch.stack([film[torch.randperm(len(film), generator=generator)] for film in films]) for films in (train, test)
    ]
    quick = FlowRecipe(starts=1, trial=12, passes=14, own_paths=0)
    config = model.config.dynamics if isinstance(model.config.dynamics, FlowConfig) else FlowConfig()
    found = {"memoriser": (memoriser, train, test)}
    for name, paths, films in (("shuffled", config.paths, shuffled), ("without paths", 1, [train, test])):
        dynamics = FlowConfig(paths=paths, reach=2, sight=config.sight)
        control = TemporalRGM(replace(model.config, dynamics=dynamics))
        learn(control, films[0][:FEW], quick, seed=seed)
        found[name] = (control, films[0], films[1])
    return found
