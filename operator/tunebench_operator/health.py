"""What probes and Prometheus ask the operator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


@dataclass
class Health:
    """Whether the operator hears and drives its runs; kept by the sweep."""

    # Seconds after which a sweep that did not come says that the operator hangs.
    longest_silence: float
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    # Another process leads: nothing is heard or driven here, and nothing is wrong.
    following: bool = False
    # Two sweeps in a row found the same that no watch had told.
    deaf: bool = False
    swept_at: float = field(default_factory=time.monotonic)

    @property
    def alive(self) -> bool:
        """Whether a restart would not help."""
        if self.following:
            return True
        return not self.deaf and time.monotonic() - self.swept_at < self.longest_silence

    def lead(self) -> None:
        """Begin to hear and drive runs."""
        self.following = False
        self.swept_at = time.monotonic()


def build_app(health: Health, registry: CollectorRegistry) -> web.Application:
    """Build the web application with `/healthz`, `/readyz` and `/metrics`."""

    async def alive(_request: web.Request) -> web.Response:
        return web.Response(text="ok") if health.alive else web.Response(status=503, text="deaf")

    async def ready(_request: web.Request) -> web.Response:
        state = health.following or health.ready.is_set()
        return web.Response(text="ok") if state else web.Response(status=503, text="starting")

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    app = web.Application()
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", metrics)
    return app


@asynccontextmanager
async def serving(health: Health, registry: CollectorRegistry, port: int) -> AsyncIterator[int]:
    """Answer probes while the block runs; yield the port, which 0 lets the system choose."""
    runner = web.AppRunner(build_app(health, registry), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, port=port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
