"""Play as pictures and a page: the learning curve, the map of events, the film of an agent."""

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy import ndarray
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

from rgm.data.animations import gif
from rgm.planning.film import EventMap, Film
from rgm.planning.learning import Round
from rgm.planning.run import PlayResult
from rgm.report.canvas import LABEL, SMALL, TITLE, bare, new_figure, plain, write
from rgm.report.page import picture, template
from rgm.report.palette import ACCENT, INK, QUIET, RULE, SECOND
from rgm.storage.files import write_bytes, write_text

SHOWN = 10
"""Steps of the strip."""
MOTION = 200
"""Steps of the animation."""
GAP = 2
SIDE = 144
"""Pixels of a frame's longer side in the animation, about."""
EMPTY, HIDDEN = (246, 246, 243), (203, 208, 212)
COLOURS = tuple(
    tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5)) for colour in (ACCENT, SECOND, QUIET, INK)
)
"""Colours of the symbols after the background, again from the first one where there are more."""

Pixels = NDArray[np.uint8]


def painted(frames: Int[ndarray, "*some"], background: int) -> Pixels:
    """Return frames of symbols as colours, (…, 3)."""
    symbols = np.unique(frames)
    found = np.empty((*frames.shape, 3), dtype=np.uint8)
    found[...] = EMPTY
    for symbol in symbols[(symbols >= 0) & (symbols != background)].tolist():
        place = symbol - 1 if symbol > background else symbol
        found[frames == symbol] = COLOURS[place % len(COLOURS)]
    found[frames < 0] = HIDDEN
    return found


