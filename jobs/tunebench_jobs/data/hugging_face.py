"""Datasets of the Hugging Face hub, or folders in its layout, read as a stream."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tunebench_api.places import resolve_place
from tunebench_api.v1alpha1 import Column, HuggingFaceSource, Tool
from tunebench_jobs.data.opened import BrokenRow, OpenedSource, Row
from tunebench_jobs.data.parse_row import build_broken, parse_row
from tunebench_jobs.data.urls import build_transfer_error
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import build_file_digest
from tunebench_jobs.llm import find_secret
from tunebench_jobs.rows import PullRequest

# Loaders of rows. Others unpickle, decode media or talk to databases, as the dataset says.
_LOADERS = frozenset({"arrow", "csv", "json", "parquet"})
_FOLDER = re.compile(r"^(\.|/|file://|pvc://)")
_COMMIT = re.compile(r"^hf://datasets/[^@]+@(?P<commit>[0-9a-f]{40})/")
_COLUMNS = frozenset(PullRequest.model_fields)
_ANSWERS = frozenset(f"answers.{tool}" for tool in Tool)


@dataclass(frozen=True)
class ColumnMap:
    """Where each column of ours comes from, as a path into a row of theirs."""

    places: Mapping[str, tuple[str, ...]]
    ignored: tuple[str, ...] = ()

    def build_row(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row with our columns."""
        row: dict[str, Any] = {}
        for name, place in self.places.items():
            column, _, part = name.partition(".")
            value = _find_value(raw, place)
            if part and value is not None:
                row[column] = {**(row.get(column) or {}), part: value}
            elif not part:
                row[column] = value
        return row


def open_hugging_face(source: HuggingFaceSource, *, dataset: str, field: str) -> OpenedSource:
    """Open a split of a dataset.

    Raises:
        InputError: There is no such dataset, configuration, split or column, or it is denied.
        RetryableError: The hub does not answer.
    """
    folder = find_folder(source.path, field)
    reference = source.secret_ref
    token = find_secret(reference, f"{field}.secretRef", os.environ) if reference else None
    builder, stream = _open_stream(source, str(folder or source.path), token, field)
    columns = build_column_map(source.columns, stream.column_names, field)
    files = [str(file) for file in (builder.config.data_files or {}).get(source.split, ())]
    facts = _build_facts(source, files, folder) | (
        {"ignored_columns": list(columns.ignored)} if columns.ignored else {}
    )
    rows = _read(source, stream, columns, facts, field)
    return OpenedSource(dataset, rows, facts)


def build_column_map(
    wanted: Sequence[Column], there: Sequence[str] | None, field: str
) -> ColumnMap:
    """Build the map; columns with our names stand for themselves, others are ignored.

    Raises:
        InputError: A column is not one of ours, or not there.
    """
    places: dict[str, tuple[str, ...]] = {
        name: (name,) for name in sorted(_COLUMNS) if there is None or name in there
    }
    for index, column in enumerate(wanted):
        where = f"{field}.columns[{index}]"
        if column.name not in _COLUMNS | _ANSWERS:
            known = ", ".join(sorted(_COLUMNS | _ANSWERS))
            msg = f"`{where}.name` must be one of {known}, got {column.name}"
            raise InputError(msg, reason="InvalidSource")
        parts = (column.source,) if column.source in (there or ()) else None
        place = parts or tuple(column.source.split("."))
        if there is not None and place[0] not in there:
            msg = f"`{where}.source` must be one of {', '.join(there)}, got {column.source}"
            raise InputError(msg, reason="InvalidSource")
        places[column.name] = place
    used = {place[0] for place in places.values()}
    return ColumnMap(places, tuple(sorted(set(there or ()) - used)))


def find_folder(path: str, field: str) -> Path | None:
    """Return the folder that a dataset is; none where it is an id of the hub.

    Raises:
        InputError: There is no such folder, or the id could be taken for one.
    """
    if not _FOLDER.match(path):
        if Path(path).exists():
            msg = (
                f"`{field}.path` must begin with ./ if the folder `{path}` is meant, and the hub's "
                "dataset of this name can be read from another working directory only"
            )
            raise InputError(msg, reason="InvalidSource")
        return None
    folder = Path(resolve_place(path).removeprefix("file://"))
    if not folder.is_dir():
        msg = f"`{field}.path` must be an existing folder, or an id of the hub, got `{path}`"
        raise InputError(msg, reason="FileNotFound")
    return folder.resolve()


