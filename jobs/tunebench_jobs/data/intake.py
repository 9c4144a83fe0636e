"""The first pass: rows are read once, cleaned, known by their changes, and spooled."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from tunebench_api.contract import DataConfig
from tunebench_api.v1alpha1 import Licenses
from tunebench_jobs.data.bench import Bench
from tunebench_jobs.data.copies import build_copy_finding, open_copies
from tunebench_jobs.data.drops import DroppedRow, Finding, RowDrop
from tunebench_jobs.data.funnel import Step, StepName
from tunebench_jobs.data.opened import BrokenRow, OpenedSource, Row
from tunebench_jobs.data.parallel import batch_rows
from tunebench_jobs.data.parcels import Key, Parcel
from tunebench_jobs.data.sift import Sifted, build_sifter
from tunebench_jobs.data.similar import Signature
from tunebench_jobs.errors import InputError

# Reading takes about this share of a pass; how many rows come is not known before the end.
_READ_PERCENT = 5


def take_in(config: DataConfig, source: OpenedSource, bench: Bench) -> list[Key]:
    """Spool the rows of a source that may be used, and return what stays in memory of them.

    Raises:
        InputError: Without cleaning, a row is broken or its id is not unique.
    """
    return _Intake(config, source.dataset, bench).run(source)


class _Intake:
    """The first pass over one source."""

    def __init__(self, config: DataConfig, dataset: str, bench: Bench) -> None:
        self._dataset = dataset
        self._bench = bench
        self._spec = config.dataset
        self._lenient = config.dataset.cleaning is not None
        self._cleans = self._lenient or config.dataset.licenses is not Licenses.ANY
        self._copies = open_copies(config.dataset.cleaning)
        self._origins: dict[str, str] = {}
        self._keys: list[Key] = []
        self._read = bench.funnel.step(StepName.READ, dataset)
        self._clean = bench.funnel.step(StepName.CLEAN, dataset)
        self._unique = bench.funnel.step(StepName.DUPLICATES, dataset)

    def run(self, source: OpenedSource) -> list[Key]:
        batches = batch_rows(self._pack(source.rows))
        prepare = partial(build_sifter, self._spec)
        for batch, sifted in self._bench.workers.map_batches(prepare, batches):
            for parcel, found in zip(batch, sifted, strict=True):
                self._take(parcel, found)
            self._bench.teller.count(
                _READ_PERCENT, f"reading the {self._dataset} source: {self._read.taken:,} rows"
            )
        self._take_commits(source)
        return self._keys

    def _take_commits(self, source: OpenedSource) -> None:
        """Count and keep the commits that gave no row."""
        place = source.facts.get("repository") or source.facts.get("list", "")
        for commit in source.dropped:
            self._read.taken += 1
            self._read.dropped[str(commit.reason)] += 1
            origin = f"{place}@{commit.sha}"
            row = DroppedRow(self._dataset, origin, "", commit.reason, detail=commit.subject)
            self._bench.dropped.append(row)

    def _pack(self, rows: Iterator[Row | BrokenRow]) -> Iterator[Parcel]:
        for row in rows:
            if isinstance(row, Row):
                yield Parcel.pack(row.pr, row.origin)
            elif self._lenient:
                yield Parcel(row.origin, b"", broken=row.detail)
            else:
                raise row.build_error()

    def _take(self, parcel: Parcel, found: Sifted | Finding) -> None:
        self._read.taken += 1
        if self._cleans and parcel.broken is None:
            self._clean.taken += 1
        if isinstance(found, Finding):
            step = self._clean if parcel.broken is None else self._read
            self._drop(step, parcel, found)
            return
        self._unique.taken += self._copies is not None
        copy = self._find_copy(found)
        if copy is not None:
            self._drop(self._unique, parcel, copy)
            return
        number = self._bench.spool.append(found.text or parcel.text)
        self._bench.signatures.append(pickle.dumps(found.signature))
        self._origins[found.key.id] = parcel.origin
        self._keys.append(replace(found.key, number=number))
        if self._copies is not None:
            self._copies.add(parcel.origin, found.signature)

    def _find_copy(self, found: Sifted) -> Finding | None:
        """Return what an earlier row has in common with this one."""
        key = found.key
        earlier = self._origins.get(key.id)
        if earlier is None:
            return self._find_same_change(found.signature)
        if not self._lenient:
            msg = (
                f"`id` must be unique in `spec.dataset.{self._dataset}`, got `{key.id}` in "
                f"{earlier} and {key.origin}; remove one of them"
            )
            raise InputError(msg, reason="DuplicateId")
        return Finding(RowDrop.DUPLICATE, f"has the id of {earlier}")

    def _find_same_change(self, signature: Signature) -> Finding | None:
        match = self._copies.find(signature) if self._copies else None
        return build_copy_finding(match) if match else None

    def _drop(self, step: Step, parcel: Parcel, found: Finding) -> None:
        step.dropped[str(found.reason)] += 1
        pr = "" if parcel.broken is not None else parcel.pr.id
        row = DroppedRow(self._dataset, parcel.origin, pr, found.reason, detail=found.detail)
        self._bench.dropped.append(row, data=parcel.text)
