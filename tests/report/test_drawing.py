import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_results import Results, pictures
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from rgm.evaluation.abstraction import Abstraction
from rgm.evaluation.information import MutualInformation
from rgm.evaluation.levels import LevelMeasures, Levels
from rgm.evaluation.statistics import PerImage
from rgm.report.canvas import drawable
from rgm.report.change import change_figure, spread_figure
from rgm.report.codes import abstraction_figure, atlas_figure
from rgm.report.curve import curve_figure
from rgm.report.figures import experiment_figures, png
from rgm.report.mosaic import mosaic
from rgm.report.palette import SECOND, code_colours
from rgm.report.samples import sheet_figure, strip_figure
from rgm.runtime.progress import EpochRecord

STEMS = {
    "abstraction",
    "abstraction-atlas",
    "abstraction-scheme",
    "instantiation",
    "instantiation-strip",
    "instantiation-completion",
    "locality",
    "locality-map",
    "locality-atlas",
}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def history(stage: str, losses: list[float], errors: list[float]) -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(
            stage=stage, epoch=n, step=n, loss=loss, terms={}, validation={"squared_error": error} if error else {}
        )
        for n, (loss, error) in enumerate(zip(losses, errors, strict=True), start=1)
    )


def test_every_figure_of_every_result_is_a_picture(results: Results) -> None:
    figures = pictures(results)
    assert figures.keys() == STEMS
    for stem, content in figures.items():
        assert len(content) < 700_000, stem
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("L"))
        assert image.format == "PNG"
        assert 300 < image.width < 1700, stem
        assert image.height < 5000, stem
        assert pixels.std() > 5, stem


@pytest.mark.parametrize("loss", [0.3, 3.0])
@pytest.mark.parametrize("grids", [((7, 7),), ((14, 14), (7, 7))])
def test_the_figure_of_the_levels_shows_each_level_and_cell(grids: tuple[tuple[int, int], ...], loss: float) -> None:
    names = ["pixels", *(f"z{number}" for number in range(1, len(grids) + 1)), "concept"]
    kept = [1.0, 0.97, 0.96, 0.95]
    levels = [
        LevelMeasures(
            name=name,
            bits=PerImage.mean(torch.full((20,), 1000.0 / 9**number), "bits"),
            class_share=PerImage(parts=torch.full((20,), share), wholes=torch.ones(20), unit="share"),
            pixels_explained=PerImage.mean(torch.full((20,), 1.0 - loss * number), "share"),
        )
        for number, (name, share) in enumerate(zip(names, kept, strict=False))
    ]
    cells = []
    for height, width in grids:
        bits = torch.rand(height, width, dtype=torch.float64)
        cells.append(MutualInformation(bits=bits, low=bits, high=bits))
    result = Levels(levels=tuple(levels), cells=tuple(cells), code_bits=torch.ones(20), z1_bits=torch.ones(20))
    (figure,) = experiment_figures(result).values()
    assert len(figure.axes) == 1 + len(grids)
    shown = texts(figure)
    assert {"97.0 %", f"{100 - 100 * loss:.1f} %"} <= set(shown)
    assert f"{float(cells[-1].bits[3, 3]):.2f}".removeprefix("0") in shown
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][:2] == [
        "pixels\n1,000 bits",
        "z₁\n111 bits",
    ]
    with Image.open(io.BytesIO(png(figure))) as image:
        assert 1200 < image.width < 1700


def test_equal_results_give_equal_bytes(grey: Results) -> None:
    assert png(spread_figure(grey.locality)) == png(spread_figure(grey.locality))


def test_an_object_that_is_not_a_result_has_no_figure() -> None:
    with pytest.raises(TypeError, match="there are no figures for a int"):
        experiment_figures(3)


def test_the_map_shows_each_cells_code_in_its_colour(grey: Results) -> None:
    axes = abstraction_figure(grey.abstraction, rows=1).axes[1]
    codes = grey.abstraction.inference.z1[0]
    assert [int(text.get_text()) for text in axes.texts] == codes.flatten().tolist()
    drawn = np.asarray(axes.images[0].get_array())
    np.testing.assert_array_equal(drawn, code_colours(grey.abstraction.atlas)[codes.numpy()])


def test_the_bars_are_the_concepts_probabilities_and_the_true_class_is_marked(grey: Results) -> None:
    axes = abstraction_figure(grey.abstraction, rows=1).axes[2]
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_allclose(heights, grey.abstraction.inference.concept[0].numpy())
    assert grey.abstraction.labels is not None
    truth = int(grey.abstraction.labels[0])
    marked = [label.get_text() for label in axes.get_xticklabels() if label.get_fontweight() == "bold"]
    assert marked == [grey.abstraction.split.data.classes[truth]]
    orange = [index for index, bar in enumerate(axes.patches) if to_hex(bar.get_facecolor()) == SECOND]
    assert orange == [truth]


