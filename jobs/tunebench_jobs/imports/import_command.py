"""`tunebench verdicts import`: verdicts that other tools published, into the ledger."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tunebench_api.contract import VerdictFormat
from tunebench_api.v1alpha1.wire import NAME_PATTERN, PATTERN_WORDS
from tunebench_jobs.data.names import escape_controls
from tunebench_jobs.errors import InputError
from tunebench_jobs.failures import run_tool
from tunebench_jobs.files import build_file_digest
from tunebench_jobs.imports.alpaca_eval import parse_annotation
from tunebench_jobs.imports.arena_hard import OLD_BASELINE, parse_judged_question
from tunebench_jobs.imports.fastchat import parse_match
from tunebench_jobs.imports.games import Game
from tunebench_jobs.imports.imported import (
    ImportedSet,
    ImportManifest,
    Source,
    build_foreign_digest,
    build_set,
    count_missing,
)
from tunebench_jobs.imports.rows import BrokenRowError, Row, load_rows
from tunebench_jobs.imports.store import save_set

logger = logging.getLogger(__name__)

_DIGEST_LENGTH = 8
_SHOWN_BROKEN = 20


def main(arguments: Sequence[str]) -> int:
    """Import, say what came in and what did not, and return the exit code."""
    options = _build_parser().parse_args(arguments)
    return run_tool(partial(_import, options), options.output)


def find_parser(source: VerdictFormat, baseline: str | None) -> Callable[[Row], Iterator[Game]]:
    """Return what reads a row; `baseline` is the name where the rows have none."""
    if source is VerdictFormat.ARENA_HARD:
        return partial(parse_judged_question, baseline=baseline or OLD_BASELINE)
    return parse_annotation if source is VerdictFormat.ALPACA_EVAL else parse_match


def import_verdicts(options: argparse.Namespace) -> tuple[ImportManifest, int]:
    """Read the files, fill the ledgers and keep the set; return it, and what was new.

    Raises:
        InputError: A file, a row or an option must change.
    """
    source = VerdictFormat(options.format)
    parse = find_parser(source, options.baseline)
    games: list[Game] = []
    broken: list[str] = []
    sources = []
    for path in options.files:
        before, rows = len(games), 0
        for row in load_rows(path):
            rows += 1
            try:
                games += parse(row)
            except BrokenRowError as error:
                broken.append(f"{row.place}: {error}")
        logger.info("%s: %d rows, %d verdicts", path, rows, len(games) - before)
        sources.append(Source(name=path.name, sha256=build_file_digest(path), rows=rows))
    if broken and not options.skip_broken:
        raise _build_broken(broken)
    if not games:
        msg = f"the files must hold at least one verdict of the format {source}, got none"
        raise InputError(msg, reason="EmptyImport")
    imported = build_set(source, games, options.baseline)
    manifest = _build_manifest(options, sources, imported, broken)
    return manifest, save_set(options.store, imported, manifest)


def _import(options: argparse.Namespace) -> str:
    manifest, added = import_verdicts(options)
    if options.output == "json":
        return json.dumps({**manifest.to_wire(), "added": added}, indent=1)
    return _build_text(manifest, added)


def _build_broken(broken: Sequence[str]) -> InputError:
    more = len(broken) - 1
    others = f" (and {more} more rows are broken)" if more else ""
    msg = f"{broken[0]}{others}; correct it, or leave such rows out with `--skip-broken`"
    return InputError(msg, reason="BrokenRow")


def _build_manifest(
    options: argparse.Namespace,
    sources: Sequence[Source],
    imported: ImportedSet,
    broken: Sequence[str],
) -> ImportManifest:
    source = VerdictFormat(options.format)
    left_out = Counter(imported.left_out) + Counter({"Broken": len(broken)})
    digests = "".join(each.sha256 for each in sources)
    return ImportManifest(
        name=options.name or _build_name(source, digests, options.baseline),
        format=source,
        sources=tuple(sources),
        baseline=options.baseline,
        baselines=tuple(sorted({row.baseline for row in imported.rows})),
        variants=tuple(sorted({row.variant for row in imported.rows})),
        judges={judge: build_foreign_digest(source, judge) for judge in sorted(imported.entries)},
        tasks=len({row.task for row in imported.rows}),
        verdicts=len(imported.rows),
        missing=count_missing(entry for each in imported.entries.values() for entry in each),
        left_out=dict(sorted(left_out.items())),
        broken=tuple(broken[:_SHOWN_BROKEN]),
    )


def _build_name(source: VerdictFormat, digests: str, baseline: str | None) -> str:
    content = f"{digests}{baseline or ''}".encode()
    return f"{source}-{hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]}"


def _build_text(manifest: ImportManifest, added: int) -> str:
    missing = ", ".join(f"{cause} {count}" for cause, count in manifest.missing.items())
    left_out = ", ".join(f"{reason} {count}" for reason, count in manifest.left_out.items())
    lines = [
        f"{manifest.verdicts} verdicts on {manifest.tasks} tasks, {added} new to the ledger",
        f"models: {', '.join(manifest.variants)}",
        f"against: {', '.join(manifest.baselines)}",
        f"judges: {', '.join(manifest.judges)}",
        f"missing verdicts: {missing or 'none'}",
        f"left out: {left_out or 'nothing'}",
        *manifest.broken,
        f"see them: tunebench score {manifest.name}",
    ]
    # Names are those that strangers gave.
    return "\n".join(map(escape_controls, lines))


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tunebench verdicts import", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="annotations.json, or JSONL files")
    parser.add_argument("--format", choices=[*map(str, VerdictFormat)], required=True)
    parser.add_argument("--store", type=Path, required=True, help="folder of the artefact store")
    parser.add_argument("--name", type=_parse_name, help="of the set; absent: from the files")
    parser.add_argument("--baseline", help="model that the others are compared with")
    parser.add_argument("--skip-broken", action="store_true", help="count broken rows, go on")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser


def _parse_name(text: str) -> str:
    """Parse the name of a set, for argparse, which reports the error."""
    if not re.fullmatch(NAME_PATTERN, text):
        msg = f"must be {PATTERN_WORDS[NAME_PATTERN]}, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return text
