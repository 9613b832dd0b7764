"""The claims put to a model and to the controls, on one page: `docs/evidence.md`, its figures and `evidence.json`.

    python benchmarks/evidence.py mnist

The same as `rgm evaluate MODEL --claims --controls --out DIR`, and timed: the model's own evidence, and all of it.
"""

import os
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import App, Parameter

from rgm import pipeline
from rgm.claims.claim import Claim, Finding, Measure
from rgm.claims.record import record
from rgm.cli.terminal import progress
from rgm.data.load import load_data
from rgm.evaluation.controls import TEST_IMAGES
from rgm.evaluation.quantities import interval_of, name_of, value_of
from rgm.loading import load_checkpoint
from rgm.storage.checkpoint import PACKAGED, packaged
from rgm.storage.files import write_json, write_text

app = App(help=__doc__)


def row(finding: Finding) -> str:
    """Return a line of a claim's table."""
    found = finding.found
    cells = [
        name_of(finding.name),
        value_of(finding.name, found.estimate),
        interval_of(finding.name, found.low, found.high) or "–",
        f"{finding.threshold}" if isinstance(finding, Measure) else "",
        finding.verdict if isinstance(finding, Measure) else "",
    ]
    return "| " + " | ".join(cells) + " |"


def table(claim: Claim) -> list[str]:
    """Return a claim with its measures."""
    head = ["| measure | estimate | 95 % interval | threshold | verdict |", "| --- | --- | --- | --- | --- |"]
    findings = [*claim.measures, *claim.context] if claim.subject == "model" else claim.measures
    name = claim.claim.capitalize() if claim.subject == "model" else f"{claim.claim}, {claim.subject}"
    title = f"### {name}: {claim.verdict}"
    return [title, "", claim.reason.replace("_", " ").capitalize() + ".", "", *head, *map(row, findings), ""]


@app.default
def main(
    model: str,
    *,
    data_dir: Annotated[Path | None, Parameter(help="Folder that holds mnist/; else $RGM_DATA_DIR.")] = None,
    seed: int = 0,
    out: Annotated[Path, Parameter(help="The page; figures and evidence.json lie in a folder beside it.")] = Path(
        "docs/evidence.md"
    ),
) -> None:
    """Put the claims to a model and to the controls, and write the page."""
    checkpoint = load_checkpoint(model)
    size = checkpoint.model.config.image[1]
    train, test = (
        load_data(checkpoint.origin.data, split, data_dir=data_dir, size=size) for split in ("train", "test")
    )
    start, own, decided, paths = time.perf_counter(), 0.0, list[Claim](), list[Path]()
    with progress() as watch:
        measured, claims = pipeline.claims(
            checkpoint.model, train, test, folder=checkpoint.run, controls=True, seed=seed, watch=watch
        )
        for claim in claims:
            decided.append(claim)
            pipeline.write_evidence(decided, test.name, out.with_suffix(""))
            elapsed = time.perf_counter() - start
            own = elapsed if claim.subject == "model" else own
            print(f"{elapsed:5.0f} s  {claim.claim}, {claim.subject}: {claim.verdict}", flush=True)
    for result in (measured.levels, measured.locality):
        paths += pipeline.write_figures(result, out.with_suffix("") / "figures")
    if model in PACKAGED:  # what the explorer says of it
        own_claims = [claim for claim in decided if claim.subject == "model"]
        write_json(packaged(model).with_suffix(".evidence.json"), record(own_claims, test.name))
    figures = {path.stem: path.relative_to(out.parent) for path in paths if path.suffix == ".png"}
    machine = (
        f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores; rgm {version('rgm')}, "
        f"PyTorch {torch.__version__}, Python {platform.python_version()}"
    )
    lines = [
        f"# Evidence for the claims: {test.source}",
        "",
        "Every measure of the three claims, with its interval and threshold, for the model and the controls. "
        f"`{model}`, preset {checkpoint.origin.preset}, on {len(test):,} test images; the controls on "
        f"{min(TEST_IMAGES, len(test)):,} of them. "
        "[Definitions](claims.md).",
        "",
        "## Model",
        "",
        *(line for claim in decided if claim.subject == "model" for line in table(claim)),
        "## Information per level",
        "",
        f"![What each level retains, and where class information is located]({figures['renormalization']})",
        "",
        "Left: what is retained from the pixels to the concept, by the bits that describe a level and those above. Of "
        "the class: the mutual information between the class and the prediction from the level, relative to the "
        "class's entropy (the judge's prediction from the image and from its reconstruction; the concept itself). Of "
        "the pixels: the share of their variance that the image decoded from the level explains. Right: the "
        "information of each cell's code about the class, in bits, bias-corrected.",
        "",
        "## Effect of each cell",
        "",
        f"![For every cell, the mean change of the whole image]({figures['locality-atlas']})",
        "",
        "One small image for each cell, at its position: the mean squared change if the cell takes another code. The "
        "cell's own patch is outlined.",
        "",
        "## Controls",
        "",
        *(line for claim in decided if claim.subject != "model" for line in table(claim)),
        "## Reproduction",
        "",
        f"`{shlex.join(['python', 'benchmarks/evidence.py', *sys.argv[1:]])}`, {own:.0f} s for the model and "
        f"{time.perf_counter() - start:.0f} s with the controls. {machine}.",
        "",
    ]
    write_text(out, "\n".join(lines))


if __name__ == "__main__":
    app()
