"""Where a pass works: its folder, its spool, what it leaves out and what it counts."""

from __future__ import annotations

import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunebench_api.contract import Progress
from tunebench_jobs.data.dropped_file import DroppedFile, open_dropped
from tunebench_jobs.data.drops import DroppedRow, Finding
from tunebench_jobs.data.funnel import Funnel, Step
from tunebench_jobs.data.parallel import Workers
from tunebench_jobs.data.parcels import Key, Parcel
from tunebench_jobs.data.similar import Signature
from tunebench_jobs.data.spool import Spool
from tunebench_jobs.files import disk_errors

# Of an output folder; whoever finds it there was preceded by somebody who was killed.
WORK_FOLDER = ".work"
_REPORT_SECONDS = 1.0

Report = Callable[[Progress], None]


class Teller:
    """Tells how far a pass is, seldom enough to cost nothing."""

    def __init__(self, report: Report) -> None:
        """Tell `report`."""
        self._report = report
        self._told = 0.0

    def tell(self, percent: int, message: str) -> None:
        """Say what begins."""
        self._told = time.monotonic()
        self._report(Progress(percent=percent, message=message))

    def count(self, percent: int, message: str) -> None:
        """Say how far it is, if that was not said just now."""
        if time.monotonic() - self._told >= _REPORT_SECONDS:
            self.tell(percent, message)


@dataclass(frozen=True)
class Bench:
    """All that the steps of a pass share."""

    output: Path
    work: Path
    spool: Spool
    # Pickled, each beside its row.
    signatures: Spool
    dropped: DroppedFile
    funnel: Funnel
    workers: Workers
    teller: Teller

    def drop(self, step: Step, key: Key, finding: Finding) -> None:
        """Leave a row out that is in the spool."""
        row = DroppedRow(step.dataset, key.origin, key.id, finding.reason, detail=finding.detail)
        step.dropped[str(finding.reason)] += 1
        self.dropped.append(row, data=self.spool.read(key.number))

    def load(self, key: Key) -> Parcel:
        """Read a row from the spool."""
        return Parcel(key.origin, self.spool.read(key.number), edited_tools=key.edited_tools)

    def load_signature(self, key: Key) -> Signature:
        """Read what a row is compared with others by."""
        signature: Signature = pickle.loads(self.signatures.read(key.number))  # noqa: S301 - ours
        return signature


@contextmanager
def open_bench(output: Path, *, workers: int, report: Report) -> Iterator[Bench]:
    """Work in a folder below `output`, which is empty at the start and gone at the end."""
    work = output / WORK_FOLDER
    shutil.rmtree(work, ignore_errors=True)
    try:
        with disk_errors(output):
            work.mkdir(parents=True)
            with (
                Spool(work / "rows") as spool,
                Spool(work / "signatures", compressed=False) as signatures,
                open_dropped(output, work) as dropped,
                Workers(workers) as started,
            ):
                teller = Teller(report)
                yield Bench(output, work, spool, signatures, dropped, Funnel(), started, teller)
    finally:
        shutil.rmtree(work, ignore_errors=True)
