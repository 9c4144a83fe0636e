"""The serve stage as a process: it says where it answers, survives a dead replica, and leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from make_served import add_manifest, save_adapter, save_full, save_lively_base

from tunebench_api.contract import (
    Base,
    GenerateConfig,
    Report,
    Runtime,
    ServeConfig,
    ServedVariant,
    StageDocument,
)
from tunebench_api.v1alpha1 import GenerationSpec, Tool, TuningMethod
from tunebench_jobs.context import StageContext
from tunebench_jobs.errors import InputError, JobError
from tunebench_jobs.generate import run_generate
from tunebench_jobs.records import Completion, Task, dump_jsonl, load_jsonl
from tunebench_jobs.serve.application import build
from tunebench_jobs.serve.stage import build_model
from tunebench_jobs.train.layout import CHECKPOINT_FOLDER

pytestmark = [
    pytest.mark.jobs,
    # PEFT asks transformers in the old way.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

START_SECONDS = 150
USERS = ["fix the pager", "add retries to the client", "rename a file"]


@dataclass(frozen=True)
class Store:
    """A store with a base model, two adapters and a full checkpoint."""

    path: Path
    base: Path

    def build_config(self, *variants: str | None) -> ServeConfig:
        """Return a config that serves train outputs by name; None is the base."""
        return ServeConfig(
            base=Base(base=str(self.base)),
            variants=tuple(
                ServedVariant(name=name or "base", checkpoint=f"train/{name}" if name else None)
                for name in variants
            ),
            batch_size=4,
            seed=0,
        )

    def build_context(self, output: str, **runtime: Any) -> StageContext:
        """Return the context of a stage; its output folder exists."""
        (self.path / output).mkdir(parents=True, exist_ok=True)
        report = str(self.path / output / "report.json")
        return StageContext(
            Runtime(store=str(self.path), output=output, report=report, cpus=1, **runtime)
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store that training might have left."""
    path = tmp_path_factory.mktemp("store")
    base = save_lively_base(path / "base")
    for seed, name in enumerate(("one", "two")):
        folder = save_adapter(base, path / "train" / name / CHECKPOINT_FOLDER, seed=seed)
        add_manifest(folder, base, path, TuningMethod.LORA)
    full = save_full(base, path / "train" / "full" / CHECKPOINT_FOLDER, seed=3)
    add_manifest(full, base, path, TuningMethod.FULL)
    return Store(path, base)


@dataclass(frozen=True)
class Server:
    """A running serve stage."""

    process: subprocess.Popen[bytes]
    report: Path
    endpoint: str

    @property
    def client(self) -> openai.OpenAI:
        """Return OpenAI's own client."""
        return openai.OpenAI(base_url=self.endpoint, api_key="none", max_retries=0)

    def ask(self, model: str, user: str = USERS[0], **more: Any) -> str:
        """Return a greedy completion."""
        with self.client as client:
            answer = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": user}],
                max_tokens=16,
                temperature=0,
                **more,
            )
        return answer.choices[0].message.content or ""


@pytest.fixture(scope="module")
def server(store: Store) -> Iterator[Server]:
    """Start a server for the base with both adapters."""
    started = start(store, store.build_config(None, "one", "two"), "serve/mixed")
    yield started
    stop(started)


def start(store: Store, config: ServeConfig, output: str) -> Server:
    """Start a serve stage and wait until it says that it is ready."""
    context = store.build_context(output)
    document = store.path / output / "stage.json"
    document.write_text(
        StageDocument(config=config, runtime=context.runtime).model_dump_json(by_alias=True)
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "tunebench_jobs", "stage", "--config", document],
        start_new_session=True,
    )
    report = Path(context.runtime.report)

    def find_endpoint() -> str | None:
        assert process.poll() is None, "the stage ended"
        if not report.is_file():
            return None
        return Report.model_validate_json(report.read_bytes()).progress.endpoint

    return Server(process, report, str(wait_for(find_endpoint, START_SECONDS)))


def stop(server: Server) -> tuple[float, list[psutil.Process]]:
    """End a server with SIGTERM; return the seconds it took and the processes that are left."""
    family = psutil.Process(server.process.pid).children(recursive=True)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)
    seconds = time.monotonic() - began
    _, left = psutil.wait_procs(family, timeout=3)
    return seconds, left


def wait_for(find: Callable[[], Any], seconds: float) -> Any:
    """Return the first result that is not empty, within a deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := find():
            return found
        time.sleep(0.2)
    pytest.fail(f"nothing came within {seconds} s")


def save_tasks(store: Store, *users: str) -> str:
    """Write a data stage's output, and return its reference."""
    folder = store.path / "data" / "tasks"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        Task(
            id=f"acme/x#{number}:Describe",
            pr=f"acme/x#{number}",
            repository="acme/x",
            language="Python",
            tool=Tool.DESCRIBE,
            system="",
            user=user,
        )
        for number, user in enumerate(users)
    ]
    (folder / "eval.jsonl").write_text(dump_jsonl(rows))
    return "data/tasks"


def test_variants_answer_differently_side_by_side(server: Server) -> None:
    """The base and its adapters are listed, and each answers in its own way, also in a stream."""
    with server.client as client:
        names = [model.id for model in client.models.list()]
    texts = {name: server.ask(name) for name in names}
    with server.client as client:
        stream = client.chat.completions.create(
            model="one",
            messages=[{"role": "user", "content": USERS[0]}],
            max_tokens=16,
            temperature=0,
            stream=True,
        )
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert names == ["base", "one", "two"]
    assert len(set(texts.values())) == 3
    assert streamed == texts["one"]


