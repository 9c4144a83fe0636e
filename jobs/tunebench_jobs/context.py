"""What a stage gets besides its config: folders, and a place to report to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tunebench_api.contract import Progress, Report, Runtime, StageResult
from tunebench_jobs.reports import Sink, open_sink


@dataclass(frozen=True)
class Outcome:
    """What a stage did; `artefacts` are paths relative to its output folder."""

    message: str
    artefacts: Sequence[str] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageContext:
    """Folders and the report of one attempt of one stage."""

    runtime: Runtime

    @property
    def store(self) -> Path:
        """Root of the artefact store."""
        return Path(self.runtime.store)

    @property
    def output(self) -> Path:
        """Folder that the stage writes to; it exists."""
        return self.store / self.runtime.output

    @property
    def prompts_dir(self) -> Path | None:
        """Folder of the builtin prompt sets, where the caller names one."""
        return Path(self.runtime.prompts_dir) if self.runtime.prompts_dir else None

    def path(self, reference: str) -> Path:
        """Return the folder of another stage's output, such as `data/<digest>`."""
        return self.store / reference

    def report(self, progress: Progress) -> None:
        """Tell the planner's side how far the stage is."""
        stamped = progress.model_copy(update={"updated_at": timestamp()})
        self._sink.save(Report(progress=stamped))

    def finish(self, result: StageResult) -> None:
        """Tell the planner's side how the stage ended."""
        percent = 100 if result.state == "Succeeded" else None
        self._sink.save(
            Report(progress=Progress(percent=percent, updated_at=timestamp()), result=result)
        )

    @cached_property
    def _sink(self) -> Sink:
        return open_sink(self.runtime.report)


def timestamp() -> str:
    """Return the time of now, RFC 3339, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
