"""A server on this machine that speaks what reading a dataset asks of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from local_http import QuietHandler, serving

COMMIT = "a" * 40
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Hub:
    """One dataset, with its files by name; who asks for it must have the token, if it has one."""

    dataset: str
    files: Mapping[str, bytes]
    token: str | None = None
    asked: list[str] = field(default_factory=list)

    def list_folder(self, folder: str, *, deep: bool) -> list[dict[str, Any]]:
        """Return the entries of a folder, as the hub does."""
        base = f"{folder}/" if folder else ""
        names = [name for name in self.files if name.startswith(base)]
        folders = {
            base + "/".join(parts[:depth])
            for parts in (name.removeprefix(base).split("/") for name in names)
            for depth in range(1, len(parts))
            if deep or depth == 1
        }
        found = [{"type": "directory", "path": path, "oid": "d" * 40} for path in sorted(folders)]
        return found + [
            {
                "type": "file",
                "path": name,
                "size": len(self.files[name]),
                "oid": hashlib.sha1(self.files[name], usedforsecurity=False).hexdigest(),
            }
            for name in names
            if deep or "/" not in name.removeprefix(base)
        ]


@contextmanager
def running_hub(hub: Hub) -> Iterator[str]:
    """Run the server and yield its address."""

    class Handler(_Handler):
        served = hub

    with serving(Handler) as address:
        yield address


class _Handler(QuietHandler, BaseHTTPRequestHandler):
    served: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.served, self.path.partition("?")[0]
        hub.asked.append(path)
        files = f"/datasets/{hub.dataset}/resolve/"
        api = f"/api/datasets/{hub.dataset}"
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self.send(401, b"", {"X-Error-Message": "Invalid username or password."})
        elif path.startswith(files):
            self._send_file(path.removeprefix(files).partition("/")[2])
        elif path.startswith(f"{api}/tree/"):
            folder = path.removeprefix(f"{api}/tree/").partition("/")[2]
            self.send_json(hub.list_folder(folder, deep="recursive=true" in self.path))
        elif path == api or path.startswith(f"{api}/revision/"):
            siblings = [{"rfilename": name} for name in hub.files]
            self.send_json({"id": hub.dataset, "sha": COMMIT, "siblings": siblings})
        else:
            self.send(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _send_file(self, name: str) -> None:
        content = self.served.files.get(name)
        if content is None:
            self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT}
        wanted = _RANGE.match(self.headers.get("Range") or "")
        if wanted:
            start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
            part = content[start : end + 1]
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
            self.send(206, part, headers)
        else:
            self.send(200, content, headers)
