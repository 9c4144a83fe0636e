"""The training set in a file of the stage's work folder: made once, then mapped by every worker.

The folder holds the tokens, and last a manifest with their digest and with a key of all that they
were made from: the data, the tokenizer with its template, and the length. Where the key is another
one, or the file is damaged, it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunebench_api.v1alpha1 import Overflow
from tunebench_jobs.canaries import choose_canaries
from tunebench_jobs.chat import Example
from tunebench_jobs.errors import RetryableError
from tunebench_jobs.files import build_file_digest, replace_file, save_text
from tunebench_jobs.folder_lock import hold_folder
from tunebench_jobs.records import Record, TrainExample
from tunebench_jobs.train.examples import TrainSet, fit_examples, read_train_examples
from tunebench_jobs.train.token_table import map_table, write_table

logger = logging.getLogger(__name__)

PREPARED_FOLDER = "examples"
_TOKENS_FILE = "tokens.arrow"
_MANIFEST_FILE = "prepared.json"
_PARALLEL = "TOKENIZERS_PARALLELISM"
# Raise it when the same rows become other tokens.
_VERSION = 1


@dataclass(frozen=True)
class Source:
    """What the tokens are made from."""

    data: Path
    tokenizer: Any
    max_length: int
    overflow: Overflow

    def build_key(self) -> str:
        """Return a digest of all that decides the tokens."""
        facts = {
            "version": _VERSION,
            "data": build_file_digest(self.data),
            "tokenizer": build_tokenizer_digest(self.tokenizer),
            "maxLength": self.max_length,
            "overflow": self.overflow,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Manifest(Record):
    """Contents of `prepared.json`."""

    key: str
    sha256: str
    dropped: int
    canaries: Mapping[int, TrainExample]


def build_tokenizer_digest(tokenizer: Any) -> str:
    """Return a name for what a tokenizer makes of texts."""
    facts = [
        type(tokenizer).__name__,
        tokenizer.backend_tokenizer.to_str(),
        tokenizer.chat_template,
        tokenizer.special_tokens_map,
        version("tokenizers"),
        version("transformers"),
    ]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


def open_train_set(source: Source, folder: Path) -> TrainSet:
    """Map the training set; the first of several workers prepares it, and the others wait.

    Raises:
        InputError: The data cannot be trained on.
        RetryableError: The folder does not keep what is written to it.
    """
    if not source.data.is_file():
        # Says what is missing.
        next(read_train_examples(source.data))
    key = source.build_key()
    with hold_folder(folder):
        found = _load(folder, key)
        if found is None:
            logger.info("preparing the training set in %s", folder)
            _prepare(source, folder, key)
            found = _load(folder, key)
    if found is None:
        msg = f"`{folder}` does not hold what was just written to it; start again"
        raise RetryableError(msg, reason="StoreUnavailable")
    return TrainSet(map_table(folder / _TOKENS_FILE), found.dropped, found.canaries)


def _load(folder: Path, key: str) -> Manifest | None:
    """Return the manifest of a folder with the wanted tokens, whole."""
    try:
        manifest = Manifest.model_validate_json((folder / _MANIFEST_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    path = folder / _TOKENS_FILE
    whole = path.is_file() and build_file_digest(path) == manifest.sha256
    return manifest if whole and manifest.key == key else None


def _prepare(source: Source, folder: Path, key: str) -> None:
    places: list[int] = []
    path = folder / _TOKENS_FILE
    (folder / _MANIFEST_FILE).unlink(missing_ok=True)
    with replace_file(path) as file, _all_cores():
        write_table(file, _fit(source, places))
    chosen = choose_canaries(map_table(path).lengths)
    rows = _take_rows(source.data, [places[index] for index in chosen])
    manifest = Manifest(
        key=key,
        sha256=build_file_digest(path),
        dropped=_count_rows(source.data) - len(places),
        canaries=dict(zip(chosen, rows, strict=True)),
    )
    save_text(folder / _MANIFEST_FILE, manifest.model_dump_json())


@contextmanager
def _all_cores() -> Iterator[None]:
    """Let the tokenizer use several threads, which Ray's workers are told not to."""
    before = os.environ.get(_PARALLEL)
    os.environ[_PARALLEL] = "true"
    try:
        yield
    finally:
        os.environ.pop(_PARALLEL)
        os.environ |= {} if before is None else {_PARALLEL: before}


def _fit(source: Source, places: list[int]) -> Iterator[Example]:
    """Yield the examples that fit, and note the places of their rows."""
    rows = read_train_examples(source.data)
    for place, example in fit_examples(
        rows, source.tokenizer, max_length=source.max_length, overflow=source.overflow
    ):
        places.append(place)
        yield example


def _take_rows(path: Path, places: list[int]) -> list[TrainExample]:
    import pyarrow.dataset as ds  # noqa: PLC0415 - takes a while to import

    rows = ds.dataset(str(path), format="parquet").take(places).to_pylist()
    return [TrainExample.model_validate(row) for row in rows]


def _count_rows(path: Path) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415 - takes a while to import

    return int(pq.read_metadata(path).num_rows)