def film_gif(film: Film, background: int) -> bytes:
    """Return what came, beside what the agent expected a step before, as an animation."""
    seen, expected = (painted(frames[:MOTION], background) for frames in (film.seen, film.expected))
    gap = np.full((*seen.shape[:2], GAP, 3), 255, dtype=np.uint8)
    side = np.concatenate([seen, gap, expected], axis=2)
    return gif(torch.from_numpy(side), enlarge=max(1, SIDE // max(seen.shape[1:3])))


def strip_figure(film: Film, background: int) -> Figure:
    """Return successive frames around a hit, with what was expected a step before each."""
    hits = np.flatnonzero(film.reward > 0)
    middle = int(hits[len(hits) // 2]) if len(hits) else 0
    start = max(0, min(middle - SHOWN // 2, len(film.seen) - SHOWN))
    steps = range(start, min(start + SHOWN, len(film.seen)))
    rows, columns = film.seen.shape[1:]
    figure = new_figure(max(1.3, 2 * 0.62 * rows / columns + 0.5))
    axes = figure.subplots(2, len(steps), squeeze=False)
    for row, (name, frames) in enumerate((("comes", film.seen), ("expected", film.expected))):
        for place, step in zip(axes[row], steps, strict=True):
            place.imshow(painted(frames[step], background))
            sign = "hit" if film.reward[step] > 0 else "miss" if film.reward[step] < 0 else f"{step - start + 1}"
            bare(place, sign if row == 0 else "")
            place.spines[:].set(visible=True, color=RULE, linewidth=0.6)
        axes[row, 0].set_ylabel(name, fontsize=TITLE, color=INK)
    return figure


def learning_figure(rounds: Sequence[Round], chance: float) -> Figure:
    """Return hits, misses and reward by frames seen, and the numbers of states and edges."""
    frames = [one.frames for one in rounds]
    figure = new_figure(2.4)
    score, reward, size = figure.subplots(1, 3)
    measures = [one.measures() for one in rounds]
    for name, colour in (("hits_per_1000", ACCENT), ("misses_per_1000", SECOND)):
        score.plot(frames, [one[name] for one in measures], color=colour, linewidth=1.6, label=name.split("_")[0])
    score.set_title("hits and misses in 1,000 steps", fontsize=TITLE, color=INK)
    score.legend(fontsize=SMALL, frameon=False, labelcolor=INK)
    reward.plot(frames, [one["reward_per_episode"] for one in measures], color=ACCENT, linewidth=1.6, label="agent")
    reward.axhline(chance, color=QUIET, linewidth=1.0, linestyle="--", label="random")
    reward.set_title("reward in an episode", fontsize=TITLE, color=INK)
    reward.legend(fontsize=SMALL, frameon=False, labelcolor=INK)
    for name, colour in (("states", ACCENT), ("edges", SECOND)):
        size.plot(frames, [one[name] for one in measures], color=colour, linewidth=1.6, label=name)
    size.set_title("states and edges of the model", fontsize=TITLE, color=INK)
    size.legend(fontsize=SMALL, frameon=False, labelcolor=INK)
    for axes in (score, reward, size):
        axes.set_xlabel("frames seen", fontsize=LABEL, color=QUIET)
        axes.grid(axis="y", color=QUIET, alpha=0.2, linewidth=0.6)
        axes.locator_params(axis="x", nbins=4)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:,.4g}")
        plain(axes, "top", "right")
    return figure


def map_figure(events: EventMap) -> Figure:
    """Return the events by the steps that a goal is ahead, each joined to the one that follows it by the plan."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    y = _heights(events)
    joined = np.flatnonzero((events.steps > 0) & (events.next >= 0))
    joined = joined[events.steps[events.next[joined]] == events.steps[joined] - 1]
    ends = events.next[joined]
    lines = np.stack(
        [np.stack([-events.steps[joined], y[joined]], axis=1), np.stack([-events.steps[ends], y[ends]], axis=1)], axis=1
    )
    width = 0.4 + 1.8 * np.sqrt(events.visits[joined] / max(1, int(events.visits.max(initial=1))))
    axes.add_collection(LineCollection(list(lines), colors=QUIET, linewidths=width.tolist(), alpha=0.5))
    sizes = 6 + 60 * events.visits / max(1, int(events.visits.max(initial=1)))
    for name, here, colour in (
        ("leads to a goal", events.steps > 0, QUIET),
        ("goal", events.steps == 0, ACCENT),
        ("no goal ahead", events.steps < 0, SECOND),
    ):
        if here.any():
            x = np.where(events.steps[here] < 0, -(int(events.steps.max()) + 2), -events.steps[here])
            axes.scatter(x, y[here], s=sizes[here], color=colour, label=f"{name} ({int(here.sum()):,})", linewidths=0)
    if not len(events.steps):
        write(axes, 0.5, 0.5, "no event was visited that had been learned", LABEL)
    axes.set_xlabel("steps to the next goal", fontsize=LABEL, color=QUIET)
    axes.xaxis.set_major_formatter(lambda x, _: f"{abs(x):.0f}" if x <= 0 else "")
    axes.set_yticks([])
    axes.margins(y=0.06)
    if len(events.steps):
        axes.legend(fontsize=SMALL, frameon=False, labelcolor=INK, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0))
    plain(axes, "top", "right", "left")
    return figure


def _heights(events: EventMap) -> NDArray[np.float64]:
    """Return a height for each event in [0, 1], near that of the event which follows it."""
    y = np.zeros(len(events.steps))
    for steps in sorted(set(events.steps.tolist())):
        here = np.flatnonzero(events.steps == steps)
        after = events.next[here]
        key = np.where(after >= 0, y[after], 0.5) if steps > 0 else np.arange(len(here))
        order = here[np.argsort(key, kind="stable")]
        y[order] = (np.arange(len(order)) + 0.5) / len(order)
    return y


def write_play(out: Path, result: PlayResult, *, command: str) -> Path:
    """Write `play.gif` and `report.html` into a run's folder, and return the page."""
    graph = result.agent.planned
    background = graph.view.background
    motion = film_gif(result.film, background)
    write_bytes(out / "play.gif", motion)
    record = result.record()
    surprises = int((_surprises(result, background) > 0).sum())
    page = template("play.html.jinja").render(
        config=result.config,
        record=record,
        command=command,
        view=graph.view,
        curve=picture(learning_figure(result.rounds, result.random.measures()["reward_per_episode"])),
        strip=picture(strip_figure(result.film, background)),
        map=picture(map_figure(result.events)),
        motion="data:image/gif;base64," + base64.b64encode(motion).decode(),
        steps=len(result.film.seen),
        motion_steps=min(MOTION, len(result.film.seen)),
        surprises=surprises,
        rounds=len(result.rounds),
    )
    write_text(out / "report.html", page)
    return out / "report.html"


def _surprises(result: PlayResult, background: int) -> NDArray[np.int64]:
    """Return how many visible cells of each frame of the film were not as expected, by the view's symbols."""
    view, film = result.agent.planned.view, result.film
    shown = np.where(np.isin(film.seen, view.present) | (film.seen < 0), film.seen, background)
    expected = np.where(np.isin(film.expected, view.present), film.expected, background)
    wrong: NDArray[np.int64] = ((shown != expected) & (shown >= 0)).sum(axis=(1, 2))
    return wrong


def screen(film: Film, step: int, background: int) -> Text:
    """Return a step of a film for a terminal: what comes, beside what was expected, two columns a cell."""
    seen, expected = painted(film.seen[step], background), painted(film.expected[step], background)
    found = Text()
    for left, right in zip(seen.tolist(), expected.tolist(), strict=True):
        for row in (left, right):
            for red, green, blue in row:
                found.append("  ", Style(bgcolor=f"rgb({red},{green},{blue})"))
            found.append("  ")
        found.append("\n")
    reward = float(film.reward[: step + 1].sum())
    found.append(f"step {step + 1:,}, reward {reward:g}: what comes, and what was expected")
    return found
