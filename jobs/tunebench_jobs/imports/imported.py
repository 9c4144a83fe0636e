"""An imported set: which verdict of the ledger compares which model with which baseline."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tunebench_api.contract import VerdictFormat
from tunebench_api.v1alpha1 import Wire
from tunebench_jobs.errors import InputError
from tunebench_jobs.imports.games import SECOND, Game
from tunebench_jobs.judge.comparisons import Order
from tunebench_jobs.judge.ledger import LedgerEntry
from tunebench_jobs.records import Record

IMPORTS_FOLDER = "imports"
ROWS_FILE = "comparisons.jsonl"
# Written last.
MANIFEST_FILE = "import.json"
_DIGEST_LENGTH = 16
_SHOWN_NAMES = 8


class ImportedRow(Record):
    """One comparison of a set; `key` names its verdict in the judge's ledger."""

    task: str
    question: str
    group: str
    variant: str
    baseline: str
    judge: str
    prompt: str
    # Absent where the source does not say what the judge saw first.
    order: Order | None
    # Whether the ledger's verdict has the model's completion first.
    model_first: bool
    key: str
    weight: int
    # In characters; absent where the source does not hold the completions.
    model_length: int | None
    baseline_length: int | None


class Source(Wire):
    """A file that a set was read from."""

    name: str
    sha256: str
    rows: int


class ImportManifest(Wire):
    """What a set holds, and what was left out of it."""

    version: Literal[1] = 1
    name: str
    format: VerdictFormat
    sources: tuple[Source, ...]
    # As the command named it.
    baseline: str | None
    baselines: tuple[str, ...]
    variants: tuple[str, ...]
    # Ledgers by judge.
    judges: Mapping[str, str]
    tasks: int
    verdicts: int
    missing: Mapping[str, int]
    # Rows that were left out, by reason.
    left_out: Mapping[str, int]
    # What the rows that could not be read had wrong, each with its place; the first of them.
    broken: tuple[str, ...]


@dataclass(frozen=True)
class ImportedSet:
    """Comparisons with what the ledgers need to hold for them, by judge."""

    rows: tuple[ImportedRow, ...]
    entries: Mapping[str, Sequence[LedgerEntry]]
    left_out: Mapping[str, int]


def build_set(source: VerdictFormat, games: Sequence[Game], baseline: str | None) -> ImportedSet:
    """Say of every game which side is the model, and name its verdict by its content.

    Raises:
        InputError: No game has the baseline, or the files do not say which side it is.
    """
    _check_baseline(source, games, baseline)
    rows: dict[str, ImportedRow] = {}
    entries: dict[str, list[LedgerEntry]] = {}
    left_out: Counter[str] = Counter()
    for game in games:
        base = baseline or game.baseline
        if base not in {game.first.name, game.second.name}:
            left_out["OtherBaseline"] += 1
            continue
        key = build_key(source, game)
        if key in rows:
            left_out["Copy"] += 1
            continue
        # A model against itself stands second, as AlpacaEval has it.
        rows[key] = _build_row(game, key, model_first=game.second.name == base != game.first.name)
        entries.setdefault(game.judge, []).append(_build_entry(game, key))
    return ImportedSet(tuple(rows.values()), entries, dict(sorted(left_out.items())))


def build_foreign_digest(source: VerdictFormat, judge: str) -> str:
    """Name the ledger of a judge that another tool asked."""
    return _hash(["published", source, judge])[:_DIGEST_LENGTH]


def build_key(source: VerdictFormat, game: Game) -> str:
    """Name a verdict by all that its source says, so that another one has another name."""
    sides = [[side.name, side.text] for side in (game.first, game.second)]
    said = [game.preference, game.missing, game.weight, game.reply, game.shown_so]
    return _hash(["published", source, game.judge, game.prompt, game.task, sides, said])


def build_share(row: ImportedRow, entry: LedgerEntry) -> float | None:
    """Return how far a verdict lies on the model's side: 1 won, 1/2 tied, 0 lost."""
    if entry.preference is None:
        return None
    return SECOND - entry.preference if row.model_first else entry.preference - 1


def _build_row(game: Game, key: str, *, model_first: bool) -> ImportedRow:
    model, base = (game.first, game.second) if model_first else (game.second, game.first)
    order = Order.MODEL_FIRST if model_first else Order.BASELINE_FIRST
    return ImportedRow(
        task=game.task,
        question=game.question,
        group=game.group,
        variant=model.name,
        baseline=base.name,
        judge=game.judge,
        prompt=game.prompt,
        order=order if game.shown_so else None,
        model_first=model_first,
        key=key,
        weight=game.weight,
        model_length=None if model.text is None else len(model.text),
        baseline_length=None if base.text is None else len(base.text),
    )


def _build_entry(game: Game, key: str) -> LedgerEntry:
    return LedgerEntry(
        key=key,
        reply=game.reply,
        missing=game.missing,
        replies=1,
        cost_usd=game.cost_usd,
        preference=game.preference,
    )


def _check_baseline(source: VerdictFormat, games: Sequence[Game], baseline: str | None) -> None:
    names = sorted({side.name for game in games for side in (game.first, game.second)})
    if baseline is not None and baseline not in names:
        msg = f"`--baseline` must be one of the files' models, {_list(names)}; got {baseline}"
        raise InputError(msg, reason="UnknownBaseline")
    # FastChat puts the baseline second, unless it compared all models with each other.
    seconds = sorted({game.baseline or "" for game in games})
    if baseline is None and source is VerdictFormat.FASTCHAT and len(seconds) > 1:
        msg = (
            "`--baseline` must name the model that the others are compared with, because these "
            f"files compare several: {_list(names)}"
        )
        raise InputError(msg, reason="UnknownBaseline")


def _list(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def count_missing(entries: Iterable[LedgerEntry]) -> dict[str, int]:
    """Count the verdicts that there are not, by cause."""
    return dict(sorted(Counter(str(e.missing) for e in entries if e.missing is not None).items()))


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
