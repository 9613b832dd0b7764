"""Results inside a notebook."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rgm.claims.claim import Claim
from rgm.report.figures import experiment_figures, png
from rgm.report.verdicts import evidence_rows, of_the_model, reason_of

if TYPE_CHECKING:
    from IPython.display import HTML


def figures(result: object, *stems: str) -> None:
    """Show the figures of an experiment's result under the cell: all of them, or those of some file stems.

    Raises TypeError for what is no result, KeyError for a stem that it has no figure of.
    """
    from IPython.display import Image, display

    found = experiment_figures(result)
    for stem in stems or found:
        display(Image(png(found[stem]), width=760))


def verdicts(claims: Sequence[Claim]) -> "HTML":
    """Return the claims about a model, and the controls beside them, as a table."""
    from IPython.display import HTML

    from rgm.report.page import template

    mine = of_the_model(claims)
    return HTML(
        template("claims.html.jinja").render(
            claims=[
                (claim, reason_of(claim), evidence_rows(claims, name, {}, {})) for name, claim in mine.items()
            ]
        )
    )
