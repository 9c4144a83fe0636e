"""A server on this machine that speaks what uploading a dataset asks of the Hugging Face hub."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from local_http import QuietHandler, serving

# By the hub's .gitattributes of a dataset.
_LARGE = (".parquet", ".png")


@dataclass
class UploadHub:
    """One dataset; it takes writes with its token only."""

    dataset: str
    token: str
    # Absent: it is not there yet.
    private: bool | None = None
    # What the last commit holds, and how many there are.
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0
    # Large files by SHA-256, committed or not.
    stored: dict[str, bytes] = field(default_factory=dict)
    # How many uploads of large files to refuse.
    failures: int = 0
    puts: int = 0

    @property
    def sha(self) -> str:
        """The last commit."""
        return f"{self.commits:040x}"

    def describe(self) -> dict[str, Any]:
        """Return what the hub says of the dataset."""
        siblings = [{"rfilename": name} for name in self.files]
        return {
            "id": self.dataset,
            "private": self.private,
            "sha": self.sha,
            "siblings": siblings,
        }

    def choose_modes(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Say how each file is to be sent, and what of it is there."""
        return {"files": [self._choose_mode(file["path"]) for file in asked["files"]]}

    def _choose_mode(self, name: str) -> dict[str, Any]:
        is_large = name.endswith(_LARGE)
        content = self.files.get(name)
        oid = None
        if content is not None:
            header = b"" if is_large else f"blob {len(content)}\0".encode()
            oid = hashlib.new("sha256" if is_large else "sha1", header + content).hexdigest()
        mode = "lfs" if is_large else "regular"
        return {"path": name, "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def offer_uploads(self, asked: Mapping[str, Any], address: str) -> dict[str, Any]:
        """Say where large files go that are not there yet."""
        objects = []
        for wanted in asked["objects"]:
            offer = dict(wanted)
            if wanted["oid"] not in self.stored:
                offer["actions"] = {"upload": {"href": f"{address}/lfs/{wanted['oid']}"}}
            objects.append(offer)
        return {"transfer": "basic", "objects": objects}

    def commit(self, body: bytes, address: str) -> dict[str, Any]:
        """Take a commit, all of it at once."""
        taken = dict(self.files)
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                taken[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                taken[value["path"]] = self.stored[value["oid"]]
        self.files = taken
        self.commits += 1
        return {
            "commitUrl": f"{address}/datasets/{self.dataset}/commit/{self.sha}",
            "commitOid": self.sha,
        }


@contextmanager
def running_uploads(hub: UploadHub) -> Iterator[str]:
    """Run the server and yield its address."""

    class Handler(_Handler):
        served = hub

    with serving(Handler) as address:
        yield address


class _Handler(QuietHandler, BaseHTTPRequestHandler):
    served: UploadHub

    def do_GET(self) -> None:
        hub = self.served
        api = f"/api/datasets/{hub.dataset}"
        if self.path.partition("?")[0] not in {api, f"{api}/revision/main"} or hub.private is None:
            self.send_json({}, 404, {"X-Error-Code": "RepoNotFound"})
        else:
            self.send_json(hub.describe())

    def do_PUT(self) -> None:
        hub, content = self.served, self._read()
        hub.puts += 1
        if hub.failures:
            hub.failures -= 1
            self.send_json({}, 403)
            return
        hub.stored[self.path.rpartition("/")[2]] = content
        self.send_json({})

    def do_POST(self) -> None:
        hub, body, path = self.served, self._read(), self.path.partition("?")[0]
        address = f"http://{self.headers['Host']}"
        api = f"/api/datasets/{hub.dataset}"
        if self.headers.get("Authorization") != f"Bearer {hub.token}":
            self.send_json({}, 401, {"X-Error-Message": "Invalid username or password."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            assert f"{asked['organization']}/{asked['name']}" == hub.dataset
            hub.private = asked.get("private", asked.get("visibility") == "private")
            self.send_json({"url": f"{address}/datasets/{hub.dataset}"})
        elif path == "/api/validate-yaml":
            self.send_json({"errors": [], "warnings": []})
        elif path == f"{api}/preupload/main":
            self.send_json(hub.choose_modes(json.loads(body)))
        elif path == f"/datasets/{hub.dataset}.git/info/lfs/objects/batch":
            self.send_json(hub.offer_uploads(json.loads(body), address))
        elif path == f"{api}/commit/main":
            self.send_json(hub.commit(body, address))
        else:
            self.send_json({}, 404, {"X-Error-Code": "RepoNotFound"})

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(self._read_chunks())
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _read_chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
