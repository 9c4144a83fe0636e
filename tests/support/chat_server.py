"""A model's server that gives one answer, and waits when it is told to."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Model(ThreadingHTTPServer):
    """Answers each chat with one text, notes what it was asked, and can be made to wait."""

    def __init__(self, text: str) -> None:
        """Start on a port of the system's choice."""
        self.asked: list[str] = []
        self.answered = 0
        self.limit = sys.maxsize
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model.asked.append(body["messages"][-1]["content"])
                while model.answered >= model.limit:
                    time.sleep(0.05)
                model.answered += 1
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
                content = json.dumps({**answer, "choices": [choice]}).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.daemon_threads = True
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Give the port back."""
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        """Return the address as clients want it."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"
