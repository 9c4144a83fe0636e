"""Processes of a run: start them, stop them, and leave none behind.

Every child carries the run's folder in its environment. Whatever is found with that mark, and all
that descends from it, belongs to the run: that is how the processes which Ray starts are found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import psutil

RUN_MARK = "TUNEBENCH_RUN_DIR"
SUPERVISOR_MARK = "TUNEBENCH_SUPERVISOR"
LOG_MARK = "TUNEBENCH_CHILD_LOG"
STOP_GRACE_SECONDS = 10.0


def build_command(module: str, *arguments: str) -> list[str]:
    """Build the command of a module of ours; the working directory's files are no modules of it."""
    # Else a `random.py` or `queue.py` there would be run in place of Python's own.
    return [sys.executable, "-P", "-m", module, *arguments]


def start_child(
    command: Sequence[str],
    *,
    run_dir: Path,
    token: str,
    log: Path,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that Ctrl-C reaches the supervisor alone."""
    # Without bytecode files every Ray worker would compile all that it imports anew.
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    variables |= {
        **environment,
        RUN_MARK: str(run_dir),
        SUPERVISOR_MARK: token,
        LOG_MARK: str(log),
        "PYTHONUNBUFFERED": "1",
        # As in `build_command`, for all that the child starts.
        "PYTHONSAFEPATH": "1",
    }
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )


def start_guard(token: str) -> subprocess.Popen[bytes]:
    """Start the process that outlives a killed supervisor and then clears its processes.

    It knows them by the supervisor's token, so that it spares those of the next start. Its standard
    input is a pipe that closes with the supervisor, however that one ends.
    """
    command = build_command("tunebench_operator.local.guard", token)
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, stdin=subprocess.PIPE, start_new_session=True
    )


def stop_child(process: subprocess.Popen[bytes]) -> None:
    """Ask a child to end, then end it and all that it started."""
    family = _with_descendants([process.pid])
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    kill_all(family)


def kill_left_by(log: Path) -> int:
    """Kill what a child that ended by itself left; its log names it. Return how many there were."""
    return kill_all(_with_descendants(_marked(LOG_MARK, str(log))))


def kill_marked(run_dir: Path) -> int:
    """Kill every process of the run and return how many there were."""
    return kill_all(_with_descendants(_marked(RUN_MARK, str(run_dir))))


def kill_children_of(token: str) -> int:
    """Kill every process of one supervisor and return how many there were."""
    return kill_all(_with_descendants(_marked(SUPERVISOR_MARK, token)))


def kill_all(processes: Iterable[psutil.Process]) -> int:
    """Kill processes and wait until they are gone; return how many were still alive."""
    alive = [process for process in processes if process.is_running()]
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_GRACE_SECONDS)
    return len(alive)


def _marked(mark: str, value: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(mark) == value and process.pid != os.getpid():
                found.append(process.pid)
    return found


def _with_descendants(pids: Iterable[int]) -> list[psutil.Process]:
    family: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            family[pid] = process
            family |= {each.pid: each for each in process.children(recursive=True)}
    return list(family.values())
