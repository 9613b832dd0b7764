"""The figures of an experiment's result, and a figure as a file."""

import io
from collections.abc import Callable
from functools import partial

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rgm.evaluation.abstraction import Abstraction
from rgm.evaluation.exactness import Exactness
from rgm.evaluation.instantiation import Instantiation
from rgm.evaluation.levels import Levels
from rgm.evaluation.locality import Locality
from rgm.report.change import change_figure, maps_figure, spread_figure
from rgm.report.codes import abstraction_figure, atlas_figure
from rgm.report.exact import evidence_figure, quadrants_figure, selective_figure, surprise_figure
from rgm.report.levels import levels_figure
from rgm.report.motion import cell_gif, concepts_gif
from rgm.report.samples import completion_figure, sheet_figure, strip_figure
from rgm.report.scheme import scheme_figure

DPI = 200


def experiment_figures(result: object) -> dict[str, Figure]:
    """Return the figures of an experiment's result by file stem."""
    return {stem: draw() for stem, draw in experiment_drawings(result).items()}


def experiment_drawings(result: object) -> dict[str, Callable[[], Figure]]:
    """Return what draws the figures of an experiment's result, by file stem; raise TypeError for anything else."""
    match result:
        case Abstraction():
            return {
                "abstraction": partial(abstraction_figure, result),
                "abstraction-scheme": partial(scheme_figure, result),
                "abstraction-atlas": partial(atlas_figure, result),
            }
        case Instantiation():
            return {
                "instantiation": partial(sheet_figure, result),
                "instantiation-strip": partial(strip_figure, result),
                "instantiation-completion": partial(completion_figure, result),
            }
        case Locality():
            return {
                "locality": partial(change_figure, result),
                "locality-map": partial(spread_figure, result),
                "locality-atlas": partial(maps_figure, result),
            }
        case Levels():
            return {"renormalization": partial(levels_figure, result)}
        case Exactness():
            figures: dict[str, Callable[[], Figure]] = {
                "exactness": partial(evidence_figure, result),
                "exactness-surprise": partial(surprise_figure, result.surprise),
                "exactness-selective": partial(selective_figure, result),
            }
            if result.completion is not None:
                figures["exactness-completion"] = partial(quadrants_figure, result.completion)
            return figures
    raise TypeError(f"there are no figures for a {type(result).__name__}")


def experiment_motions(result: object) -> dict[str, bytes]:
    """Return the animations of an experiment's result by file stem, as GIF; most results have none."""
    match result:
        case Instantiation():
            return {"instantiation-concepts": concepts_gif(result)}
        case Locality():
            return {"locality-cell": cell_gif(result)}
    return {}


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, cropped to its content; equal figures give equal bytes."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None})
    return buffer.getvalue()
