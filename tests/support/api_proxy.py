"""A proxy in front of a real API server: counts requests, and can keep back a watch's events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from control_plane import ControlPlane

_HOPS = {"connection", "content-length", "content-encoding", "transfer-encoding", "host"}
WRITES = ("POST", "PUT", "PATCH", "DELETE")
# Of one event: an object with its status.
_LINE_BYTES = 16 << 20


@dataclass
class ApiProxy:
    """What went through, and which watches are to be deaf."""

    server: str
    session: aiohttp.ClientSession
    # HTTP method and path of each request that was answered.
    requests: list[tuple[str, str]] = field(default_factory=list)
    # Says of a path whether events of its watches are kept back.
    is_deaf: Callable[[str], bool] = lambda _: False
    # Events that were kept back.
    swallowed: int = 0
    address: str = ""

    def list_writes(self, part: str = "") -> list[tuple[str, str]]:
        """Return the requests that change something whose path has a part."""
        return [each for each in self.requests if each[0] in WRITES and part in each[1]]

    def write_kubeconfig(self, plane: ControlPlane, path: Path) -> Path:
        """Write a kubeconfig that leads through the proxy."""
        config = yaml.safe_load(plane.kubeconfig.read_text(encoding="utf-8"))
        config["clusters"][0]["cluster"] = {"server": self.address}
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        path.chmod(0o600)
        return path

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, and its answer back."""
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOPS}
        async with self.session.request(
            request.method,
            f"{self.server}{request.path_qs}",
            headers={**headers, "Accept-Encoding": "identity"},
            data=await request.read() or None,
            # The API server takes a body without a type for JSON, and no other type that is added.
            skip_auto_headers=["Content-Type"],
        ) as answer:
            self.requests.append((request.method, request.path))
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOPS}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            if request.query.get("watch") in {"true", "1", "True"}:
                async for line in answer.content:
                    if self.is_deaf(request.path) and _is_event(line):
                        self.swallowed += 1
                    else:
                        await response.write(line)
            else:
                async for part in answer.content.iter_any():
                    await response.write(part)
            await response.write_eof()
            return response


def _is_event(line: bytes) -> bool:
    """Whether a line tells of an object, and is no bookmark."""
    event: dict[str, Any] = json.loads(line)
    return event["type"] in {"ADDED", "MODIFIED", "DELETED"}


@asynccontextmanager
async def proxying(plane: ControlPlane) -> AsyncIterator[ApiProxy]:
    """Run a proxy while the block runs."""
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(ssl=False, limit=0)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, read_bufsize=_LINE_BYTES
    ) as session:
        proxy = ApiProxy(plane.server, session)
        app = web.Application(client_max_size=_LINE_BYTES)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.address = "http://{}:{}".format(*runner.addresses[0][:2])
            yield proxy
        finally:
            await runner.cleanup()
