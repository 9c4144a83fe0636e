"""The OpenAI-compatible server of `limited_judge`, as a process of its own.

Each program asks at a place: `PUT /<place>` with its conditions opens one afresh, programs are
pointed to `/<place>/v1`, and `GET /<place>` tells what was counted.
"""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from aiohttp import web
from limited_judge import (
    Asked,
    Conditions,
    Place,
    Statistics,
    build_choice,
    build_text_choice,
    find_slot,
    parse_request,
)
from scripted_judge import build_answer

_MOST_BYTES = 16 << 20
_BUSY_SECONDS = 1.0


@dataclass(frozen=True)
class LimitedServer:
    """A server that runs; `address` has no path."""

    address: str
    pid: int

    def open(self, place: str, conditions: Conditions) -> str:
        """Open a place with nothing counted and full limits, and return its `apiBase`."""
        self._request(place, "PUT", conditions.model_dump_json().encode())
        return f"{self.address}/{place}/v1"

    def count(self, place: str) -> Statistics:
        """Return what a place has counted so far."""
        return Statistics.model_validate_json(self._request(place, "GET"))

    def _request(self, place: str, method: str, content: bytes | None = None) -> bytes:
        request = Request(f"{self.address}/{place}", content, method=method)  # noqa: S310 - our own
        with urlopen(request) as reply:  # noqa: S310 - likewise
            said: bytes = reply.read()
        return said


@contextmanager
def serving_limited() -> Iterator[LimitedServer]:
    """Run a server on a port of the system's choice while the block runs."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield LimitedServer(process.stdout.readline().decode().strip(), process.pid)
        finally:
            process.terminate()


def build_application() -> web.Application:
    """Build a server without places."""
    places: dict[str, Place] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        place = places[request.match_info["place"]]
        asked = parse_request(json.loads(await request.read()))
        place.open(asked, request.get_extra_info("peername"))
        outcome = "aborted"
        try:
            outcome, reply = await decide(place, asked)
            if outcome != "refused" and _is_gone(request):
                outcome = "aborted"
        finally:
            place.close(asked, outcome)
        return reply

    async def reopen(request: web.Request) -> web.Response:
        conditions = Conditions.model_validate_json(await request.read())
        places[request.match_info["place"]] = Place(conditions, time.monotonic)
        return web.Response()

    async def count(request: web.Request) -> web.Response:
        statistics = places[request.match_info["place"]].build_statistics()
        return web.json_response(text=statistics.model_dump_json())

    application = web.Application(client_max_size=_MOST_BYTES)
    application.router.add_post("/{place}/v1/chat/completions", answer)
    application.router.add_put("/{place}", reopen)
    application.router.add_get("/{place}", count)
    return application


async def decide(place: Place, asked: Asked) -> tuple[str, web.Response]:
    """Answer one chat when its time has come; say how it ended."""
    wait, headers = place.admit(asked)
    if wait:
        return "refused", _build_refusal(wait, headers)
    plan = place.plan(asked)
    await asyncio.sleep(plan.seconds)
    if plan.status == 429:
        return "refused", _build_refusal(_BUSY_SECONDS, headers)
    if plan.status != 200:
        return "broken", _build_error(plan.status, "something broke", headers)
    if plan.garbage is not None:
        return "garbage", _build_reply(asked, build_text_choice(plan.garbage), headers)
    choice = build_choice(place.conditions.dialect, find_slot(asked.text))
    return "answered", _build_reply(asked, choice, headers)


def _build_reply(asked: Asked, choice: dict[str, Any], headers: dict[str, str]) -> web.Response:
    text = choice["message"]["content"]
    answer = build_answer(asked.question, asked.model, text, asked.tokens)
    return web.json_response({**answer, "choices": [choice]}, headers=headers)


def _build_refusal(wait: float, headers: dict[str, str]) -> web.Response:
    headers["retry-after"] = str(math.ceil(wait))
    return _build_error(429, "Rate limit reached for requests", headers)


def _build_error(status: int, message: str, headers: dict[str, str]) -> web.Response:
    error = {"message": message, "type": "limited_judge", "code": None}
    return web.json_response({"error": error}, status=status, headers=headers)


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def serve() -> None:
    """Serve until the process is told to end; print the address."""
    runner = web.AppRunner(build_application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}", flush=True)  # noqa: T201 - for whoever started it
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
