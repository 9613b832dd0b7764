"""The page as a folder of static files: the model runs in the browser, without a server of its own."""

import json
from pathlib import Path
from typing import Any

import torch

from rgm.data.images import to_unit
from rgm.errors import RGMError
from rgm.explorer.base import as_text
from rgm.explorer.server import PAGE
from rgm.explorer.service import FILES, Explorer
from rgm.export.onnx import export
from rgm.model.spatial import SpatialRGM
from rgm.model.transformer import TransformerPrior
from rgm.storage.files import own_folder, write_bytes

RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""ONNX Runtime Web's files: the JavaScript module and the WebAssembly binary that it loads."""
TEST_IMAGES = 50
"""The most test images that are written to the folder."""


def write_page(explorer: Explorer, folder: Path, runtime: Path | None = None) -> None:
    """Write the page, the model's ONNX graphs and ONNX Runtime Web's two files into a folder, for any web server.

    The folder also holds the first test images of `explorer`. `runtime` is the folder of the two files or of the npm
    package `onnxruntime-web`; by default, the npm packages installed here are searched. Raises RGMError if the files
    are not found, the folder cannot be written, the extra `onnx` is not installed or the model is not a SpatialRGM.
    """
    model = explorer.model
    if not isinstance(model, SpatialRGM):
        raise RGMError(
            f"a static page needs ONNX graphs, and a {type(model).__name__} has none: "
            "leave out --export to use the local server"
        )
    kernels = find_runtime(runtime)
    names = (*FILES, *RUNTIME, "engine.js", "model.json", "*.onnx")
    own_folder(folder, names, lambda folder: (folder / "model.json").is_file(), "a page")
    graphs = export(model, folder)
    for name in FILES:
        write_bytes(folder / name, (PAGE / name).read_bytes())
    write_bytes(folder / "engine.js", (PAGE / "engine-onnx.js").read_bytes())
    for name in RUNTIME:
        write_bytes(folder / name, (kernels / name).read_bytes())
    about = _about(explorer, model) | {"graphs": [path.stem for path in graphs]}
    write_bytes(folder / "model.json", json.dumps(about, ensure_ascii=False).encode())


def find_runtime(given: Path | None) -> Path:
    """Return the folder of ONNX Runtime Web's two files; raise RGMError if it is not found."""
    here = Path.cwd()
    places = [given] if given else [here, *here.parents]
    for place in places:
        for inner in ("", "dist", "node_modules/onnxruntime-web/dist"):
            if all((place / inner / name).is_file() for name in RUNTIME):
                return place / inner
    raise RGMError(
        f"ONNX Runtime Web's files ({' and '.join(RUNTIME)}) were not found "
        f"{f'in {given}' if given else 'here'}: run `npm install onnxruntime-web`, or give their folder with --runtime"
    )


def _about(explorer: Explorer, model: SpatialRGM) -> dict[str, Any]:
    about = explorer.about()
    for level, entry in enumerate(about["levels"], start=1):
        if level < model.depth:
            entry["prior"] = _prior(model, level)
        if 1 < level < model.depth:
            entry["encoder_fields"] = _encoder_fields(model, level)
    test = [] if explorer.test is None else [as_text(to_unit(x)) for x in explorer.test.images[:TEST_IMAGES]]
    return about | {"test": test}


def _prior(model: SpatialRGM, level: int) -> dict[str, Any]:
    prior = model.prior(level)
    if not isinstance(prior, TransformerPrior):
        return {"kind": "factorised"}
    config = prior.config
    features = config.width // config.heads
    return {"kind": "ordered", "layers": prior.past_layers, "heads": config.heads, "features": features}


def _encoder_fields(model: SpatialRGM, level: int) -> list[list[int]]:
    """Return, for each cell of a level, the cells of the level below on which its code can depend."""
    height, width = model.config.levels[level - 2].grid
    each = torch.eye(height * width, dtype=torch.bool).reshape(-1, height, width).to(model.device)
    seen = model.recognition(level).unsure(each).flatten(1)
    return [column.nonzero().flatten().tolist() for column in seen.T]
