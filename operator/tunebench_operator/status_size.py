"""Keeps a status small enough for etcd and for every watch: messages grow shorter, rows stay. Pure.

A status of 14 models takes some 30 KiB; only many long messages at once bring it to the limit.
"""

from __future__ import annotations

from typing import TypeVar

from tunebench_api.v1alpha1 import BenchmarkRunStatus, Condition, ModelStatus, StageStatus

MAX_BYTES = 256 << 10
_LENGTHS = (512, 256, 128, 64, 32, 0)

_Row = TypeVar("_Row", Condition, StageStatus, ModelStatus)


def fit_status(status: BenchmarkRunStatus) -> BenchmarkRunStatus:
    """Return the status with messages as long as there is room for; all else stays."""
    fitting = status
    for length in _LENGTHS:
        if count_bytes(fitting) <= MAX_BYTES:
            break
        fitting = status.model_copy(
            update={
                "conditions": tuple(_shorten(each, length) for each in status.conditions),
                "stages": tuple(_shorten(each, length) for each in status.stages),
                "models": tuple(_shorten(each, length) for each in status.models),
            }
        )
    return fitting


def count_bytes(status: BenchmarkRunStatus) -> int:
    """Return the size of a status as JSON."""
    return len(status.model_dump_json(by_alias=True, exclude_none=True).encode())


def _shorten(row: _Row, length: int) -> _Row:
    if len(row.message) <= length:
        return row
    shown = f"{row.message[: length - 1]}…" if length else ""
    return row.model_copy(update={"message": shown})
