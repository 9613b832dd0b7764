"""The command that opens the interactive page: `explore`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from rgm.cli import options
from rgm.cli.films import is_film, load_film
from rgm.errors import RGMError

if TYPE_CHECKING:
    from rgm.explorer.base import Service
    from rgm.explorer.films import FilmExplorer
    from rgm.explorer.play import PlayExplorer
    from rgm.explorer.service import Explorer
    from rgm.loading import Checkpoint


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
    """Open an interactive page about a model of images or of films, or an agent that plays.

    Example: `rgm explore runs/first --port 9000 --no-browser`

    Images: draw one, see its codes and concept, change a cell, sample from a concept. Films: play one, see its events,
    hide pixels, choose what follows. Runs of play: watch the agent, its belief and its plan, hide pixels, take over.

    The page is served to this machine only, until Ctrl-C. For networks of images, `--export DIR` writes a folder for
    any web server instead: the model then runs in the visitor's browser. This needs the extra `onnx` and the npm
    package `onnxruntime-web`, and includes the first 50 test images where the data are on this machine.
    """
    import webbrowser

    from rgm.explorer.server import as_origin, free_port, serve

    if export is not None:
        exported = _export(model, export, runtime, data_dir)
        if not quiet:
            print(f"{exported}: any web server can serve it, such as python -m http.server --directory {exported}")
        return
    chosen = free_port(port)  # refused before a model is loaded
    allowed = () if allow_origin is None else (as_origin(allow_origin),)
    service = _service(model, device, data_dir)

    def started(address: str) -> None:
        if not quiet:
            print(f"{address}  (stop with Ctrl-C)", flush=True)
        if browser:
            webbrowser.open(address)

    serve(service, chosen, started=started, allowed=allowed)


def _service(model: str, device: str, data_dir: Path | None) -> "Service":
    """Return what answers the page about a model: a service for each kind."""
    from rgm.planning.stored import find_agent

    agent = find_agent(model)
    if agent is not None:
        return _game(agent, model)
    if is_film(model):
        return _films(model, device, data_dir)
    return _images(options.load(model, device), model, data_dir)


def _images(checkpoint: "Checkpoint", model: str, data_dir: Path | None) -> "Explorer":
    from rgm.claims.record import estimates
    from rgm.counting.model import CountingRGM
    from rgm.explorer.hidden import PixelExplorer
    from rgm.explorer.service import Explorer

    try:
        test = options.read(checkpoint, None, "test", data_dir)
    except RGMError:  # its data are not on this machine: the page starts from samples
        test = None
    measured = estimates(checkpoint.evidence) if checkpoint.evidence else {}
    shown, classes = checkpoint.model, checkpoint.origin.classes
    if isinstance(shown, CountingRGM) and shown.has_values:
        return PixelExplorer(shown, classes, model, test, measured)
    return Explorer(shown, classes, model, test, measured)


def _films(model: str, device: str, data_dir: Path | None) -> "FilmExplorer":
    from rgm.explorer.films import film_explorer

    return film_explorer(load_film(model, device), model, data_dir)


def _game(agent: Path, model: str) -> "PlayExplorer":
    from rgm.explorer.play import play_explorer
    from rgm.planning.run import finished
    from rgm.planning.stored import read_agent

    return play_explorer(read_agent(agent), model, finished(agent.parent).get("evaluation", {}))


def _export(model: str, folder: Path, runtime: Path | None, data_dir: Path | None) -> Path:
    from rgm.explorer.static import find_runtime, write_page
    from rgm.planning.stored import find_agent

    if find_agent(model) is not None:
        raise RGMError(f"{model} holds an agent, whose page needs its game at hand: leave out --export")
    checkpoint = options.load(model, "cpu")
    options.networks(model, checkpoint, "leave out --export")
    find_runtime(runtime)
    write_page(_images(checkpoint, model, data_dir), folder, runtime)
    return folder
