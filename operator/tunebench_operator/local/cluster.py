"""Children as processes: observes them, starts what is desired and stops what is not.

Each attempt has a folder `<store>/runs/<run>/children/<child>/` with its document, its report and
its log. The report says how it ended; where a child could not say it, it is written here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import IO

from pydantic import TypeAdapter, ValidationError

from tunebench_api.contract import (
    RESULT_FILE,
    Report,
    ResultState,
    Runtime,
    StageDocument,
    StageKind,
    StageResult,
)
from tunebench_api.sizing.shape import ModelShape
from tunebench_api.v1alpha1 import BenchmarkRunStatus
from tunebench_operator import reasons
from tunebench_operator.errors import RunLockedError, UserError
from tunebench_operator.local.place import StorePlace
from tunebench_operator.local.processes import (
    STOP_GRACE_SECONDS,
    build_command,
    kill_left_by,
    kill_marked,
    start_child,
    start_guard,
    stop_child,
)
from tunebench_operator.machines import DEFAULT_POOL, Machines
from tunebench_operator.observed import Attempt, Observed
from tunebench_operator.plan import Child

_LOG_TAIL_BYTES = 2000
_IDENTITY = TypeAdapter(dict[str, str | int])


class LocalCluster:
    """The processes and folders of one run; holds the run's lock while it lives."""

    def __init__(
        self,
        place: StorePlace,
        run: str,
        *,
        prompts_dir: Path,
        machines: Machines | None = None,
        shapes: Mapping[str, ModelShape] = MappingProxyType({}),
    ) -> None:
        """Take the run's lock and clear what a killed predecessor left.

        Raises:
            RunLockedError: Another process drives this run.
            UserError: The store cannot be written.
        """
        self._store = place.root.resolve()
        self._place = place
        self._prompts_dir = prompts_dir
        self._machines = {DEFAULT_POOL: machines} if machines else {}
        self._shapes = shapes
        self.run_dir = self._store / "runs" / run
        self._children = self.run_dir / "children"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stored: dict[str, StageResult] = {}
        self._reports: dict[Path, tuple[tuple[int, int, int], Report]] = {}
        self._lock = self._take_lock()
        kill_marked(self.run_dir)
        self._token = secrets.token_hex(8)
        self._guard = start_guard(self._token)
        self._forgive()

    @staticmethod
    def peek(
        store: Path,
        run: str,
        sources: dict[str, str],
        machines: Machines | None = None,
        shapes: Mapping[str, ModelShape] = MappingProxyType({}),
    ) -> Observed:
        """Read which results lie in the store, without driving the run."""
        return Observed(
            stored=_load_stored(store, {}),
            sources=sources,
            previous=load_status(store / "runs" / run),
            machines={DEFAULT_POOL: machines} if machines else {},
            shapes=shapes,
        )

    def observe(self, sources: dict[str, str]) -> Observed:
        """Read how every attempt stands and which results lie in the store."""
        attempts: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
        for folder in sorted(self._children.iterdir()):
            identity = _load_identity(folder)
            if identity is not None:
                key = (str(identity["key"]), str(identity["digest"]))
                attempts[key].append(self._observe_child(folder, int(identity["attempt"])))
        ordered = {
            key: tuple(sorted(found, key=lambda attempt: attempt.number))
            for key, found in attempts.items()
        }
        return Observed(
            ordered,
            dict(_load_stored(self._store, self._stored)),
            sources,
            self.load_status(),
            self._machines,
            self._shapes,
        )

    def apply(self, desired: Iterable[Child]) -> None:
        """Start what is desired and does not run; stop what runs and is not desired."""
        wanted = {child.name: child for child in desired}
        for name in [name for name in self._processes if name not in wanted]:
            self._stop(name)
        for name, child in wanted.items():
            if name not in self._processes:
                self._start(child)

    def close(self) -> None:
        """Stop every child, say goodbye to the guard and give the lock back."""
        for name in list(self._processes):
            self._stop(name)
        kill_marked(self.run_dir)
        self._guard.communicate(b"done")
        self._lock.close()

    def load_status(self) -> BenchmarkRunStatus | None:
        """Return the status that was saved last."""
        return load_status(self.run_dir)

    def save_status(self, status: BenchmarkRunStatus) -> None:
        """Save the status atomically, if it differs."""
        if status != self.load_status():
            _save(self.run_dir / "status.json", status.model_dump_json(by_alias=True, indent=1))

    def log_of(self, child: str) -> Path:
        """Return where a child's output goes."""
        return self._children / child / "log.txt"

    def _take_lock(self) -> IO[str]:
        try:
            self._children.mkdir(parents=True, exist_ok=True)
            lock = (self.run_dir / "lock").open("w")
        except OSError as error:
            msg = f"the store `{self._store}` must be a folder that can be written: {error}"
            raise UserError(msg) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            msg = (
                f"run `{self.run_dir.name}` is driven by another process; wait for it to end, "
                "or give this run another name or another --store"
            )
            raise RunLockedError(msg) from error
        return lock

    def _forgive(self) -> None:
        """Let attempts that failed before this start count as interrupted.

        The user started anew, so perhaps mended what was wrong.
        """
        for folder in self._children.iterdir():
            report, identity = self._load_report(folder), _load_identity(folder)
            if identity is None:
                continue
            # The preflight looks at keys and models, which may have changed since.
            again = identity["key"] == StageKind.PREFLIGHT
            if again or report.result is None or report.result.state is ResultState.FAILED:
                message = report.result.message if report.result else "the run was stopped"
                self._end(folder, reasons.INTERRUPTED, message)

    def _observe_child(self, folder: Path, number: int) -> Attempt:
        process = self._processes.get(folder.name)
        code = process.poll() if process else None
        report = self._load_report(folder)
        if report.result is None and code is not None:
            report = self._end(folder, *_describe_exit(code, folder / "log.txt"))
        if process and code is None and report.result and _is_overdue(folder / "report.json"):
            stop_child(process)
            code = process.returncode
        # A child that has written its result may take a moment to leave; it runs until it has.
        ended = report.result if process is None or code is not None else None
        if code is not None:
            del self._processes[folder.name]
            # What Ray started outlives a stage that was killed.
            kill_left_by(folder / "log.txt")
        return Attempt(number, report.progress, ended)

    def _start(self, child: Child) -> None:
        folder = self._children / child.name
        folder.mkdir(parents=True, exist_ok=True)
        # A supervisor that was killed in this very function may have left one.
        (folder / "report.json").unlink(missing_ok=True)
        runtime = Runtime(
            store=self._place.uri or str(self._store),
            scratch=str(self._store) if self._place.uri else None,
            output=child.output,
            report=str(folder / "report.json"),
            endpoint=child.endpoint,
            served_name=child.served_name,
            spent_usd=child.spent_usd,
            absent_judges=child.absent_judges,
            prompts_dir=str(self._prompts_dir),
            attempt=child.attempt,
            cpus=os.cpu_count(),
            sizing=child.sizing,
        )
        document = StageDocument(config=child.config, runtime=runtime)
        _save(folder / "document.json", document.model_dump_json(by_alias=True, indent=1))
        config = str(folder / "document.json")
        command = build_command("tunebench_jobs", "stage", "--config", config)
        # The identity comes last: without it the folder is no attempt.
        self._processes[child.name] = start_child(
            command,
            run_dir=self.run_dir,
            token=self._token,
            log=folder / "log.txt",
            environment=self._place.environment,
        )
        identity = {"key": child.key, "digest": child.digest, "attempt": child.attempt}
        _save(folder / "child.json", json.dumps(identity))

    def _stop(self, name: str) -> None:
        process = self._processes.pop(name)
        stop_child(process)
        folder = self._children / name
        if self._load_report(folder).result is None:
            self._end(folder, reasons.INTERRUPTED, "stopped by the supervisor")

    def _end(self, folder: Path, reason: str, message: str) -> Report:
        """Write the result of a child that could not write one, or that counts no more."""
        report = self._load_report(folder)
        result = StageResult(
            state=ResultState.FAILED,
            reason=reason,
            message=message,
            retryable=True,
            finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        ended = Report(progress=report.progress, result=result)
        _save(folder / "report.json", ended.model_dump_json(by_alias=True))
        return ended

    def _load_report(self, folder: Path) -> Report:
        path = folder / "report.json"
        try:
            facts = path.stat()
            # Times alone are too coarse: two reports may come within one tick.
            stamp = (facts.st_mtime_ns, facts.st_ino, facts.st_size)
            cached = self._reports.get(path)
            if cached is None or cached[0] != stamp:
                cached = (stamp, Report.model_validate_json(path.read_bytes()))
                self._reports[path] = cached
        except (FileNotFoundError, ValidationError):
            # A damaged report says no more than none.
            return Report()
        return cached[1]


def _load_stored(store: Path, known: dict[str, StageResult]) -> dict[str, StageResult]:
    """Return results by output folder; a result never changes, so each is read once."""
    for kind in StageKind:
        for path in (store / kind).glob(f"*/{RESULT_FILE}"):
            output = f"{kind}/{path.parent.name}"
            if output not in known:
                known[output] = _load_result(path)
    return known


def _load_result(path: Path) -> StageResult:
    try:
        return StageResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        msg = (
            f"`{path}` must be a stage's result, but is damaged; remove its folder and start again"
        )
        raise UserError(msg) from error


def load_status(run_dir: Path) -> BenchmarkRunStatus | None:
    """Return the status that a run saved last."""
    path = run_dir / "status.json"
    try:
        return BenchmarkRunStatus.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        # It is derived: the next step writes it anew.
        return None


def load_saved_status(run_dir: Path) -> BenchmarkRunStatus | None:
    """Return the status that a run saved last; nothing where there is no such run.

    Raises:
        UserError: There is one that cannot be read.
    """
    status = load_status(run_dir)
    path = run_dir / "status.json"
    if status is None and path.is_file():
        msg = (
            f"`{path}` must be the status of a run of this version, and cannot be read; start the "
            "run again, which writes it anew"
        )
        raise UserError(msg)
    return status


def _describe_exit(code: int, log: Path) -> tuple[str, str]:
    """Return reason and message for a child that ended without a result."""
    tail = ""
    with contextlib.suppress(OSError):
        tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
    last = tail.splitlines()[-1] if tail else "no output"
    if code == -signal.SIGKILL:
        return reasons.KILLED, f"killed by the system, perhaps out of memory; last output: {last}"
    return reasons.CRASHED, f"ended with code {code} and no result; last output: {last}"


def _load_identity(folder: Path) -> dict[str, str | int] | None:
    try:
        return _IDENTITY.validate_json((folder / "child.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _is_overdue(report: Path) -> bool:
    return time.time() - report.stat().st_mtime > STOP_GRACE_SECONDS


def _save(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
