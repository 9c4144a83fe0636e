"""A judge or teacher that follows a script, not an LLM: a server that counts what it sold."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler

from local_http import QuietHandler, serving

from tunebench_jobs.judge.probe import PROBE

_PROMPT_TOKENS, _REPLY_TOKENS = 100, 10


class ScriptedJudge:
    """Answers the same question always alike, after a delay, to whoever has the key."""

    def __init__(self, key: str, delay_seconds: float) -> None:
        """Begin with nothing sold."""
        self.key = key
        self.delay_seconds = delay_seconds
        # Questions that are put off, each for so many seconds.
        self.busy: list[str] = []
        self.put_off = 0
        # Answers that reached whoever asked, by the digest of the question.
        self.sold: Counter[str] = Counter()
        self.refused = 0
        self._lock = threading.Lock()

    def count(self, question: str) -> None:
        """Note an answer that was delivered."""
        with self._lock:
            self.sold[question] += 1

    def find_wait(self) -> str | None:
        """Return the seconds after which a question may come again, if it is put off."""
        with self._lock:
            self.put_off += bool(self.busy)
            return self.busy.pop() if self.busy else None

    def count_refusal(self) -> None:
        """Note a question without the key."""
        with self._lock:
            self.refused += 1


def say_winner(question: str, _text: str) -> str:
    """Prefer one side by chance, but the same at each asking."""
    return f"which_response_was_better: {int(question[0], 16) % 3}\n"


def build_answer(
    question: str, model: str, text: str, prompt_tokens: int = _PROMPT_TOKENS
) -> dict[str, object]:
    """Build what a vendor sends for one chat."""
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": _REPLY_TOKENS,
        "total_tokens": prompt_tokens + _REPLY_TOKENS,
    }
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": question[:12], "object": "chat.completion", "created": 1, "model": model}
    return {**head, "choices": [choice], "usage": usage}


@contextmanager
def serving_judge(
    host: str,
    key: str,
    delay_seconds: float = 0.0,
    say: Callable[[str, str], str] = say_winner,
) -> Iterator[tuple[str, ScriptedJudge]]:
    """Serve a judge while the block runs; yield its `apiBase` and what it counts.

    `say` makes the reply from the digest of the question and its last message.
    """
    judge = ScriptedJudge(key, delay_seconds)

    class Handler(QuietHandler, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer one chat."""
            body = self.read_json()
            if self.headers["authorization"] != f"Bearer {judge.key}":
                judge.count_refusal()
                error = {"message": "no such key", "type": "auth", "code": None}
                self.send_json({"error": error}, 401)
                return
            question = sha256(json.dumps(body["messages"]).encode()).hexdigest()
            text = body["messages"][-1]["content"]
            if (wait := judge.find_wait()) is not None:
                busy = {"message": "slow down", "type": "rate_limit", "code": None}
                self.send_json({"error": busy}, 429, {"Retry-After": wait})
                return
            time.sleep(judge.delay_seconds)
            self.send_json(build_answer(question, body["model"], say(question, text)))
            # The preflight's is no question about a pull request.
            if text != PROBE:
                judge.count(question)

    with serving(Handler, host) as address:
        yield f"{address}/v1", judge
