"""Figures and verdicts in a notebook."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rgm.claims.claim import Claim
from rgm.report.figures import experiment_drawings, png
from rgm.report.verdicts import evidence_rows, of_the_model, reason_of

if TYPE_CHECKING:
    from IPython.display import HTML, Image
    from matplotlib.figure import Figure


def figures(result: object, *stems: str) -> None:
    """Show the figures of an experiment's result under the cell: all of them, or those with the given file stems.

    Raises TypeError if `result` is not a result of an experiment, KeyError if it has no figure with a given stem.
    """
    from IPython.display import Image, display

    found = experiment_drawings(result)
    for stem in stems or found:
        display(Image(png(found[stem]()), width=760))


def shown(figure: "Figure") -> "Image":
    """Return a figure as a picture."""
    from IPython.display import Image

    return Image(png(figure), width=760)


def verdicts(claims: Sequence[Claim]) -> "HTML":
    """Return the verdicts on the claims about a model, with the controls, as tables."""
    from IPython.display import HTML

    from rgm.report.page import template

    mine = of_the_model(claims)
    return HTML(
        template("claims.html.jinja").render(
            claims=[(claim, reason_of(claim), evidence_rows(claims, name, {}, {})) for name, claim in mine.items()]
        )
    )
