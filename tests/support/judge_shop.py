"""A judge's server that keeps the receipt of each answer, and those who ask it or write."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from judge_store import PROMPTS
from local_http import QuietHandler, serving
from scripted_judge import build_answer

from tunebench_api.contract import JudgeConfig, StageDocument
from tunebench_jobs.context import StageContext
from tunebench_jobs.journal import Journal
from tunebench_jobs.judge.comparisons import build_message, build_question, find_prompt_delimiters
from tunebench_jobs.judge.ledger import Ledger, LedgerEntry
from tunebench_jobs.judge.stage import build_judges, load_comparisons
from tunebench_jobs.prompt_source import load_configured_prompts
from tunebench_jobs.stage import run_stage


@dataclass
class Receipt:
    """One answer: to which question, at which asking of it, and when."""

    question: str
    asking: int
    begun: float
    # Absent while the answer is under way.
    ended: float | None = None


@dataclass
class Shop:
    """What was asked of the server; `before` is called with how many answers there are so far."""

    receipts: list[Receipt] = field(default_factory=list)
    before: Callable[[int], None] = lambda _: None
    delay_seconds: float = 0.15
    # Of so many questions, one gets a first answer that cannot be read.
    garbled: int = 8
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sell(self, messages: list[dict[str, str]]) -> tuple[Receipt, str]:
        """Note a question, and return what to say to it: always the same."""
        question = messages[0]["content"]
        # Each further asking brings the last answer and what was wrong with it.
        asking = len(messages) // 2
        chance = int(sha256(question.encode()).hexdigest()[:8], 16)
        with self.lock:
            receipt = Receipt(question, asking, time.monotonic())
            self.receipts.append(receipt)
            count = len(self.receipts)
        self.before(count)
        time.sleep(self.delay_seconds * (0.5 + chance % 7 / 7))
        if asking == 0 and chance % self.garbled == 0:
            return receipt, "I would rather not say."
        return receipt, f"which_response_was_better: {chance % 3}\nwhy: chance\n"


@contextmanager
def serving_shop(**settings: Any) -> Iterator[tuple[dict[str, Any], Shop]]:
    """Serve a judge while the block runs; yield it as a run names it, and its receipts."""
    shop = Shop(**settings)

    class Handler(QuietHandler, BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """Answer one chat."""
            body = self.read_json()
            receipt, text = shop.sell(body["messages"])
            name = sha256(receipt.question.encode()).hexdigest()
            try:
                self.send_json(build_answer(name, body["model"], text))
            except OSError:
                # Whoever asked was killed.
                self.close_connection = True
            receipt.ended = time.monotonic()

    with serving(Handler) as address:
        judge = {
            "name": "shop",
            "model": "openai/shop-2024-05-13",
            "apiBase": f"{address}/v1",
            "concurrency": 8,
        }
        yield judge, shop


def name_questions(document: StageDocument) -> dict[str, str]:
    """Return for each question that a judge will read its name in the ledger."""
    assert isinstance(document.config, JudgeConfig)
    context = StageContext(document.runtime)
    (judge,) = build_judges(document.config.judges, {})
    prompts = load_configured_prompts(document.config.prompts, PROMPTS).prompt_set
    delimiters = find_prompt_delimiters(prompts)
    messages = [
        build_message(prompts, delimiters, each)
        for each in load_comparisons(document.config, context)
    ]
    return {each["content"]: build_question(judge.digest, each, {}).key for each in messages}


def append_entries(folder: Path, name: str, count: int, told: Connection) -> None:
    """Append entries, and tell of each when it is kept."""
    with Ledger(Journal(folder, batch=4)) as ledger:
        for number in range(count):
            key = f"{name}-{number}"
            ledger.append(LedgerEntry(key=key, reply=f"reply {key} " * 50, replies=1))
            told.send(key)
            told.recv()


def run_and_exit(document: StageDocument) -> None:
    """End the process as a job does."""
    sys.exit(run_stage(document))
