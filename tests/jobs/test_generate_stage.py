"""Generate against a scripted endpoint: retries, refusals, and going on after a crash."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tunebench_api.contract import Base, GenerateConfig, Report, Runtime, StageDocument
from tunebench_api.v1alpha1 import GenerationSpec, Tool
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.generate import COMPLETIONS_FILE, PARTIAL_PREFIX, Patience, run_generate
from tunebench_jobs.records import Completion, Task, dump_jsonl, load_jsonl

pytestmark = pytest.mark.jobs

OVERFLOW = {"error": {"message": "too long", "code": "context_length_exceeded"}}


class Endpoint:
    """Answers each prompt with its own text in capitals, unless scripted otherwise."""

    def __init__(self) -> None:
        """Start on a port of the system's choice."""
        # By prompt, taken from the front: status and body, or None to hang up.
        self.script: dict[str, list[tuple[int, Mapping[str, Any]] | None]] = {}
        self.requests: list[dict[str, Any]] = []
        # Cleared, requests are not answered.
        self.open = threading.Event()
        self.open.set()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                endpoint.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        """Return the address as generate wants it."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        """Return what was asked, in order."""
        return [request["messages"][-1]["content"] for request in self.requests]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request by the script."""
        raw = handler.rfile.read(int(handler.headers["Content-Length"]))
        request: dict[str, Any] = json.loads(raw)
        self.requests.append(request)
        self.open.wait(60)
        user = request["messages"][-1]["content"]
        scripted = self.script.get(user)
        step = scripted.pop(0) if scripted else (200, build_answer(user.upper()))
        if step is None:
            handler.connection.close()
            return
        body = json.dumps(step[1]).encode()
        handler.send_response(step[0])
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self) -> None:
        """Stop the server."""
        self.open.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def build_answer(text: str) -> dict[str, Any]:
    """Return a chat completion of OpenAI's shape."""
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": text},
    }
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    head = {"id": "x", "object": "chat.completion", "created": 1, "model": "tiny"}
    return {**head, "choices": [choice], "usage": usage}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Return a running endpoint."""
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


def build_config(*, concurrency: int = 2, max_tokens: int = 9) -> GenerateConfig:
    """Return the config of a generate stage."""
    return GenerateConfig(
        data="data/d",
        base=Base(base="tiny"),
        checkpoint=None,
        generation=GenerationSpec(max_tokens=max_tokens, concurrency=concurrency),
        seed=7,
    )


def build_context(store: Path, endpoint: Endpoint | None, users: tuple[str, ...]) -> StageContext:
    """Write tasks and return a context to complete them in."""
    (store / "data/d").mkdir(parents=True, exist_ok=True)
    (store / "generate/g").mkdir(parents=True, exist_ok=True)
    tasks = [
        Task(
            id=f"{user}:Describe",
            pr=user,
            repository="acme/x",
            language="Python",
            tool=Tool.DESCRIBE,
            system="be brief",
            user=user,
        )
        for user in users
    ]
    (store / "data/d/eval.jsonl").write_text(dump_jsonl(tasks))
    return StageContext(
        Runtime(
            store=str(store),
            output="generate/g",
            report=str(store / "report.json"),
            endpoint=endpoint.url if endpoint else None,
            served_name="tiny",
        )
    )


def run(store: Path, endpoint: Endpoint, *users: str, **config: int) -> Outcome:
    """Run the stage on these prompts."""
    return run_generate(build_config(**config), build_context(store, endpoint, users))


def load(store: Path, name: str = COMPLETIONS_FILE) -> list[Completion]:
    """Return the rows of an output."""
    return list(load_jsonl(store / "generate/g" / name, Completion))


def test_all_tasks_are_completed_in_order(tmp_path: Path, endpoint: Endpoint) -> None:
    """Completions lie in the order of the tasks, with what the endpoint was asked for."""
    outcome = run(tmp_path, endpoint, "c", "a", "b")
    rows = load(tmp_path)
    report = Report.model_validate_json((tmp_path / "report.json").read_bytes())

    assert [row.completion for row in rows] == ["C", "A", "B"]
    assert [row.task for row in rows] == ["c:Describe", "a:Describe", "b:Describe"]
    assert outcome.artefacts == [COMPLETIONS_FILE]
    assert outcome.summary["tokens"] == 6
    assert report.progress.total_steps == 3
    request = endpoint.requests[0]
    assert request["messages"][0] == {"role": "system", "content": "be brief"}
    settings = ("model", "temperature", "seed", "max_tokens", "stop")
    assert [request[name] for name in settings] == ["tiny", 0, 7, 9, ["\n```"]]


def test_outages_are_waited_out(tmp_path: Path, endpoint: Endpoint) -> None:
    """A hung-up line, a server error and a busy server are asked again, others are not."""
    busy = (429, {"error": {"message": "busy"}})
    endpoint.script = {"a": [None, (503, {"error": {"message": "restarted"}}), busy]}
    run(tmp_path, endpoint, "a", "b")

    assert [row.completion for row in load(tmp_path)] == ["A", "B"]
    assert sorted(endpoint.prompts) == ["a", "a", "a", "a", "b"]


def test_what_is_too_long_is_lost_not_fatal(tmp_path: Path, endpoint: Endpoint) -> None:
    """A task that does not fit the model counts as an empty completion, and is counted."""
    endpoint.script = {"a": [(400, OVERFLOW)]}
    outcome = run(tmp_path, endpoint, "a", "b")

    assert [(row.completion, row.finish_reason) for row in load(tmp_path)] == [
        ("", "refused"),
        ("B", "stop"),
    ]
    assert outcome.summary["refused"] == 1


def test_other_refusals_end_the_stage(tmp_path: Path, endpoint: Endpoint) -> None:
    """A request that the endpoint does not take is the user's to mend; finished work is kept."""
    endpoint.script = {"b": [(404, {"error": {"message": "model `tiny` does not exist"}})]}
    with pytest.raises(InputError, match=r"`b:Describe`.*does not exist"):
        run(tmp_path, endpoint, "a", "b", "c", concurrency=1)

    (partial,) = (tmp_path / "generate/g").glob(f"{PARTIAL_PREFIX}*.jsonl")

    assert [row.completion for row in load(tmp_path, partial.name)] == ["A"]
    assert not (tmp_path / "generate/g" / COMPLETIONS_FILE).exists()