def test_errors_come_through(server: Server) -> None:
    """The server's own errors reach the client through Ray Serve as they are."""
    with pytest.raises(openai.NotFoundError, match="`nope` does not exist"):
        server.ask("nope")
    with pytest.raises(openai.BadRequestError, match="`top_k` is not supported yet"):
        server.ask("one", extra_body={"top_k": 3})


def test_generate_asks_the_server(server: Server, store: Store) -> None:
    """Generate stores for every task what the server answers; one that is too long is refused."""
    data = save_tasks(store, *USERS, "far too long " * 1000)
    context = store.build_context("generate/one", endpoint=server.endpoint, served_name="one")
    config = GenerateConfig(
        data=data,
        base=Base(base=str(store.base)),
        checkpoint="train/one",
        generation=GenerationSpec(max_tokens=16, concurrency=4),
        seed=0,
    )
    outcome = run_generate(config, context)
    rows = list(load_jsonl(context.output / "completions.jsonl", Completion))

    assert [row.completion for row in rows[:3]] == [
        server.ask("one", user, stop=["\n```"]) for user in USERS
    ]
    assert (rows[3].completion, rows[3].finish_reason) == ("", "refused")
    assert outcome.summary["refused"] == 1
    assert outcome.summary["tasks"] == 4


def test_a_dead_replica_is_replaced(server: Server) -> None:
    """After a kill -9 of the replica the same server answers again, with the same words."""
    before = server.ask("two")
    family = psutil.Process(server.process.pid).children(recursive=True)
    (replica,) = [child for child in family if "ServeReplica" in " ".join(child.cmdline())]
    replica.kill()

    def ask_again() -> str | None:
        try:
            return server.ask("two")
        except openai.APIError:
            return None

    assert wait_for(ask_again, START_SECONDS) == before


def test_sigterm_leaves_nothing_behind(store: Store) -> None:
    """A fully tuned checkpoint is served, and SIGTERM ends server, replica and Ray within 5 s."""
    server = start(store, store.build_config("full"), "serve/full")
    text = server.ask("full")
    seconds, left = stop(server)

    assert text
    assert left == []
    assert server.process.returncode == 128 + signal.SIGTERM
    assert seconds < 5 * (1 + os.getloadavg()[0] / (os.cpu_count() or 1))
    assert not (store.path / "serve/full/result.json").exists()


def test_full_checkpoint_is_served_alone(store: Store) -> None:
    """Other weights cannot share a server with adapters."""
    with pytest.raises(InputError, match="`full`"):
        build_model(store.build_config("full", "one"), store.build_context("serve/both"))


def test_broken_checkpoint_is_refused(store: Store, tmp_path: Path) -> None:
    """A checkpoint whose base has changed since is refused before anything starts."""
    folder = store.path / "train" / "stale" / CHECKPOINT_FOLDER
    save_adapter(store.base, folder, seed=9)
    add_manifest(folder, save_lively_base(tmp_path / "other"), store.path, TuningMethod.LORA)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["facts"]["base_digest"] = "0" * 64
    path.write_text(json.dumps(manifest))

    with pytest.raises(InputError, match="trained from other weights"):
        build_model(store.build_config("stale"), store.build_context("serve/stale"))


@contextmanager
def deployed(store: Store, document: Path) -> Iterator[str]:
    """Let Ray Serve's own program deploy a stage document, and yield the endpoint."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    application = {
        "name": "tunebench",
        "route_prefix": "/",
        "import_path": "tunebench_jobs.serve.application:build",
        "args": {"config": str(document)},
    }
    config = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [application],
    }
    (store.path / "serve.yaml").write_text(json.dumps(config))
    settings = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ray.serve.scripts", "run", str(store.path / "serve.yaml")],
        start_new_session=True,
        env={**os.environ, **settings},
    )
    endpoint = f"http://127.0.0.1:{port}/v1"

    def answers() -> bool:
        assert process.poll() is None, "Ray Serve ended"
        with suppress(httpx.HTTPError):
            return httpx.get(f"{endpoint}/models", trust_env=False).is_success
        return False

    try:
        wait_for(answers, START_SECONDS)
        yield endpoint
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, left = psutil.wait_procs(family, timeout=30)
        for each in left:
            each.kill()
        process.wait(60)


def test_a_ray_service_builds_the_same_application(store: Store, server: Server) -> None:
    """What Ray Serve deploys from KubeRay's settings answers as the stage of a laptop does."""
    context = store.build_context("serve/service")
    document = store.path / "service.json"
    config = store.build_config(None, "one", "two")
    document.write_text(
        StageDocument(config=config, runtime=context.runtime).model_dump_json(by_alias=True)
    )
    with deployed(store, document) as endpoint:
        service = Server(server.process, server.report, endpoint)
        texts = [service.ask(name) for name in ("base", "one", "two")]

    assert texts == [server.ask(name) for name in ("base", "one", "two")]


def test_what_a_ray_service_cannot_serve_is_reported(store: Store) -> None:
    """Ray Serve would only say that it failed; the report says why, and that it is final."""
    context = store.build_context("serve/absent")
    document = store.path / "absent.json"
    config = store.build_config("absent")
    document.write_text(
        StageDocument(config=config, runtime=context.runtime).model_dump_json(by_alias=True)
    )
    with pytest.raises(JobError):
        build({"config": str(document)})
    report = Report.model_validate_json(Path(context.runtime.report).read_bytes())

    assert report.result is not None
    assert report.result.state == "Failed"
    assert "absent" in report.result.message
