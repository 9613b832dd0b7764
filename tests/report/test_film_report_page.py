"""The page about a model of films."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import rgm
from rgm.claims.time import decide_over_time
from rgm.data.made_films import bouncing_balls
from rgm.evaluation.time import measure_time
from rgm.report.film_page import level_rows, write_film_report
from rgm.report.films import _cut, levels_figure
from rgm.temporal.config import MemoryConfig
from rgm.temporal.fitting import MemoryRecipe
from rgm.temporal.flow_learning import FlowRecipe
from rgm.temporal.model import TemporalRGM

FILM = bouncing_balls(32, ((1, 2),), height=10, width=8, radius=1.5)


@pytest.fixture(scope="module")
def memory() -> TemporalRGM:
    model = TemporalRGM.from_preset("film-memory", image=(1, 10, 8))
    return rgm.fit(model, FILM, recipe=MemoryRecipe(closed=True)).model


def test_a_cut_film_has_its_pixels_and_gaps_between_blocks_and_spans() -> None:
    frames = torch.rand(4, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    canvas = _cut(frames, 2, span=2)[:, :, 0]
    assert canvas.shape == (5 + 2, 4 * (4 + 1) + 3 * 2 + 4)
    assert (canvas[[2, 5]] == 1).all()
    shown = np.delete(canvas, [2, 5], axis=0)
    starts = [0, 7, 18, 25]
    for start, frame in zip(starts, frames, strict=True):
        assert np.array_equal(np.delete(shown[:, start : start + 5], 2, axis=1), frame[0].numpy())


def test_levels_of_sides_that_do_not_divide_are_cut_where_their_cells_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine rows halved are 5, 3, 2 and 1 cells, of 2, 4, 8 and 16 pixels: the last cell is smaller."""
    model = TemporalRGM.from_preset("film-memory", image=(1, 9, 6))
    film = bouncing_balls(16, ((1, 2),), height=9, width=6, radius=1.5)
    memory = rgm.fit(model, film, recipe=MemoryRecipe(closed=True)).model.config.dynamics
    assert isinstance(memory, MemoryConfig)
    assert [level.grid for level in memory.levels] == [(5, 3), (3, 2), (2, 1), (1, 1)]
    cut = []

    def noted(frames: torch.Tensor, block: int, span: int) -> np.ndarray:
        cut.append((block, span))
        return _cut(frames, block, span)

    monkeypatch.setattr("rgm.report.films._cut", noted)
    levels_figure(film[:4] / 255, memory)
    assert cut == [(16, 4), (8, 4), (4, 2), (2, 1), (1, 1)]
    for (block, _), level in zip(cut[-2::-1], memory.levels, strict=True):
        canvas = _cut(film[:1, None] / 255, block, 1)
        assert canvas.shape[:2] == (9 + level.grid[0] - 1, 6 + level.grid[1] - 1)


def test_bits_are_the_entropy_of_a_cells_states(memory: TemporalRGM) -> None:
    lowest, *_, event = level_rows(memory)
    assert (event.name, event.span, event.grid) == ("event", 4, "1 × 1")
    # 36 windows of a closed film of 32 frames, four of them seen twice, in 39 frames.
    assert event.bits == pytest.approx((28 * math.log2(36) + 8 * math.log2(18)) / 36 / 4)
    seen = torch.cat([FILM, FILM[:7]])
    blocks = [seen[:, r : r + 2, c : c + 2].flatten(1) for r in range(0, 10, 2) for c in range(0, 8, 2)]
    entropy = 0.0
    for block in blocks:
        _, counts = block.unique(dim=0, return_counts=True)
        shares = counts.double() / counts.sum()
        entropy -= float((shares * shares.log2()).sum())
    assert lowest.bits == pytest.approx(entropy)


def test_the_page_is_one_file_with_verdicts_and_figures(memory: TemporalRGM, tmp_path: Path) -> None:
    result = measure_time(memory, FILM[None], FILM[None])
    claims = decide_over_time(result)
    about = {"data": "<balls>", "preset": "film-memory", "command": "rgm experiment time runs/balls"}
    page = write_film_report(tmp_path / "report.html", memory, result, claims, FILM[None], **about).read_text()
    assert "&lt;balls&gt;" in page
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", page)
    assert page.count('class="verdict') >= 4
    assert page.count("data:image/png") == 3  # strips, levels, errors by step
    assert page.count("data:image/gif") == 1


def test_the_paths_of_a_flow_are_drawn(tmp_path: Path) -> None:
    recipe = FlowRecipe(starts=1, trial=2, passes=2, own_paths=0)
    flow = rgm.fit(TemporalRGM.from_preset("film-flow", image=(1, 10, 8)), FILM, recipe=recipe).model
    films = FILM.unflatten(0, (2, 16))
    result = measure_time(flow, films, films)
    about = {"data": "balls", "preset": "film-flow", "command": "rgm experiment time runs/balls"}
    page = write_film_report(tmp_path / "report.html", flow, result, decide_over_time(result), films, **about)
    assert "from where a pixel (the cross) is copied" in page.read_text()
