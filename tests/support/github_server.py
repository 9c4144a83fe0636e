"""A server on this machine that behaves like GitHub's API, its limits and failures included."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

from github_world import FakePull, FakeRepository

_SHOWN_RESULTS = 1000
# How long a request may take from a client to us.
_ON_ITS_WAY = 0.4


class Asked(NamedTuple):
    """A request that the server has got."""

    at: float
    token: str
    path: str
    status: int
    # Whether it counted against the limit.
    counted: bool


@dataclass
class Fault:
    """What goes wrong for so many requests whose path matches."""

    kind: str
    path: str = ""
    times: int = 1
    seconds: float = 1.0
    status: int = 502
    # Of a `lie`: what it says in place of the truth.
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Limit:
    """Requests of one token for one resource in one window."""

    limit: int
    window: float
    used: int = 0
    ends: float = 0.0

    def begin(self, now: float) -> None:
        """Begin a window, if the last one has ended."""
        if now >= self.ends:
            self.used, self.ends = 0, float(int(now + self.window) + 1)

    def count(self) -> bool:
        """Count a request; tell whether it was within the limit."""
        self.used += 1
        return self.used <= self.limit


@dataclass
class Response:
    """An answer before it is sent."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=utf-8"


class GitHubServer(ThreadingHTTPServer):
    """Repositories behind an API; notes every request and every breach of its limits."""

    daemon_threads = True

    def __init__(self, *repositories: FakeRepository) -> None:
        """Start on a port of the system's choice."""
        self.repositories = list(repositories)
        # Status by name.
        self.gone: dict[str, int] = {}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        # Requests beyond the limit, and during a pause that was asked for.
        self.breaches: list[str] = []
        self.limits = {"core": (5000, 3600.0), "search": (30, 60.0)}
        self.tokens: set[str] = set()
        self.latency = 0.0
        # Where a renamed repository is said to lie, if not here.
        self.leads_to = ""
        self.before: Callable[[str], None] = lambda _: None
        self.in_flight = self.most_in_flight = 0
        self._windows: dict[tuple[str, str], Limit] = {}
        self._paused_until = 0.0
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        """Give the port back."""
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that were killed."""

    def count(self, pattern: str, *, counted: bool = True) -> int:
        """Return how many requests matched, those alone that counted against the limit or all."""
        return sum(
            bool(re.search(pattern, each.path)) and (each.counted or not counted)
            for each in self.asked
        )

    def respond(self, path: str, token: str, headers: dict[str, str]) -> Response:
        """Answer a request within the limits."""
        self.before(path)
        resource = "search" if path.startswith("/search/") else "core"
        with self._lock:
            now = time.time()
            if now < self._paused_until:
                self.breaches.append(f"{path} came during a pause")
            window = self._windows.setdefault((token, resource), Limit(*self.limits[resource]))
            window.begin(now)
            response = self._answer(path, token, headers)
            counted = path != "/rate_limit" and not (response.status == 304 and token)
            if counted and not window.count():
                self.breaches.append(f"{path} was beyond the limit")
                response = _refuse(403, "API rate limit exceeded for user.")
            self.asked.append(Asked(now, token, path, response.status, counted))
        response.headers |= {
            "x-ratelimit-limit": str(window.limit),
            "x-ratelimit-remaining": str(max(window.limit - window.used, 0)),
            "x-ratelimit-reset": str(int(window.ends)),
            "x-ratelimit-used": str(window.used),
            "x-ratelimit-resource": resource,
        }
        return response

    def take_fault(self, path: str) -> Fault | None:
        """Return what is to go wrong with this request."""
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def pause(self, fault: Fault) -> Response:
        """Refuse because of a limit that no header told of before."""
        # What is on its way already is no breach.
        threading.Timer(_ON_ITS_WAY, self._begin_pause, [fault.seconds - _ON_ITS_WAY]).start()
        response = _refuse(fault.status, "You have exceeded a secondary rate limit.")
        response.headers["retry-after"] = str(int(fault.seconds))
        return response

    def _begin_pause(self, seconds: float) -> None:
        self._paused_until = time.time() + seconds

    def _answer(self, path: str, token: str, headers: dict[str, str]) -> Response:
        if self.tokens and token not in self.tokens:
            return _refuse(401, "Bad credentials")
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/rate_limit":
            return _build_json({"resources": self._list_limits(token)})
        if parts.path == "/search/repositories":
            response = self._search(query)
        else:
            response = self._find(parts.path, query, headers.get("accept", ""))
        if response.status != 200:
            return response
        etag = f'W/"{hashlib.sha256(response.body).hexdigest()}"'
        if headers.get("if-none-match") == etag:
            return Response(304, headers={"etag": etag})
        response.headers["etag"] = etag
        return response

    def _list_limits(self, token: str) -> dict[str, Any]:
        found = {}
        for resource, limits in self.limits.items():
            window = self._windows.setdefault((token, resource), Limit(*limits))
            window.begin(time.time())
            left = max(window.limit - window.used, 0)
            found[resource] = {"limit": window.limit, "remaining": left, "reset": int(window.ends)}
        return found

    def _search(self, query: dict[str, str]) -> Response:
        found = sorted(self.repositories, key=lambda each: (-each.stars, each.name))
        if window := re.search(r"created:(\S+)\.\.(\S+)", query["q"]):
            found = [each for each in found if window[1] <= each.created_at <= window[2]]
        page, size = int(query.get("page", "1")), int(query["per_page"])
        if (page - 1) * size >= _SHOWN_RESULTS:
            return _refuse(422, "Only the first 1000 search results are available")
        items = [each.to_entry() for each in found[(page - 1) * size : page * size]]
        response = _build_json(
            {"total_count": len(found), "incomplete_results": False, "items": items}
        )
        if page * size < min(len(found), _SHOWN_RESULTS):
            response.headers["link"] = self._link("/search/repositories", query, page + 1)
        return response

    def _find(self, path: str, query: dict[str, str], accept: str) -> Response:
        if match := re.match(r"^/repositories/(\d+)(.*)$", path):
            found = [each for each in self.repositories if each.id == int(match[1])]
            return self._serve(found[0], match[2], query, accept) if found else _refuse(404)
        match = re.match(r"^/repos/([^/]+/[^/]+)(.*)$", path)
        if match is None:
            return _refuse(404)
        name = match[1].lower()
        if name in self.gone:
            return _refuse(self.gone[name], "Repository access blocked")
        for each in self.repositories:
            if each.name.lower() == name:
                return self._serve(each, match[2], query, accept)
            if name in {old.lower() for old in each.old_names}:
                place = f"{self.leads_to or self.url}/repositories/{each.id}{match[2]}"
                location = f"{place}?{urlencode(query)}" if query else place
                return Response(301, b"{}", {"location": location})
        return _refuse(404)

    def _serve(
        self, repository: FakeRepository, rest: str, query: dict[str, str], accept: str
    ) -> Response:
        prefix = f"/repositories/{repository.id}"
        if rest == "":
            return _build_json(repository.to_entry())
        if rest == "/languages":
            return _build_json(repository.languages)
        if rest == "/pulls":
            entries = [each.to_entry(repository.name) for each in repository.list_closed()]
            return self._page(f"{prefix}/pulls", entries, query)
        if match := re.fullmatch(r"/git/blobs/([0-9a-f]+)", rest):
            return _find_blob(repository, match[1])
        match = re.fullmatch(r"/pulls/(\d+)(/files|/commits|)", rest)
        pull = match and next((x for x in repository.pulls if x.number == int(match[1])), None)
        if not match or pull is None:
            return _refuse(404)
        return self._serve_pull(pull, prefix + rest, match[2], query, accept)

    def _serve_pull(
        self, pull: FakePull, path: str, part: str, query: dict[str, str], accept: str
    ) -> Response:
        if part == "/files":
            return self._page(path, [each.to_entry() for each in pull.files], query)
        if part == "/commits":
            return self._page(path, [{"commit": {"message": each}} for each in pull.commits], query)
        if "diff" not in accept:
            return _build_json({"number": pull.number})
        if len(pull.files) > 300:
            return _refuse(406, "Sorry, the diff exceeded the maximum number of files (300).")
        diff = "".join(each.to_diff() for each in pull.files).encode()
        return Response(200, diff, content_type="application/vnd.github.v3.diff; charset=utf-8")

    def _page(self, path: str, entries: list[dict[str, Any]], query: dict[str, str]) -> Response:
        page, size = int(query.get("page", "1")), int(query.get("per_page", "30"))
        response = _build_json(entries[(page - 1) * size : page * size])
        if page * size < len(entries):
            response.headers["link"] = self._link(path, query, page + 1)
        return response

    def _link(self, path: str, query: dict[str, str], page: int) -> str:
        following = urlencode({**query, "page": page})
        first = urlencode({**query, "page": 1})
        return (
            f'<{self.url}{path}?{following}>; rel="next", <{self.url}{path}?{first}>; rel="first"'
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GitHubServer

    def do_GET(self) -> None:
        """Answer, or fail as the faults say."""
        server = self.server
        with server._lock:
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            time.sleep(server.latency)
            self._answer(server)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with server._lock:
                server.in_flight -= 1

    def _answer(self, server: GitHubServer) -> None:
        token = self.headers.get("authorization", "").removeprefix("token ")
        headers = {name.lower(): value for name, value in self.headers.items()}
        response = server.respond(self.path, token, headers)
        fault = server.take_fault(self.path) if response.status < 400 else None
        kind = fault.kind if fault else ""
        if fault and kind == "status":
            response = _copy_limits(_refuse(fault.status, "Server Error"), response)
        elif fault and kind == "secondary":
            response = _copy_limits(server.pause(fault), response)
        elif kind == "dropped":
            self.close_connection = True
            return
        elif kind == "html":
            response.body, response.content_type = b"<html>Unicorn!</html>", "text/html"
        elif fault and kind == "lie":
            response.status = fault.status
            response.body = response.body if fault.body is None else fault.body
            response.headers |= fault.headers
        elif kind == "cut":
            response.body = response.body[: len(response.body) // 2]
        self._send(response, truncated=kind == "truncated", pause=_find_pause(fault))

    def _send(self, response: Response, *, truncated: bool, pause: float) -> None:
        body = b"" if response.status == 304 else response.body
        self.send_response(response.status)
        self.send_header("content-type", response.content_type)
        self.send_header("content-length", str(len(body)))
        self.send_header("date", formatdate(usegmt=True))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        time.sleep(pause)
        if truncated:
            self.close_connection = True
            return
        self.wfile.write(body[half:])

    def send_response(self, code: int, message: str | None = None) -> None:
        """Send no date of our own: the answer has one."""
        self.send_response_only(code, message)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _find_pause(fault: Fault | None) -> float:
    return fault.seconds if fault and fault.kind == "slow" else 0.0


def _copy_limits(response: Response, other: Response) -> Response:
    limits = {name: value for name, value in other.headers.items() if name.startswith("x-")}
    response.headers |= limits
    return response


def _build_json(data: Any) -> Response:
    return Response(200, json.dumps(data).encode())


def _refuse(status: int, message: str = "Not Found") -> Response:
    return Response(status, json.dumps({"message": message}).encode())


def _find_blob(repository: FakeRepository, sha: str) -> Response:
    for pull in repository.pulls:
        for each in pull.files:
            if each.sha == sha:
                return Response(200, each.new_text, content_type="application/vnd.github.v3.raw")
    return _refuse(404)
