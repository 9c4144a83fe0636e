"""Processes of the local backend: none outlives its run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tunebench_operator.local.processes import (
    build_command,
    kill_left_by,
    kill_marked,
    start_child,
    stop_child,
)

pytestmark = pytest.mark.jobs

# A child with a grandchild that has left the session, as Ray's processes do.
MARK = "one-supervisor"
FAMILY = (
    "import subprocess, sys, time;"
    "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    " start_new_session=True);"
    "print(p.pid, flush=True); time.sleep(600)"
)
# A supervisor that starts the guard and a child, says the child's id and waits to be killed.
SUPERVISOR = (
    "import sys, time; from pathlib import Path;"
    "from tunebench_operator.local.processes import start_child, start_guard;"
    "run = Path(sys.argv[1]);"
    "guard = start_guard(sys.argv[3]);"
    "child = start_child([sys.executable, '-c', sys.argv[2]], run_dir=run,"
    " token=sys.argv[3], log=run / 'log');"
    "print(child.pid, flush=True); time.sleep(600)"
)


def wait_until_gone(pids: list[int]) -> None:
    """Poll until no process of `pids` lives, or fail after 20 seconds."""
    deadline = time.monotonic() + 20
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < deadline, f"processes {pids} must end"
        time.sleep(0.05)


def wait_for_pid(log: Path) -> int:
    """Poll until the child has written the id of its own child."""
    deadline = time.monotonic() + 20
    while not (log.exists() and log.read_text().strip().isdigit()):
        assert time.monotonic() < deadline, "the child must say the id of its child"
        time.sleep(0.05)
    return int(log.read_text())


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_files_of_the_working_directory_are_no_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's `random.py` is not run in place of Python's, neither by a child nor by its own."""
    (tmp_path / "random.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    inner = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-m', 'random']))"
    commands = [build_command("tunebench_jobs", "--help"), [sys.executable, "-P", "-c", inner]]
    logs = [tmp_path / f"log-{number}" for number in range(len(commands))]
    children = [
        start_child(command, run_dir=tmp_path, token=MARK, log=log)
        for command, log in zip(commands, logs, strict=True)
    ]

    assert [child.wait(60) for child in children] == [0, 0]
    assert not any("shadowed" in log.read_text() for log in logs)


def test_stopping_a_child_takes_its_family(tmp_path: Path) -> None:
    """A stopped child leaves no process, even where one has a session of its own."""
    log = tmp_path / "log"
    child = start_child([sys.executable, "-c", FAMILY], run_dir=tmp_path, token=MARK, log=log)
    grandchild = wait_for_pid(log)

    stop_child(child)

    wait_until_gone([child.pid, grandchild])


def test_a_killed_child_leaves_no_family(tmp_path: Path) -> None:
    """What a child that died left is found by the child's log, and its sibling lives on."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", FAMILY]
    child = start_child(command, run_dir=tmp_path, token=MARK, log=log)
    sibling = start_child(command, run_dir=tmp_path, token=MARK, log=tmp_path / "sibling")
    grandchild = wait_for_pid(log)
    child.kill()
    child.wait()

    killed = kill_left_by(log)

    wait_until_gone([grandchild])
    assert killed == 1
    assert sibling.poll() is None
    stop_child(sibling)


def test_an_orphan_is_found_by_its_mark(tmp_path: Path) -> None:
    """What a killed supervisor left is found at the next start, and nothing else is touched."""
    other = tmp_path / "other"
    other.mkdir()
    log = tmp_path / "log"
    child = start_child([sys.executable, "-c", FAMILY], run_dir=tmp_path, token=MARK, log=log)
    stranger = start_child(
        [sys.executable, "-c", FAMILY], run_dir=other, token=MARK, log=other / "log"
    )
    grandchild = wait_for_pid(log)

    killed = kill_marked(tmp_path)

    child.wait()
    wait_until_gone([child.pid, grandchild])
    assert killed == 2
    assert stranger.poll() is None
    stop_child(stranger)


def test_a_killed_supervisor_leaves_no_process(tmp_path: Path) -> None:
    """`kill -9` of the supervisor ends its children and their children at once."""
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), FAMILY, "token-of-a-test"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        grandchild = wait_for_pid(tmp_path / "log")
        os.kill(supervisor.pid, signal.SIGKILL)

    wait_until_gone([child, grandchild])
