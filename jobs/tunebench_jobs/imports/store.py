"""Imported sets in a store: their verdicts in the ledgers, their comparisons in `imports/NAME/`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tunebench_api.contract import VerdictFormat
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import save_text
from tunebench_jobs.imports.imported import (
    IMPORTS_FOLDER,
    MANIFEST_FILE,
    ROWS_FILE,
    ImportedRow,
    ImportedSet,
    ImportManifest,
    build_foreign_digest,
)
from tunebench_jobs.judge.ledger import (
    LEDGER_FOLDER,
    Ledger,
    LedgerEntry,
    build_judge_file,
    open_ledger,
    open_local_journal,
)
from tunebench_jobs.records import describe_validation_error, dump_jsonl, load_jsonl


@dataclass(frozen=True)
class LoadedSet:
    """A set with its verdicts, in the order of its rows."""

    manifest: ImportManifest
    rows: tuple[ImportedRow, ...]
    entries: tuple[LedgerEntry, ...]


def save_set(store: Path, imported: ImportedSet, manifest: ImportManifest) -> int:
    """Keep a set, its manifest last; return how many verdicts the ledgers lacked.

    Raises:
        InputError: The store has another set of this name.
    """
    folder = store / IMPORTS_FOLDER / manifest.name
    there = load_manifest(store, manifest.name)
    if there is not None and there != manifest:
        msg = (
            f"`--name` must be new: the store has a set `{manifest.name}` of other files or "
            f"options; give another name, or delete `{folder}`"
        )
        raise InputError(msg, reason="NameTaken")
    added = sum(
        asyncio.run(_append(store, manifest.format, judge, entries))
        for judge, entries in imported.entries.items()
    )
    save_text(folder / ROWS_FILE, dump_jsonl(imported.rows))
    save_text(folder / MANIFEST_FILE, manifest.model_dump_json(by_alias=True, indent=1) + "\n")
    return added


def load_manifest(store: Path, name: str) -> ImportManifest | None:
    """Return what a set holds, if the store has it.

    Raises:
        InputError: It is damaged.
    """
    path = store / IMPORTS_FOLDER / name / MANIFEST_FILE
    try:
        return ImportManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        msg = f"`{path}` is damaged ({describe_validation_error(error)}); import the set again"
        raise InputError(msg, reason="BrokenImport") from error


def load_set(store: Path, name: str) -> LoadedSet | None:
    """Return a set with its verdicts, if the store has it.

    Raises:
        InputError: It is damaged, or a ledger lacks a verdict.
    """
    manifest = load_manifest(store, name)
    if manifest is None:
        return None
    path = store / IMPORTS_FOLDER / name / ROWS_FILE
    rows = tuple(load_jsonl(path, ImportedRow))
    if len(rows) != manifest.verdicts:
        msg = f"`{path}` must have {manifest.verdicts} rows, got {len(rows)}; import the set again"
        raise InputError(msg, reason="BrokenImport")
    ledgers = {
        judge: Ledger(open_local_journal(store / LEDGER_FOLDER / digest))
        for judge, digest in manifest.judges.items()
    }
    entries = tuple(_find(ledgers, row, name) for row in rows)
    return LoadedSet(manifest, rows, entries)


def _find(ledgers: Mapping[str, Ledger], row: ImportedRow, name: str) -> LedgerEntry:
    entry = ledgers[row.judge].get(row.key) if row.judge in ledgers else None
    if entry is None:
        msg = (
            f"the ledger of judge `{row.judge}` must hold verdict {row.key[:16]} of the set "
            f"`{name}`, got none; import the set again"
        )
        raise InputError(msg, reason="BrokenLedger")
    return entry


async def _append(
    store: Path, source: VerdictFormat, judge: str, entries: Sequence[LedgerEntry]
) -> int:
    folder = store / LEDGER_FOLDER / build_foreign_digest(source, judge)
    description = build_judge_file({"format": str(source), "judge": judge})
    async with open_ledger(folder, description) as ledger:
        new = [entry for entry in entries if ledger.get(entry.key) is None]
        for entry in new:
            ledger.append(entry)
    return len(new)
