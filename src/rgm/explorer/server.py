"""The page and its requests, for this machine alone."""

import logging
import socket
from collections.abc import Callable
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rgm.errors import RGMError
from rgm.explorer.service import Cell, Codes, Complete, Draw, Explorer, Image, Morph, Pick

HOST = "127.0.0.1"
PAGE = Path(str(resources.files("rgm.explorer") / "page"))
LARGEST = 600_000
"""Bytes of a request, at most."""
log = logging.getLogger("rgm")
SHARED = ("index.html", "style.css", "app.js", "pixels.js", "share.js", "strokes.js", "words.js")
"""The page's files, but for `engine.js`: what answers it, here or in the browser alone."""
_PAGE = {"": "index.html", "engine.js": "served.js", **{name: name for name in SHARED}}
_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class _Guard(BaseHTTPMiddleware):
    """Answers requests from this machine's own page alone: another `Host` or `Origin` is refused."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        host = request.headers.get("host", "").rsplit(":", 1)[0]
        origin = request.headers.get("origin")
        if host not in (HOST, "localhost"):
            return _refused(421, "this page answers to 127.0.0.1 and localhost alone")
        if origin is not None and origin != f"http://{request.headers['host']}":
            return _refused(403, "requests come from the page itself, not from another site")
        response = await call_next(request)
        response.headers.update(_SAFE)
        return response


def application(explorer: Explorer) -> Starlette:
    """Return the page's application."""

    def answers(form: type[BaseModel], answer: Callable[[Any], dict[str, Any]]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            content = await _body(request, LARGEST)
            try:
                asked = form.model_validate_json(content)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"])) or "the request"
                raise RGMError(f"{place}: {first['msg']}") from None
            return JSONResponse(await run_in_threadpool(answer, asked))

        return endpoint

    async def about(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(explorer.about))

    posts = {
        "read": answers(Image, explorer.read),
        "pick": answers(Pick, explorer.pick),
        "paint": answers(Codes, explorer.paint),
        "palette": answers(Cell, explorer.palette),
        "sample": answers(Draw, explorer.sample),
        "morph": answers(Morph, explorer.morph),
        "complete": answers(Complete, explorer.complete),
    }
    return Starlette(
        routes=[
            *(Route(f"/{path}", _file(name)) for path, name in _PAGE.items()),
            Route("/api/about", about),
            *(Route(f"/api/{name}", endpoint, methods=["POST"]) for name, endpoint in posts.items()),
        ],
        middleware=[Middleware(_Guard)],
        exception_handlers={RGMError: _wrong, ClientDisconnect: _gone, Exception: _fault},
    )


def _file(name: str) -> Callable[[Request], Any]:
    path = PAGE / name

    async def endpoint(_: Request) -> Response:
        return Response(path.read_bytes(), media_type=_KINDS[path.suffix])

    return endpoint


async def _body(request: Request, most: int) -> bytes:
    """Return a request's body; raise RGMError as soon as it is longer than it may be."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise RGMError(f"a request may have {most:,} bytes at most")
    return bytes(content)


def _refused(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status_code=status)


async def _wrong(_: Request, error: Exception) -> Response:
    return _refused(422, " ".join(str(error).split()))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


async def _fault(_: Request, error: Exception) -> Response:
    log.error("the explorer failed: %r", error)
    return _refused(500, "this is our fault: see the terminal that the page was started from")


def free_port(asked: int) -> int:
    """Return a port that can be listened on: the asked one, or any for 0.

    Raises RGMError where it is in use, with one that is not.
    """
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, asked))
        except (OSError, OverflowError):
            with closing(socket.socket()) as other:
                other.bind((HOST, 0))
                raise RGMError(
                    f"port {asked} is in use or not allowed: take another, such as --port {other.getsockname()[1]}"
                ) from None
        found: int = probe.getsockname()[1]
        return found


def serve(explorer: Explorer, port: int, *, started: Callable[[str], None]) -> None:
    """Serve the page on a free port until it is interrupted; `started` is told its address."""
    import uvicorn

    config = uvicorn.Config(application(explorer), host=HOST, port=port, log_level="warning")
    started(f"http://{HOST}:{port}/")
    uvicorn.Server(config).run()
