"""Reads what trackers leave beside a checkpoint.

W&B's client leaves records of protobuf in LevelDB's log format.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER_BYTES = 7
_BLOCK_BYTES = 32_768
_CHUNK = struct.Struct("<IHB")
_FULL, _LAST = 1, 4


def load_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the scalars of a run as TensorBoard's own reader has them: steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415 - seconds
        EventAccumulator,
    )

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(each.step, each.value) for each in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def load_history(path: Path) -> list[dict[str, Any]]:
    """Return what was logged, a mapping for each step, `_step` among its keys."""
    rows = []
    for record in _load_records(path):
        if record.WhichOneof("record_type") != "history":
            continue
        row = {
            ".".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in record.history.item
        }
        rows.append(row | {"_step": record.history.step.num})
    return rows


def load_run(path: Path) -> Any:
    """Return the record of the run: its id, names and settings."""
    return next(
        record.run for record in _load_records(path) if record.WhichOneof("record_type") == "run"
    )


def load_kinds(path: Path) -> set[str]:
    """Return the kinds of all records."""
    return {str(record.WhichOneof("record_type")) for record in _load_records(path)}


def _load_records(path: Path) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415 - takes a second

    for content in _load_contents(path.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        yield record


def _load_contents(data: bytes) -> Iterator[bytes]:
    """Yield each record, put together of its parts; blocks begin with the file."""
    place, content = _HEADER_BYTES, b""
    while place + _CHUNK.size <= len(data):
        left = _BLOCK_BYTES - place % _BLOCK_BYTES
        if left < _CHUNK.size:
            place += left
            continue
        _, length, kind = _CHUNK.unpack_from(data, place)
        place += _CHUNK.size
        content += data[place : place + length]
        place += length
        if kind in {_FULL, _LAST}:
            yield content
            content = b""
