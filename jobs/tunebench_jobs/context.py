"""What a stage gets besides its config: folders, and a place to report to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tunebench_api.contract import Artefact, Progress, Report, Runtime, StageResult
from tunebench_jobs.journal import Journal
from tunebench_jobs.reports import Sink, open_sink
from tunebench_jobs.storage.bucket import open_bucket
from tunebench_jobs.storage.mirror import Mirror
from tunebench_jobs.storage.sources import cache_dir


@dataclass(frozen=True)
class Outcome:
    """What a stage did; `artefacts` are paths relative to its output folder."""

    message: str
    artefacts: Sequence[str] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    # Artefacts that another process has sent to the store already, perhaps from another machine.
    sent: Sequence[Artefact] = ()


@dataclass(frozen=True)
class StageContext:
    """Folders and the report of one attempt of one stage."""

    runtime: Runtime
    # The last report, because what was spent must still be told at the end.
    _reported: list[Progress] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def store(self) -> Path:
        """Root of the artefact store, or of this machine's copy of it."""
        return Path(self.runtime.store) if self.mirror is None else self.mirror.folder

    @cached_property
    def mirror(self) -> Mirror | None:
        """The tie between this machine's copy and a store that lies elsewhere."""
        bucket = open_bucket(self.runtime.store)
        if bucket is None:
            return None
        scratch = self.runtime.scratch
        folder = Path(scratch) if scratch else cache_dir() / "stores" / bucket.root
        return Mirror(bucket, folder)

    @property
    def output(self) -> Path:
        """Folder that the stage writes to; it exists."""
        return self.store / self.runtime.output

    @property
    def prompts_dir(self) -> Path | None:
        """Folder of the prompt sets that have a name, where the caller names one."""
        return Path(self.runtime.prompts_dir) if self.runtime.prompts_dir else None

    def path(self, reference: str) -> Path:
        """Return another stage's output, such as `data/<digest>`, or a file or folder of it.

        From a store that lies elsewhere, that much is fetched.
        """
        if self.mirror is not None:
            self.mirror.fetch(reference)
        return self.store / reference

    def open_journal(self, folder: Path, prefix: str = "", *, batch: int = 1) -> Journal:
        """Open the journal of a folder in the store, with what other machines wrote."""
        if self.mirror is None:
            return Journal(folder, prefix, batch=batch)
        self.mirror.sync_journal(folder.relative_to(self.store).as_posix(), prefix)
        return Journal(folder, prefix, batch=batch, keep=self.mirror.keep)

    def close(self) -> None:
        """Leave nothing behind that only this machine has."""
        # Not `self.mirror`, which would connect.
        if mirror := self.__dict__.get("mirror"):
            mirror.close()

    def report(self, progress: Progress) -> None:
        """Tell the planner's side how far the stage is."""
        stamped = progress.model_copy(update={"updated_at": timestamp()})
        self._reported[:] = [stamped]
        self._sink.save(Report(progress=stamped))

    def finish(self, result: StageResult) -> None:
        """Tell the planner's side how the stage ended."""
        last = self._reported[0] if self._reported else Progress()
        progress = Progress(
            percent=100 if result.state == "Succeeded" else None,
            cost_usd=last.cost_usd,
            judges=last.judges,
            updated_at=timestamp(),
        )
        self._sink.save(Report(progress=progress, result=result))

    @cached_property
    def _sink(self) -> Sink:
        return open_sink(self.runtime.report)


def timestamp() -> str:
    """Return the time of now, RFC 3339, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
