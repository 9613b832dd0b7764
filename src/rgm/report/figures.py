"""The figures of an experiment's result, and a figure as a file."""

import io
from functools import singledispatch

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rgm.evaluation.abstraction import Abstraction
from rgm.evaluation.exactness import Exactness
from rgm.evaluation.instantiation import Instantiation
from rgm.evaluation.levels import Renormalization
from rgm.evaluation.locality import Locality
from rgm.report.change import change_figure, maps_figure, spread_figure
from rgm.report.codes import abstraction_figure, atlas_figure
from rgm.report.exact import evidence_figure, quadrants_figure, selective_figure, surprise_figure
from rgm.report.levels import renormalization_figure
from rgm.report.motion import cell_gif, concepts_gif
from rgm.report.samples import completion_figure, sheet_figure, strip_figure
from rgm.report.scheme import scheme_figure

DPI = 200


@singledispatch
def experiment_figures(result: object) -> dict[str, Figure]:
    """Return the figures of an experiment's result by file stem."""
    raise TypeError(f"there are no figures for a {type(result).__name__}")


@experiment_figures.register
def _abstraction(result: Abstraction) -> dict[str, Figure]:
    return {
        "abstraction": abstraction_figure(result),
        "abstraction-scheme": scheme_figure(result),
        "abstraction-atlas": atlas_figure(result),
    }


@experiment_figures.register
def _instantiation(result: Instantiation) -> dict[str, Figure]:
    return {
        "instantiation": sheet_figure(result),
        "instantiation-strip": strip_figure(result),
        "instantiation-completion": completion_figure(result),
    }


@experiment_figures.register
def _locality(result: Locality) -> dict[str, Figure]:
    return {
        "locality": change_figure(result),
        "locality-map": spread_figure(result),
        "locality-atlas": maps_figure(result),
    }


@experiment_figures.register
def _renormalization(result: Renormalization) -> dict[str, Figure]:
    return {"renormalization": renormalization_figure(result)}


@experiment_figures.register
def _exactness(result: Exactness) -> dict[str, Figure]:
    figures = {
        "exactness": evidence_figure(result),
        "exactness-surprise": surprise_figure(result.surprise),
        "exactness-selective": selective_figure(result),
    }
    if result.completion is not None:
        figures["exactness-completion"] = quadrants_figure(result.completion)
    return figures


@singledispatch
def experiment_motions(result: object) -> dict[str, bytes]:  # noqa: ARG001 - the dispatch argument
    """Return the animations of an experiment's result by file stem, as GIF; most results have none."""
    return {}


@experiment_motions.register
def _concepts(result: Instantiation) -> dict[str, bytes]:
    return {"instantiation-concepts": concepts_gif(result)}


@experiment_motions.register
def _cell(result: Locality) -> dict[str, bytes]:
    return {"locality-cell": cell_gif(result)}


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, cropped to its content; equal figures give equal bytes."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.05, metadata={"Software": None})
    return buffer.getvalue()
