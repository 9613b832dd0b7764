"""The notebooks run from top to bottom on the embedded digits, shortened where they train, and the saved ones are those
of the scripts."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from rgm.evaluation.controls import SIZES

FOLDER = Path(__file__).parents[1] / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def sources(notebook: NotebookNode, kind: str) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


SHORT = """
from rgm.evaluation import controls, judge
judge.EPOCHS = 1
controls._trained = lambda model, *_: model.eval()
"""
"""A judge sees its images once, and the controls that learn do not: other tests train them."""


def shortened(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook that trains the quick preset in the place of the standard one, and measures less of it."""
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SHORT))
    for old, new in (
        ('from_preset("standard"', 'from_preset("quick"'),
        ("labels, seed=1)", 'labels, recipe="quick", epochs=1, seed=1)'),
        ("import measure\n", "import SampleSizes, measure\n"),
        ("measure(model, train, test, judge)", f"measure(model, train, test, judge, sizes={SIZES})"),
    ):
        assert sum(cell.source.count(old) for cell in notebook.cells) == 1
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)
    return notebook


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["01_rgm_fundamentals", "02_your_own_images"])
def test_a_notebook_runs_and_shows_its_figures_and_verdicts(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RGM_NOTEBOOK_DATA", "digits")
    notebook = shortened(jupytext.read(FOLDER / f"{name}.py"))
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    tables = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert any("Abstraction: " in table and "Locality: " in table for table in tables)


@pytest.mark.slow
def test_the_notebook_of_films_runs_as_it_stands(tmp_path: Path) -> None:
    notebook = jupytext.read(FOLDER / "03_time.py")
    NotebookClient(
        notebook, timeout=250, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    said = "".join(output.get("text", "") for output in outputs)
    assert "wrong pixels in 10,240 frames: 0" in said
    assert "wrong pixels in 200 frames: 0" in said


@pytest.mark.parametrize("name", ["01_rgm_fundamentals", "03_time"])
def test_the_korean_notebook_is_the_english_one_in_another_language(name: str) -> None:
    english, korean = (jupytext.read(FOLDER / f"{name}{end}.py") for end in ("", "_ko"))
    assert sources(english, "code") == sources(korean, "code")
    headings = [
        [line.split(" ")[0] for text in sources(one, "markdown") for line in text.splitlines() if line[:1] == "#"]
        for one in (english, korean)
    ]
    assert headings[0] == headings[1]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_saved_notebook_is_the_script_with_outputs(script: Path) -> None:
    saved = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    written = jupytext.read(script)
    assert sources(saved, "code") == sources(written, "code")
    assert sources(saved, "markdown") == sources(written, "markdown")
    assert any(cell.outputs for cell in saved.cells if cell.cell_type == "code")
