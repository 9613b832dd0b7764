"""The local web server of a page; it answers requests from this machine only."""

import logging
import socket
from collections.abc import Callable
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from rgm.errors import RGMError
from rgm.explorer.base import Answer, Service

HOST = "127.0.0.1"
PAGE = Path(str(resources.files("rgm.explorer") / "page"))
log = logging.getLogger("rgm")
_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class _Guard(BaseHTTPMiddleware):
    """Refuses requests with another `Host` or `Origin` than this server's own."""

    def __init__(self, app: ASGIApp, allowed: tuple[str, ...]) -> None:
        super().__init__(app)
        self.allowed = allowed

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        host = request.headers.get("host", "").rsplit(":", 1)[0]
        origin = request.headers.get("origin")
        if host not in (HOST, "localhost"):
            return _refused(421, "this server only answers requests to 127.0.0.1 and localhost")
        other = origin is not None and origin not in (f"http://{request.headers['host']}", *self.allowed)
        if other and request.url.path.startswith("/api/"):
            return _refused(
                403,
                f"this page was opened at {origin}, and requests from there are refused: open http://{HOST}:PORT "
                f"itself (from another machine, ssh -L PORT:{HOST}:PORT), or start rgm explore with --allow-origin "
                f"{origin}",
            )
        response = await call_next(request)
        response.headers.update(_SAFE)
        return response


def application(service: Service, allowed: tuple[str, ...] = ()) -> Starlette:
    """Return the web application that serves a page and its requests; `allowed` are other origins of the page."""

    def answers(answer: Callable[[Any], Answer]) -> Callable[[Request], Any]:
        form: type[BaseModel] = get_type_hints(answer)["request"]

        async def endpoint(request: Request) -> Response:
            content = await _body(request, service.largest)
            try:
                parsed = form.model_validate_json(content)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"])) or "the request"
                raise RGMError(f"{place}: {first['msg']}") from None
            return JSONResponse(await run_in_threadpool(answer, parsed))

        return endpoint

    async def about(_: Request) -> Response:
        return JSONResponse(await run_in_threadpool(service.about))

    return Starlette(
        routes=[
            *(Route(f"/{path}", _file(name)) for path, name in service.files.items()),
            Route("/api/about", about),
            *(Route(f"/api/{name}", answers(answer), methods=["POST"]) for name, answer in service.requests().items()),
        ],
        middleware=[Middleware(_Guard, allowed=allowed)],
        exception_handlers={RGMError: _invalid, ClientDisconnect: _disconnected, Exception: _failed},
    )


def _file(name: str) -> Callable[[Request], Any]:
    path = PAGE / name

    async def endpoint(_: Request) -> Response:
        return Response(path.read_bytes(), media_type=_KINDS[path.suffix])

    return endpoint


async def _body(request: Request, most: int) -> bytes:
    """Return a request's body; raise RGMError as soon as it is longer than `most` bytes."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise RGMError(f"a request may have at most {most:,} bytes")
    return bytes(content)


def _refused(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"error": reason}, status_code=status)


async def _invalid(_: Request, error: Exception) -> Response:
    return _refused(422, " ".join(str(error).split()))


async def _disconnected(_: Request, __: Exception) -> Response:
    return Response(status_code=499)


async def _failed(_: Request, error: Exception) -> Response:
    log.error("the explorer failed: %r", error)
    return _refused(500, "internal error: see the terminal that runs the server")


def as_origin(address: str) -> str:
    """Return the origin of a page, scheme, host and port, as browsers send it; raise RGMError for anything else."""
    try:
        parts = urlsplit(address)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # such as a port out of range
        named = False
    if not named or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise RGMError(
            f"an origin is a scheme, a host and perhaps a port, such as https://example.org:8443, but is {address!r}"
        )
    usual = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def free_port(port: int) -> int:
    """Return a port to listen on, any free one for 0; raise RGMError, which names a free one, if it is taken."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            with closing(socket.socket()) as other:
                other.bind((HOST, 0))
                raise RGMError(
                    f"port {port} is in use or not allowed: use another, such as --port {other.getsockname()[1]}"
                ) from None
        return int(probe.getsockname()[1])


def serve(service: Service, port: int, *, started: Callable[[str], None], allowed: tuple[str, ...] = ()) -> None:
    """Serve the page on a port until interrupted; `started` is called with its address."""
    import uvicorn

    config = uvicorn.Config(application(service, allowed), host=HOST, port=port, log_level="warning")
    started(f"http://{HOST}:{port}/")
    uvicorn.Server(config).run()
