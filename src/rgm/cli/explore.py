"""The command that opens the interactive page: `explore`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from rgm.cli import options
from rgm.errors import RGMError


def explore(
    model: options.Model = "mnist",
    *,
    port: Annotated[int, Parameter(help="Port of the page; 0 for any that is free.")] = 8765,
    browser: Annotated[bool, Parameter(help="Open the page in the browser.")] = True,
    export: Annotated[Path | None, Parameter(help="Folder to write the page to, not serving it.")] = None,
    runtime: Annotated[Path | None, Parameter(help="Folder of ONNX Runtime Web, for --export.")] = None,
    allow_origin: Annotated[str | None, Parameter(help="Address of the page behind a proxy, http://….")] = None,
    data_dir: options.DataDir = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Open an interactive page: draw an image, see its codes and concept, change a cell, sample from a concept.

    Example: `rgm explore runs/first --port 9000 --no-browser`

    The page is served to this machine only, until Ctrl-C. `--export DIR` writes a folder for any web server instead:
    the model then runs in the visitor's browser. This needs the extra `onnx` and the npm package `onnxruntime-web`, and
    includes the first 50 test images where the data are on this machine.
    """
    import webbrowser

    from rgm.claims.record import estimates
    from rgm.explorer.server import as_origin, free_port, serve
    from rgm.explorer.service import Explorer
    from rgm.explorer.static import find_runtime, write_page

    chosen = 0 if export else free_port(port)  # refused before a model is loaded
    allowed = () if allow_origin is None else (as_origin(allow_origin),)
    checkpoint = options.load(model, "cpu" if export else device)
    if export is not None:
        options.networks(model, checkpoint, "leave out --export")
        find_runtime(runtime)
    try:
        test = options.read(checkpoint, None, "test", data_dir)
    except RGMError:  # its data are not on this machine: the page starts from samples
        test = None
    measured = estimates(checkpoint.evidence) if checkpoint.evidence else {}
    explorer = Explorer(checkpoint.model, checkpoint.origin.classes, model, test, measured)
    if export is not None:
        write_page(explorer, export, runtime)
        if not quiet:
            print(f"{export}: any web server can serve it, such as python -m http.server --directory {export}")
        return

    def started(address: str) -> None:
        if not quiet:
            print(f"{address}  (stop with Ctrl-C)", flush=True)
        if browser:
            webbrowser.open(address)

    serve(explorer, chosen, started=started, allowed=allowed)
