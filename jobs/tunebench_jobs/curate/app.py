"""The page's HTTP side, closed to everybody but the person who was given its address."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from importlib import resources
from typing import Any

from pydantic import Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.curate.desk import Desk, RefusedError, Wish
from tunebench_jobs.errors import JobError
from tunebench_jobs.records import Record, describe_validation_error

# Three answers of the longest kind, and what JSON makes of them.
_MAX_BODY_BYTES = 1 << 20
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# What a page of strangers' words may do: load our own files, and talk to us.
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Check(Record):
    """An answer that is being edited."""

    place: int = Field(ge=0)
    tool: Tool
    text: str


class _TooLargeError(Exception):
    """A request that no page of ours sends."""


def build_app(desk: Desk, *, port: int, token: str) -> ASGIApp:
    """Build the web application; everything lies under the secret first part of the path."""
    files = _load_files()

    async def send_file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            return PlainTextResponse("there is no such file\n", 404)
        content, media_type = files[name]
        return Response(content, media_type=media_type)

    async def list_candidates(_: Request) -> Response:
        return await _answer(desk.build_listing)

    async def list_decisions(_: Request) -> Response:
        return await _answer(desk.build_decisions)

    async def show_pull(request: Request) -> Response:
        return await _answer(lambda: desk.build_pull(request.path_params["place"]))

    async def check(request: Request) -> Response:
        body = Check.model_validate_json(await _read_body(request))
        return await _answer(lambda: desk.check_answer(body.place, body.tool, body.text))

    async def decide(request: Request) -> Response:
        wish = Wish.model_validate_json(await _read_body(request))
        return await _answer(lambda: desk.decide(wish))

    async def undo(_: Request) -> Response:
        return await _answer(desk.undo)

    routes = [
        Route("/api/candidates", list_candidates),
        Route("/api/candidates/{place:int}", show_pull),
        Route("/api/decisions", list_decisions),
        Route("/api/check", check, methods=["POST"]),
        Route("/api/decide", decide, methods=["POST"]),
        Route("/api/undo", undo, methods=["POST"]),
        Route("/", send_file),
        Route("/{name}", send_file),
    ]
    handlers = {ValidationError: _answer_invalid, _TooLargeError: _answer_too_large}
    app = Starlette(routes=routes, exception_handlers=handlers)
    return _Guard(app, port=port, token=token)


class _Guard:
    """Lets nobody in who was not given the address, whatever page their browser is on.

    The token stops other users and other sites, the `Host` a name that was rebound to this machine,
    `Origin` and the content type a form or script of another site.
    """

    def __init__(self, app: ASGIApp, *, port: int, token: str) -> None:
        self._app = app
        self._prefix = f"/{token}/".encode()
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on what lies behind the token."""
        problem = self._find_problem(scope)
        if problem:
            await PlainTextResponse(f"{problem}\n", 403)(scope, receive, _secure(send))
            return
        inner = {**scope, "path": scope["path"][len(self._prefix) - 1 :], "raw_path": None}
        await self._app(inner, receive, _secure(send))

    def _find_problem(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._hosts:
            return (
                "open the page by the address that tunebench printed: this is another name for it"
            )
        path = scope["path"].encode()
        if not secrets.compare_digest(path[: len(self._prefix)], self._prefix):
            return "open the page by the whole address that tunebench printed, with its secret part"
        if origin is not None and origin != f"http://{host}":
            return "another site may not ask for this"
        if scope["method"] in {"GET", "HEAD"}:
            return None
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if origin is None or kind != "application/json":
            return "only the page itself may change anything"
        return None


def _secure(send: Send) -> Send:
    """Add the headers that hold for everything."""

    async def send_secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return send_secured


async def _answer(work: Callable[[], dict[str, Any]]) -> Response:
    """Do work that waits for the disk beside the others, and say what went wrong in JSON."""
    try:
        return JSONResponse(await run_in_threadpool(work))
    except RefusedError as error:
        return JSONResponse({"problem": str(error)}, 409)
    except JobError as error:
        return JSONResponse({"problem": str(error)}, 500)
    except OSError as error:
        return JSONResponse({"problem": f"nothing was saved: {error}"}, 500)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise _TooLargeError
    return bytes(body)


async def _answer_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)  # noqa: S101 - it is registered for these
    return JSONResponse({"problem": describe_validation_error(error)[:1000]}, 422)


async def _answer_too_large(_: Request, __: Exception) -> Response:
    return JSONResponse({"problem": f"must have at most {_MAX_BODY_BYTES} bytes"}, 413)


def _load_files() -> dict[str, tuple[bytes, str]]:
    """Return the page's files by name, so that no name of a request is ever a path."""
    folder = resources.files("tunebench_jobs.curate") / "page"
    return {
        file.name: (file.read_bytes(), _TYPES[match[0]])
        for file in folder.iterdir()
        if (match := re.search(r"\.\w+$", file.name)) and match[0] in _TYPES
    }
