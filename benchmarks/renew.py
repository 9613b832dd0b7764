"""What the documents show of the packaged weights, made anew where the weights have changed since.

    python benchmarks/renew.py --check                  # which pages are stale
    python benchmarks/renew.py                          # make them anew
    python benchmarks/renew.py docs/results.md          # make this one anew, stale or not

`docs/renewed.json` holds, for every page, the digests of the weights that it was made from. CIFAR-10's pages need its
folder, `--cifar10 FOLDER` (see docs/colour.md). Numbers that stand in sentences are not found: they follow from these.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from rgm.storage.checkpoint import packaged
from rgm.storage.files import write_json

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs" / "renewed.json"


@dataclass(frozen=True)
class Page:
    """What is made by one command from packaged weights. `{cifar10}` is the folder of CIFAR-10."""

    command: str
    weights: tuple[str, ...] = ("mnist",)

    def digests(self) -> dict[str, str]:
        """Return the digests of the weights as they are."""
        return {name: hashlib.sha256(packaged(name).read_bytes()).hexdigest()[:16] for name in self.weights}


EVIDENCE = (
    "rgm evaluate {0} --claims{1} --out runs/evidence-{0} && "
    "cp runs/evidence-{0}/evidence.json src/rgm/weights/{0}.evidence.json"
)
PAGES = {
    "docs/results.md": Page("python benchmarks/results.py mnist"),
    "docs/evidence.md": Page("python benchmarks/evidence.py mnist"),
    "docs/images/abstraction/abstraction.png": Page("rgm experiment abstraction mnist --out docs/images/abstraction"),
    "docs/images/instantiation/instantiation.png": Page(
        "rgm experiment instantiation mnist --out docs/images/instantiation"
    ),
    "docs/images/locality/locality.png": Page("rgm experiment locality mnist --out docs/images/locality"),
    "docs/images/explorer.png": Page("python benchmarks/explorer.py picture docs/images/explorer.png"),
    "docs/images/gallery.png": Page(
        "python benchmarks/gallery.py --cifar10 {cifar10}", ("mnist", "fashion-mnist", "cifar10")
    ),
    "docs/results-fashion-mnist.md": Page(
        "python benchmarks/results.py fashion-mnist --out docs/results-fashion-mnist.md", ("fashion-mnist",)
    ),
    "src/rgm/weights/fashion-mnist.evidence.json": Page(EVIDENCE.format("fashion-mnist", ""), ("fashion-mnist",)),
    "docs/images/samples-fashion-mnist.png": Page(
        "rgm sample fashion-mnist --count 12 --out docs/images/samples-fashion-mnist.png", ("fashion-mnist",)
    ),
    "docs/results-cifar10.md": Page(
        "python benchmarks/results.py cifar10 --data {cifar10} --out docs/results-cifar10.md", ("cifar10",)
    ),
    "src/rgm/weights/cifar10.evidence.json": Page(EVIDENCE.format("cifar10", " --data {cifar10}"), ("cifar10",)),
    "docs/images/samples-cifar10.png": Page(
        "rgm sample cifar10 --count 12 --out docs/images/samples-cifar10.png", ("cifar10",)
    ),
}
"""The pages and pictures by one of the files that their command writes."""


def recorded() -> dict[str, dict[str, str]]:
    """Return the digests of the weights that each page was made from."""
    found: dict[str, dict[str, str]] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    return found


def stale() -> list[str]:
    """Return the pages that were made from other weights than those of today, or that nothing is known of."""
    known = recorded()
    return [name for name, page in PAGES.items() if known.get(name) != page.digests() or not (ROOT / name).exists()]


app = App(help=__doc__)


@app.default
def main(
    *pages: Annotated[str, Parameter(help="Make these anew; by default, all that are stale.")],
    check: Annotated[bool, Parameter(help="Name the stale pages alone; exit code 1 if there are any.")] = False,
    cifar10: Annotated[str | None, Parameter(help="The folder of CIFAR-10.")] = None,
) -> int:
    """Make stale pages anew, one after another; what is done is recorded at once."""
    chosen = list(pages) or stale()
    unknown = [name for name in chosen if name not in PAGES]
    if unknown:
        print(f"{unknown[0]} is none of {', '.join(PAGES)}", file=sys.stderr)
        return 2
    if check:
        print("\n".join(chosen) or "nothing is stale")
        return int(bool(chosen))
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for name in chosen:
        page = PAGES[name]
        if "{cifar10}" in page.command and cifar10 is None:
            print(f"{name}: skipped, it needs --cifar10 FOLDER")
            continue
        command = page.command.format(cifar10=cifar10)
        print(f"{name}: {command}", flush=True)
        digests = page.digests()
        subprocess.run(command, shell=True, check=True, cwd=ROOT, env=os.environ | {"PATH": scripts})
        write_json(RECORD, recorded() | {name: digests})
    return 0


if __name__ == "__main__":
    sys.exit(app())