def _open_stream(
    source: HuggingFaceSource, place: str, token: str | None, field: str
) -> tuple[Any, Any]:
    import datasets  # noqa: PLC0415 - seconds, and few sources need it
    import yaml  # noqa: PLC0415 - loaded with it

    try:
        with _errors(source.path, field):
            builder = datasets.load_dataset_builder(
                place, source.name, revision=source.revision, token=token
            )
            _check_loader(builder, field)
            stream = builder.as_streaming_dataset(split=source.split)
            # Images and the like stay bytes and paths: nothing is opened that a dataset points to.
            return builder, stream.decode(enable=False) if stream.features else stream
    # What it says of names, splits and files that are not there, or cannot be read.
    except (
        ValueError,
        RuntimeError,
        yaml.YAMLError,
        datasets.exceptions.DatasetsError,
    ) as error:
        msg = f"`{field}` must name a configuration and a split of {source.path}: {error}"
        raise InputError(msg, reason="InvalidSource") from error


def _read(
    source: HuggingFaceSource, stream: Any, columns: ColumnMap, facts: dict[str, Any], field: str
) -> Iterator[Row | BrokenRow]:
    counts = {"rows": 0, "broken": 0}
    name = f"{source.path}[{source.split}]"
    raws = _read_shards(stream, name, source.path, field)
    for number, raw in enumerate(islice(raws, source.limit), 1):
        row = (
            raw
            if isinstance(raw, BrokenRow)
            else parse_row(columns.build_row(raw), f"{name}:row {number}")
        )
        counts["broken" if isinstance(row, BrokenRow) else "rows"] += 1
        yield row
    facts |= {key: count for key, count in counts.items() if count or key == "rows"}


def _read_shards(
    stream: Any, name: str, path: str, field: str
) -> Iterator[Mapping[str, Any] | BrokenRow]:
    """Yield rows file by file, so that a damaged file costs no other one."""
    from datasets.exceptions import DatasetsError  # noqa: PLC0415 - as above
    from pyarrow import ArrowException  # noqa: PLC0415 - as above

    shards = stream.num_shards
    for index in range(shards):
        number = 0
        try:
            with _errors(path, field):
                for raw in stream.shard(num_shards=shards, index=index, contiguous=True):
                    number += 1
                    yield raw
        # What readers of files say of broken ones.
        except (ArrowException, DatasetsError, OSError, ValueError) as error:
            where = f"{name}:file {index + 1}"
            yield build_broken(where, f"the file is damaged; after row {number}: {error}")


@contextmanager
def _errors(path: str, field: str) -> Iterator[None]:
    """Turn what the hub's library raises into our errors; damage of files goes through."""
    import httpx  # noqa: PLC0415 - loaded with the library anyway

    try:
        yield
    except FileNotFoundError as error:
        msg = f"`{field}.path` must be a dataset that exists and may be read, got {path}: {error}"
        raise InputError(msg, reason="FileNotFound") from error
    except (OSError, httpx.HTTPError) as error:
        # Arrow's word for a damaged file.
        if type(error) is OSError and error.errno is None:
            raise
        raise build_transfer_error(error, path, f"{field}.path") from error


def _check_loader(builder: Any, field: str) -> None:
    loader = type(builder).__module__.rpartition(".")[2]
    if loader not in _LOADERS:
        msg = f"`{field}.path` must hold files of {', '.join(sorted(_LOADERS))}, got {loader}"
        raise InputError(msg, reason="NotSupported")


def _build_facts(
    source: HuggingFaceSource, files: Sequence[str], folder: Path | None
) -> dict[str, Any]:
    """Build what says which rows these were: the hub's commit, or a digest of the files."""
    facts: dict[str, Any] = {"hugging_face": source.path, "split": source.split}
    if source.name:
        facts["name"] = source.name
    if folder is None:
        commit = next((found["commit"] for file in files if (found := _COMMIT.match(file))), None)
        return facts | {"revision": commit or source.revision or ""}
    digests = (
        f"{os.path.relpath(file, folder)}\0{build_file_digest(Path(file))}" for file in files
    )
    return facts | {"sha256": hashlib.sha256("\n".join(digests).encode()).hexdigest()}


def _find_value(raw: Mapping[str, Any], place: Sequence[str]) -> Any:
    value: Any = raw
    for part in place:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
