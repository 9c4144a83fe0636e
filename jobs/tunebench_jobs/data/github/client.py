"""The door to GitHub: one request at a time, within its limits, and again where time may help.

gidgethub speaks the protocol, httpx moves the bytes. A token goes into the header and nowhere else:
no foreign exception is chained, because its frames hold the request.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urljoin, urlsplit

import httpx
from gidgethub import HTTPException
from gidgethub.sansio import accept_format, create_headers, decipher_response, format_url

from tunebench_jobs.data.github.errors import Refusal, RefusedError, find_refusal, name_field
from tunebench_jobs.data.github.limits import MAX_WAIT_SECONDS, Budget, find_pause
from tunebench_jobs.data.github.pace import Pace
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.files import save_text
from tunebench_jobs.llm import redact

logger = logging.getLogger(__name__)

JSON = accept_format()
DIFF = accept_format(media="diff", json=False)
RAW = accept_format(media="raw", json=False)
# 100 files with patches of 1 MiB are more than GitHub sends.
MAX_BODY_BYTES = 64 << 20

# Reason of the error where GitHub does not answer.
UNAVAILABLE = "GitHubUnavailable"

_REQUESTER = "tunebench"
# Resources with limits of their own; asking for the limits costs nothing.
_CORE, _SEARCH, _LIMITS = "core", "search", "rate_limit"
_VERSION = {"x-github-api-version": "2022-11-28"}
_REDIRECTS = frozenset({301, 302, 307, 308})
_MAX_REDIRECTS = 5
_SUCCESSES = frozenset({200, 201, 202, 204})
_NOT_MODIFIED, _UNAUTHORIZED, _FIRST_SERVER_ERROR = 304, 401, 500
_SHOWN = 200
# All that GitHub says of an error.
_OF_ERRORS = frozenset({"message", "errors", "documentation_url", "status"})


@dataclass(frozen=True)
class ClientSettings:
    """How hard the client asks; the defaults are what GitHub's documentation asks for."""

    concurrency: int = 4
    # Points of one minute, whatever the hour has left.
    requests_per_minute: int = 900
    tries: int = 6
    first_delay: float = 1.0
    max_delay: float = 60.0
    timeout: float = 30.0


@dataclass(frozen=True)
class Answer:
    """What GitHub said; `data` is JSON or, of raw media types, the bytes."""

    data: Any
    etag: str | None = None
    next_url: str | None = None
    not_modified: bool = False


@dataclass
class Usage:
    """What was asked so far."""

    requests: int = 0
    not_modified: int = 0
    retries: int = 0
    waited_seconds: float = 0.0


class _Reply(NamedTuple):
    status: int
    headers: httpx.Headers
    content: bytes


class _BusyError(Exception):
    """Worth asking again, after `pause` seconds where the server says so."""

    def __init__(self, text: str, pause: float | None = None) -> None:
        super().__init__(text)
        self.pause = pause