def test_middle_levels_have_their_own_maps(three_levels: Abstraction) -> None:
    figure = abstraction_figure(three_levels, rows=2)
    titles = [axes.get_title() for axes in figure.axes[:5]]
    assert titles == ["image", "codes z₁", "codes z₂", "concept z₃", "decoded from z₁"]
    png(figure)


def test_the_atlas_shows_the_share_of_every_code(grey: Results) -> None:
    atlas = grey.abstraction.atlas
    shown = texts(atlas_figure(grey.abstraction))
    assert {str(code) for code in range(32)} <= set(shown)
    assert shown.count("unused") == int((atlas.counts == 0).sum())
    most = int(atlas.counts.argmax())
    assert f"{100 * int(atlas.counts[most]) / int(atlas.counts.sum()):.1f} %" in shown


def test_the_sheet_names_its_rows_and_shows_the_recognised_shares(grey: Results) -> None:
    figure = sheet_figure(grey.instantiation)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == list(grey.instantiation.classes)
    assert grey.instantiation.recognised is not None
    shares = [f"{100 * share:.0f} %" for share in grey.instantiation.recognised.tolist()]
    assert texts(figure) == [*shares, "recognised"]


def test_the_strip_shows_the_fourth_concept(grey: Results) -> None:
    drawn = np.asarray(strip_figure(grey.instantiation).axes[0].images[0].get_array())
    np.testing.assert_array_equal(drawn, grey.instantiation.sheet[3, 0, 0].clamp(0, 1).numpy())


def test_outlines_lie_on_the_patch_and_the_field(grey: Results) -> None:
    example = grey.locality.example
    patch, field = (box for box in change_figure(grey.locality).axes[2].patches)
    for drawn, box in ((patch, example.patch), (field, example.field)):
        assert drawn.get_xy() == (box.left - 0.5, box.top - 0.5)
        assert drawn.get_width() == box.right - box.left
        assert drawn.get_height() == box.bottom - box.top


def test_bars_of_locality_are_its_measures(grey: Results) -> None:
    figure = spread_figure(grey.locality)
    measures = grey.locality.measures()
    names = ("own_patch_share", "patch_plus_2_share", "receptive_field_share", "local_extent", "global_extent")
    widths = [bar.get_width() for axes in figure.axes for bar in axes.containers for bar in bar]
    np.testing.assert_allclose(widths[1::2], [measures[name] for name in names])


def test_the_map_around_a_cell_is_the_aligned_map_zoomed(grey: Results) -> None:
    axes = spread_figure(grey.locality).axes[0]
    seen = np.asarray(axes.images[0].get_array())
    left, _, bottom, top = axes.images[0].get_extent()
    row, column = grey.locality.origin
    assert bottom > top
    first = (row + round(top + 0.5), column + round(left + 0.5))
    expected = grey.locality.aligned[first[0] : first[0] + seen.shape[0], first[1] : first[1] + seen.shape[1]]
    np.testing.assert_array_equal(seen, expected.numpy())


def test_a_cell_that_changes_nothing_still_draws(grey: Results) -> None:
    example = replace(grey.locality.example, local=grey.locality.example.original)
    still = replace(grey.locality, example=example, aligned=torch.zeros_like(grey.locality.aligned))
    for figure in experiment_figures(still).values():
        png(figure)


def test_names_that_do_not_fit_a_figure_are_cut_or_numbered() -> None:
    names = drawable(("cat", "a name that is far too long", "고양이", "two\nlines"), 4, 10)
    assert names == ["cat", "a name th…", "no. 2", "no. 3"]
    assert drawable(("class number 1", "class number 2"), 2, 8) == ["0 class…", "1 class…"]
    assert drawable((), 3, 10) == ["0", "1", "2"]


def test_a_mosaic_has_white_between_its_tiles() -> None:
    canvas = mosaic(torch.zeros(2, 3, 1, 4, 5), gap=1)
    assert canvas.shape == (9, 17, 1)
    assert (canvas[4] == 1).all()
    assert (canvas[:, [5, 11]] == 1).all()
    assert canvas.sum() == 17 + 2 * 9 - 2


@pytest.mark.parametrize(
    ("records", "panels"),
    [
        (history("codes", [2.0, 1.0], [0.1, 0.01]), 2),
        (history("codes", [1.0], [0.1]), 2),
        (history("codes", [-1.0, -2.0], [0, 0]), 1),
        (history("codes", [500.0, 1.0], [0.2, 0.001]) + history("prior", [90.0, 80.0], [0.001, 0.001]), 3),
    ],
)
def test_each_stage_of_a_training_has_its_own_curve(records: tuple[EpochRecord, ...], panels: int) -> None:
    figure = curve_figure(records)
    assert len(figure.axes) == panels
    drawn = [value for axes in figure.axes for value in axes.lines[0].get_ydata()]
    losses = [record.loss for record in records]
    assert drawn[: len(losses)] == losses
    png(figure)


def test_a_single_epoch_is_marked_by_its_number() -> None:
    (axes,) = curve_figure(history("prior", [2.0], [0])).axes
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
