"""A vendor's batch API that follows a script: files, batches, and a count of what it sold."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler
from typing import Any

from local_http import QuietHandler, serving

KEY = "sk-batch-key-of-tests"
VERDICT = "which_response_was_better: 1\nwhy: it says more\n"

Line = dict[str, Any]
# Makes the outcome of a request from its place among all requests, and the request itself.
Script = Callable[[int, Line], Line]


def say(text: str, tokens: tuple[int, int] = (1000, 10)) -> Line:
    """Return a reply as a batch's file has it."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "total_tokens": sum(tokens),
    }
    body = {"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}
    return {"response": {"status_code": 200, "body": body}, "error": None}


def refuse(status: int, code: str) -> Line:
    """Return a request that was refused."""
    body = {"error": {"code": code, "message": f"no: {code}"}}
    return {"response": {"status_code": status, "body": body}, "error": None}


def expire() -> Line:
    """Return a request that was not reached in time."""
    error = {"code": "batch_expired", "message": "This request could not be executed in time."}
    return {"response": None, "error": error}


@dataclass
class BatchVendor:
    """What the vendor has, and how it behaves."""

    script: Script = lambda _, __: say(VERDICT)
    # How a batch ends, by its number; others complete.
    ends: dict[int, str] = field(default_factory=dict)
    # Why a batch fails as a whole.
    code: str = "token_limit_exceeded"
    # While it is set, batches go on for ever.
    hold: threading.Event = field(default_factory=threading.Event)
    # Requests to `POST /batches` that are carried out and then not answered.
    deaf: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    # What was sold, by the request's name.
    sold: Counter[str] = field(default_factory=Counter)
    asked: list[Line] = field(default_factory=list)
    # Files that were fetched.
    fetched: Counter[str] = field(default_factory=Counter)
    # Chats outside of any batch, and what is answered instead of a word.
    chats: list[Line] = field(default_factory=list)
    chat_error: tuple[int, str] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add_file(self, content: bytes) -> dict[str, Any]:
        """Keep a file."""
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return {
            "id": name,
            "object": "file",
            "bytes": len(content),
            "created_at": 1,
            "filename": "questions.jsonl",
            "purpose": "batch",
            "status": "processed",
        }

    def begin(self, file: str) -> dict[str, Any]:
        """Begin a batch; its requests are paid for from here on."""
        number = len(self.batches)
        name = f"batch_{number}"
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": file,
            "completion_window": "24h",
            "created_at": number,
            "status": "in_progress",
        }
        if self.ends.get(number) != "failed":
            self._run(self.batches[name])
        return self.look(name)

    def look(self, name: str) -> dict[str, Any]:
        """Return a batch as it is shown now."""
        batch = self.batches[name]
        shown = {each: value for each, value in batch.items() if not each.startswith("_")}
        if self.hold.is_set():
            hidden = ("output_file_id", "error_file_id", "errors")
            return {each: value for each, value in shown.items() if each not in hidden}
        number = int(name.removeprefix("batch_"))
        shown["status"] = self.ends.get(number, "completed")
        if shown["status"] == "failed":
            error = {"code": self.code, "message": f"no: {self.code}", "param": None, "line": None}
            shown["errors"] = {"object": "list", "data": [error]}
        return shown

    def _run(self, batch: dict[str, Any]) -> None:
        good, bad = [], []
        for raw in self.files[batch["input_file_id"]].splitlines():
            request = json.loads(raw)
            outcome = self.script(len(self.asked), request)
            self.asked.append(request)
            line = {"id": f"r{len(self.asked)}", "custom_id": request["custom_id"], **outcome}
            response = outcome["response"]
            if response and response["status_code"] == 200:
                self.sold[request["custom_id"]] += 1
                good.append(line)
            else:
                bad.append(line)
        for name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                content = "".join(json.dumps(line) + "\n" for line in lines).encode()
                batch[name] = self.add_file(content)["id"]
        counts = {"total": len(good) + len(bad), "completed": len(good), "failed": len(bad)}
        batch["request_counts"] = counts


class Handler(QuietHandler, BaseHTTPRequestHandler):
    """Answers for a vendor."""

    vendor: BatchVendor

    def do_POST(self) -> None:
        """Take a file, begin a batch, or answer a chat."""
        content = self.rfile.read(int(self.headers["content-length"]))
        if not self._may():
            return
        with self.vendor.lock:
            if self.path == "/v1/files":
                self.send_json(self.vendor.add_file(self._parse_form(content)))
            elif self.path == "/v1/batches":
                batch = self.vendor.begin(json.loads(content)["input_file_id"])
                if self.vendor.deaf:
                    self.vendor.deaf -= 1
                    self.close_connection = True
                    return
                self.send_json(batch)
            elif self.vendor.chat_error:
                status, code = self.vendor.chat_error
                self.send_json(refuse(status, code)["response"]["body"], status)
            else:
                self.vendor.chats.append(json.loads(content))
                self.send_json(say("ready")["response"]["body"] | {"created": 1, "model": "m"})

    def do_GET(self) -> None:
        """Show a batch, all batches, or a file."""
        if not self._may():
            return
        kind, *rest = self.path.partition("?")[0].removeprefix("/v1/").split("/")
        with self.vendor.lock:
            if kind == "batches" and rest:
                self.send_json(self.vendor.look(rest[0]))
            elif kind == "batches":
                newest = [self.vendor.look(name) for name in reversed(self.vendor.batches)]
                self.send_json({"object": "list", "data": newest, "has_more": False})
            else:
                self.vendor.fetched[rest[0]] += 1
                headers = {"Content-Type": "application/octet-stream"}
                self.send(200, self.vendor.files[rest[0]], headers)

    def _may(self) -> bool:
        right = self.headers["authorization"] == f"Bearer {KEY}"
        if not right:
            error = {"message": "no such key", "type": "auth", "code": "invalid_api_key"}
            self.send_json({"error": error}, 401)
        return right

    def _parse_form(self, content: bytes) -> bytes:
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        form = BytesParser(policy=HTTP).parsebytes(head + content)
        for part in form.iter_parts():
            if part.get_filename():
                return part.get_payload(decode=True)
        raise AssertionError(form.keys())


@contextmanager
def serving_batches(vendor: BatchVendor) -> Iterator[str]:
    """Serve a vendor while the block runs; yield its `apiBase`."""
    with serving(type("Bound", (Handler,), {"vendor": vendor})) as address:
        yield f"{address}/v1"