class GitHubClient(AbstractAsyncContextManager["GitHubClient"]):
    """Asks one API with one token; safe to share between tasks."""

    def __init__(  # noqa: PLR0913 - whom to ask, and how
        self,
        api_base: str,
        token: str | None,
        *,
        field: str,
        settings: ClientSettings | None = None,
        notice: Callable[[str], None] = logger.info,
        pause_file: Path | None = None,
    ) -> None:
        """Open no connection yet.

        Args:
            api_base: Such as https://api.github.com.
            token: Sent to this address alone.
            field: Place in the run, for messages.
            settings: How hard to ask.
            notice: Told of long waits.
            pause_file: Keeps until when GitHub wants no request.

        Raises:
            InputError: The address holds a password, which messages would show.
        """
        self.usage = Usage()
        if "@" in urlsplit(api_base).netloc:
            msg = f"`{name_field(field, 'apiBase')}` must hold no password; give it by `secretRef`"
            raise InputError(msg, reason="InvalidAddress")
        self._base = api_base.rstrip("/")
        self._token = token
        self._field = field
        self._settings = settings or ClientSettings()
        self._notice = notice
        self._http = httpx.AsyncClient(timeout=self._settings.timeout, follow_redirects=False)
        self._places = asyncio.Semaphore(self._settings.concurrency)
        self._pace = Pace(self._settings.requests_per_minute)
        self._budgets: dict[str, Budget] = {}
        self._pause_file = pause_file
        # By a clock that nobody sets back; the file has the other one, which outlives a process.
        self._paused_until = time.monotonic() + _load_pause(pause_file)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def learn_limits(self) -> bool:
        """Ask what is left of the limits, which is free; whoever was here before has used some.

        Returns:
            Whether the server states limits; one of one's own may have none.

        Raises:
            InputError: The token is refused.
            RetryableError: GitHub is away.
        """
        try:
            answer = await self.get(f"/{_LIMITS}")
        except RefusedError:
            return False
        resources = answer.data.get("resources") if isinstance(answer.data, dict) else None
        for name in (_CORE, _SEARCH):
            stated = resources.get(name) if isinstance(resources, dict) else None
            if isinstance(stated, dict):
                stated = {f"x-ratelimit-{key}": str(value) for key, value in stated.items()}
                self._find_budget(name).learn(stated)
        return True

    async def get(
        self,
        path: str,
        *,
        etag: str | None = None,
        accept: str = JSON,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> Answer:
        """Return what lies at a path of the API; with `etag`, only if it has changed.

        Raises:
            InputError: The token is refused, or the address is no API.
            RefusedError: This one thing cannot be had.
            RetryableError: GitHub is away, or its limit lasts too long.
        """
        url = self._join(lambda: format_url(path, None, base_url=self._base))
        headers = create_headers(_REQUESTER, accept=accept, oauth_token=self._token) | _VERSION
        if etag:
            headers["if-none-match"] = etag
        for _ in range(_MAX_REDIRECTS):
            answer = await self._ask(url, headers, max_bytes)
            if isinstance(answer, Answer):
                return answer
            url = self._join(partial(urljoin, url, answer))
        msg = f"{_shorten(url)} leads round in a circle"
        raise RefusedError(msg, Refusal.BROKEN)

    def _join(self, build_url: Callable[[], str]) -> str:
        """Return an address out of what the server said, if that is one, and one of its own.

        Raises:
            RefusedError: The token would go to another server.
        """
        try:
            url = build_url()
            there, here = urlsplit(url), urlsplit(self._base)
        except ValueError:
            msg = f"{self._base} leads to what is no address"
            raise RefusedError(msg, Refusal.BROKEN) from None
        if (there.scheme, there.netloc.lower()) != (here.scheme, here.netloc.lower()):
            msg = f"{self._base} leads to another server, {self._clean(there.netloc)}"
            raise RefusedError(msg, Refusal.BROKEN)
        return url

    async def _ask(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer | str:
        """Ask until there is an answer that time does not change, or another address."""
        problem = _BusyError("not asked")
        for tried in range(self._settings.tries):
            if tried:
                self.usage.retries += 1
                await self._wait(problem, tried - 1, url)
            try:
                async with self._places:
                    reply = await self._send(url, headers, max_bytes)
                return self._build_answer(reply, url, tried, raw=headers["accept"] != JSON)
            except _BusyError as busy:
                problem = busy
        msg = (
            f"GitHub gave no answer for {_shorten(url)}: {problem}; start again, what came is kept"
        )
        raise RetryableError(msg, reason=UNAVAILABLE if problem.pause is None else "RateLimited")

    async def _send(self, url: str, headers: Mapping[str, str], max_bytes: int) -> _Reply:
        budget = self._find_budget(_find_resource(url, self._base))
        await budget.take(self._say_wait)
        reply = None
        try:
            await self._pace.wait()
            await self._wait_pause()
            self.usage.requests += 1
            reply = await self._exchange(url, headers, max_bytes)
        finally:
            # GitHub counts the 304 of someone whom it does not know.
            free = reply is not None and reply.status == _NOT_MODIFIED and self._token is not None
            budget.give_back(reply.headers if reply else None, free=free)
        self.usage.not_modified += reply.status == _NOT_MODIFIED
        return reply

    def _find_budget(self, resource: str) -> Budget:
        return self._budgets.setdefault(resource, Budget())

    async def _wait_pause(self) -> None:
        # Another answer may make the pause longer meanwhile.
        while (left := self._paused_until - time.monotonic()) > 0:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(left)

    async def _exchange(self, url: str, headers: Mapping[str, str], max_bytes: int) -> _Reply:
        content = bytearray()
        try:
            # Each part of an answer has its time limit; this is one for the whole.
            async with (
                asyncio.timeout(self._settings.timeout * 4),
                self._http.stream("GET", url, headers=dict(headers)) as response,
            ):
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > max_bytes:
                        msg = f"{_shorten(url)} has more than {max_bytes} bytes"
                        raise RefusedError(msg, Refusal.TOO_LARGE)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            place = name_field(self._field, "apiBase")
            msg = f"`{place}` must be the address of an API: {self._clean(error)}"
            raise InputError(msg, reason="InvalidAddress") from None
        except TimeoutError:
            raise _BusyError("the answer took too long") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _BusyError(f"{type(error).__name__} {self._clean(error)}") from None
        return _Reply(response.status_code, response.headers, bytes(content))

    def _build_answer(self, reply: _Reply, url: str, tried: int, *, raw: bool) -> Answer | str:
        """Return what GitHub answered, or where it sends us.

        Raises:
            InputError: It refuses the token.
            RefusedError: It will refuse this next time too.
            _BusyError: It may answer next time.
        """
        target = reply.headers.get("location")
        if reply.status == _NOT_MODIFIED:
            return Answer(None, not_modified=True)
        if reply.status in _REDIRECTS and target:
            return str(target)
        if reply.status in _SUCCESSES and raw:
            return Answer(reply.content)
        try:
            data, _, following = decipher_response(reply.status, reply.headers, reply.content)
        except HTTPException as error:
            raise self._build_refusal(reply, url, self._clean(error), tried) from None
        # Also what the library stumbles over: a body that is cut off, or of another shape.
        except (ValueError, RecursionError, TypeError, AttributeError, LookupError):
            raise self._build_refusal(reply, url, "with a broken body", tried) from None
        if not isinstance(data, dict | list):
            raise self._build_refusal(reply, url, "without JSON", tried)
        if isinstance(data, dict) and "message" in data and data.keys() <= _OF_ERRORS:
            # As of a proxy that answers for a server which is away.
            said = f"with an error, {self._clean(data['message'])}"
            raise self._build_refusal(reply, url, said, tried)
        etag = reply.headers.get("etag")
        # Others could not be sent back in a header.
        return Answer(data, etag if etag and etag.isascii() else None, following)

    def _build_refusal(self, reply: _Reply, url: str, message: str, tried: int) -> Exception:
        if reply.status == _UNAUTHORIZED:
            msg = (
                f"`{name_field(self._field, 'secretRef')}` must name a token that is taken, but "
                f"{self._base} says 401 {message}; check that it has not expired, or make a new one"
            )
            return InputError(msg, reason="AuthenticationFailed")
        text = f"HTTP {reply.status} {message}"
        pause = find_pause(reply.status, reply.headers, message, tried)
        if pause is not None or reply.status >= _FIRST_SERVER_ERROR or reply.status in _SUCCESSES:
            return _BusyError(text, pause)
        return RefusedError(f"{_shorten(url)}: {text}", find_refusal(reply.status))

    async def _wait(self, busy: _BusyError, tried: int, url: str) -> None:
        if busy.pause is None:
            wait = min(self._settings.first_delay * 2.0**tried, self._settings.max_delay)
            # Spread, so that all that failed together do not come back together.
            wait *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            logger.warning("asking again in %.1f s for %s: %s", wait, _shorten(url), busy)
            self.usage.waited_seconds += wait
            await asyncio.sleep(wait)
        elif busy.pause > MAX_WAIT_SECONDS:
            msg = f"GitHub asks to wait for {busy.pause:.0f} s ({busy}); start again after that"
            raise RetryableError(msg, reason="RateLimited")
        else:
            # All wait: whoever goes on asking is shut out for longer.
            self._say_wait(busy.pause)
            now = time.monotonic()
            self._paused_until = max(self._paused_until, now + busy.pause)
            if self._pause_file is not None:
                # Whoever goes on after this process must wait too.
                until = time.time() + self._paused_until - now
                save_text(self._pause_file, f"{until:.3f}\n")

    def _say_wait(self, seconds: float) -> None:
        self.usage.waited_seconds += seconds
        self._notice(f"waiting {seconds:.0f} s, as GitHub's limit asks")

    def _clean(self, said: object) -> str:
        """Return what a stranger said, fit for a terminal and without the token."""
        return ascii(redact(str(said), [self._token] if self._token else [])[:_SHOWN])[1:-1]


def _load_pause(path: Path | None) -> float:
    """Return how many seconds to wait; what cannot be read or is far off says nothing."""
    try:
        left = float(path.read_text()) - time.time() if path and path.is_file() else 0.0
    except ValueError:
        return 0.0
    return left if 0.0 < left < MAX_WAIT_SECONDS else 0.0


def _find_resource(url: str, base: str) -> str:
    """Return which of GitHub's limits a request counts against."""
    first = url.removeprefix(base).removeprefix("/").partition("/")[0]
    return first if first in {_LIMITS, _SEARCH} else _CORE


def _shorten(url: str) -> str:
    return ascii(urlsplit(url).path[:_SHOWN])[1:-1]