def test_a_broken_answer_may_be_retried(tmp_path: Path, endpoint: Endpoint) -> None:
    """An answer without a choice ends the attempt; the next one asks only for what is left."""
    endpoint.script = {"b": [(200, {**build_answer(""), "choices": []})]}
    with pytest.raises(RetryableError, match="without `choices`"):
        run(tmp_path, endpoint, "a", "b", concurrency=1)
    run(tmp_path, endpoint, "a", "b")

    assert endpoint.prompts == ["a", "b", "b"]


def test_an_absent_endpoint_is_named(tmp_path: Path) -> None:
    """Where nobody listens for long, the stage says where, and may be retried."""
    gone = Endpoint()
    gone.close()
    context = build_context(tmp_path, gone, ("a",))

    with pytest.raises(RetryableError, match=gone.url):
        run_generate(build_config(), context, patience=Patience(2, 0.01, 0.01))


def test_no_endpoint_and_no_tasks_are_mistakes(tmp_path: Path, endpoint: Endpoint) -> None:
    """What the stage cannot do without is named."""
    with pytest.raises(InputError, match="endpoint"):
        run_generate(build_config(), build_context(tmp_path, None, ("a",)))
    with pytest.raises(InputError, match="must have tasks"):
        run(tmp_path, endpoint)


def test_kill_costs_what_was_under_way(tmp_path: Path, endpoint: Endpoint) -> None:
    """After kill -9 the next attempt asks only for what was not on the disk."""
    users = tuple("abcdefgh")
    context = build_context(tmp_path, endpoint, users)
    document = tmp_path / "stage.json"
    config = build_config(concurrency=1)
    document.write_text(
        StageDocument(config=config, runtime=context.runtime).model_dump_json(by_alias=True)
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "tunebench_jobs", "stage", "--config", document]
    )
    deadline = time.monotonic() + 60
    while _load_partial(context).count(b"\n") < 3:
        assert time.monotonic() < deadline
        if len(endpoint.requests) >= 4:
            endpoint.open.clear()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    endpoint.open.set()
    (partial,) = context.output.glob(f"{PARTIAL_PREFIX}*.jsonl")
    with partial.open("ab") as file:
        file.write(b'{"task": "d:Desc')
    kept = [user for user in users if f'"{user}:Describe"'.encode() in _load_partial(context)]
    before = len(endpoint.prompts)
    run_generate(config, context)

    assert [row.completion for row in load(tmp_path)] == [user.upper() for user in users]
    assert set(endpoint.prompts[before:]) == set(users) - set(kept)
    assert _load_partial(context).count(b"\n") == len(users)


def _load_partial(context: StageContext) -> bytes:
    """Return what all attempts left of their completions."""
    files = context.output.glob(f"{PARTIAL_PREFIX}*.jsonl")
    return b"".join(file.read_bytes() for file in files)
