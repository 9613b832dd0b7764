"""The page that compares several models."""

from pathlib import Path

from rgm.claims.comparison import Comparison
from rgm.report.page import template
from rgm.storage.files import write_text


def write_comparison(path: Path, result: Comparison, *, command: str) -> Path:
    """Write the page as one file that needs no network, and return its path; raise RGMError where it cannot."""
    write_text(path, template("comparison.html.jinja").render(comparison=result, command=command))
    return path
