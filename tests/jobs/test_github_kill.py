"""A collector that is killed goes on where it was, and its token is nowhere to be found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from github_server import Fault, GitHubServer
from github_world import make_repository

from tunebench_jobs.data.load import load_rows

pytestmark = pytest.mark.jobs

TOKEN = "ghp_0123456789abcdefTEST"  # noqa: S105 - of the test
KILLS = 10
# Each pull request of these is asked for twice, by as many workers.
_IN_FLIGHT = 8


def start(server: GitHubServer, folder: Path, **fields: Any) -> subprocess.Popen[str]:
    """Start the collector as the command line does."""
    source = {"apiBase": server.url, "secretRef": {"name": "github", "key": "SHOP_TOKEN"}}
    source |= {"repositories": ["acme/shop", "acme/tools"], **fields}
    command = [sys.executable, "-P", "-m", "tunebench_jobs", "dataset-collect", "-o", "json"]
    command += ["--source", json.dumps(source), "--field=spec.dataset.train.gitHub"]
    command += ["--store", str(folder / "store"), "--out", str(folder / "out.jsonl")]
    return subprocess.Popen(
        command,
        env={**os.environ, "SHOP_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ten_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """SIGKILL at ten moments, from the first request to among the last; limits hold throughout."""
    server = GitHubServer(make_repository(7, "acme/shop", 60), make_repository(8, "acme/tools", 60))
    # Tight, so that some are killed while they wait.
    server.limits["core"], server.latency = (40, 3.0), 0.01
    # 4 of each repository, and 2 of each of 96 pull requests.
    moments = [1 + round(number * 19) for number in range(KILLS)]
    running: list[subprocess.Popen[str]] = []

    def kill(_: str) -> None:
        if moments and len(server.asked) >= moments[0]:
            moments.pop(0)
            running[-1].send_signal(signal.SIGKILL)

    server.before = kill
    codes: list[int] = []
    while not codes or codes[-1] == -signal.SIGKILL:
        running.append(start(server, tmp_path))
        out, errors = running[-1].communicate(timeout=120)
        codes.append(running[-1].returncode)
        assert len(codes) <= KILLS + 1, errors
    server.close()
    summary = json.loads(out)
    rows = [row.pr.id for row in load_rows(tmp_path / "out.jsonl", "uri")]
    details = Counter(
        each.path for each in server.asked if each.status == 200 and "/pulls/" in each.path
    )

    assert codes == [-signal.SIGKILL] * KILLS + [0], errors
    assert rows == [
        f"acme/{name}#{number}"
        for name in ("shop", "tools")
        for number in range(60, 0, -1)
        if number % 5
    ]
    assert summary["pulls_kept"] == len(rows) == 96
    assert server.breaches == []
    # Only what was under way is asked again.
    assert len(details) == 2 * 96
    assert sum(details.values()) <= 2 * 96 + KILLS * 2 * _IN_FLIGHT
    assert not list(tmp_path.glob(".out*"))


def test_a_pause_that_github_asked_for_outlives_the_process(tmp_path: Path) -> None:
    """Whoever goes on after a kill does not ask during it."""
    server = GitHubServer(make_repository(7, "acme/shop", 10), make_repository(8, "acme/tools", 5))
    server.faults = [Fault("secondary", r"/pulls\?", seconds=4.0, status=403)]
    first = start(server, tmp_path)
    pause = tmp_path / "store"
    while not list(pause.rglob(".paused")):
        assert first.poll() is None
    first.kill()
    first.communicate()
    second = start(server, tmp_path)
    _, errors = second.communicate(timeout=60)
    server.close()

    assert second.returncode == 0, errors
    assert server.breaches == []


def test_the_token_is_in_no_output(tmp_path: Path) -> None:
    """Not in what is printed, logged, kept or written, whether it works or is refused."""
    server = GitHubServer(make_repository(7, "acme/shop", 5), make_repository(8, "acme/tools", 5))
    server.faults = [
        Fault("status", "/languages", status=500),
        Fault("dropped", r"/pulls\?"),
        Fault("html", "/files"),
    ]
    said = list(start(server, tmp_path).communicate(timeout=60))
    server.tokens = {"another"}
    refused = start(server, tmp_path)
    said += refused.communicate(timeout=60)
    server.close()
    problem = json.loads(said[2])["problems"][0]

    assert refused.returncode == 2
    assert problem["field"] == "spec.dataset.train.gitHub.secretRef"
    assert {each.token for each in server.asked} == {TOKEN}
    assert not any(TOKEN in text for text in said)
    assert not any(TOKEN in each.path for each in server.asked)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert not any(TOKEN.encode() in path.read_bytes() for path in kept)


def test_what_cannot_be_written_is_known_before_anything_is_asked(tmp_path: Path) -> None:
    """Hours of collecting must not end with it."""
    server = GitHubServer(make_repository(7, "acme/shop", 6), make_repository(8, "acme/tools", 6))
    blocked = tmp_path / "blocked"
    blocked.touch()
    running = start(server, blocked)
    _, said = running.communicate(timeout=120)
    server.close()

    assert running.returncode == 2
    assert "must be a path that can be used" in said
    assert server.asked == []
