"""The pull requests to read, in the order in which reading them pays most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.choose import CANDIDATES_FILE
from tunebench_jobs.data.curation import Subject, build_subject
from tunebench_jobs.data.load import load_rows
from tunebench_jobs.data.opened import Row
from tunebench_jobs.data.select import Candidate, build_candidate, select_diverse
from tunebench_jobs.errors import InputError
from tunebench_jobs.rows import PullRequest

# Of strangers' words, what a list shows.
_TITLE_CHARACTERS = 300


@dataclass(frozen=True)
class Item:
    """One candidate of the list; the pull request itself lies in the spool at `offset`."""

    candidate: Candidate
    subject: Subject
    title: str
    tools: tuple[Tool, ...]
    offset: int
    size: int


class Candidates:
    """All candidates, best ones first, each read from a spool when it is shown.

    Thousands of diffs need not fit into memory, and the file that they came from may change.
    """

    def __init__(self, rows: Iterable[Row], spool: IO[bytes], *, per_tool: int, seed: int) -> None:
        """Copy the rows to the spool and rank them.

        Raises:
            InputError: Two rows have one id.
        """
        self._spool = spool
        self._lock = Lock()
        found: dict[str, Item] = {}
        for row in rows:
            if row.pr.id in found:
                msg = f"{row.origin}: `id` must be unique, got `{row.pr.id}` again; remove one"
                raise InputError(msg, reason="DuplicateId")
            found[row.pr.id] = self._keep(row.pr)
        every = [item.candidate for item in found.values()]
        self.items = tuple(found[each] for each in select_diverse(every, len(every), seed).ids)
        self.per_tool = per_tool
        # What a selection of the wanted size looks like, for people to compare theirs with.
        self.wanted = select_diverse(every, per_tool, seed).spread

    def read(self, place: int) -> PullRequest:
        """Return the pull request at a place of the list."""
        item = self.items[place]
        with self._lock:
            self._spool.seek(item.offset)
            content = self._spool.read(item.size)
        return PullRequest.model_validate_json(content)

    def find_tools(self) -> tuple[Tool, ...]:
        """Return the tools that have answers, or all where there are none yet."""
        there = {tool for item in self.items for tool in item.tools}
        return tuple(tool for tool in Tool if tool in there or not there)

    def _keep(self, pr: PullRequest) -> Item:
        content = pr.model_dump_json().encode()
        offset = self._spool.tell()
        self._spool.write(content)
        return Item(
            candidate=build_candidate(pr),
            subject=build_subject(pr),
            title=pr.title[:_TITLE_CHARACTERS],
            tools=tuple(tool for tool in Tool if (pr.answers.get(tool) or "").strip()),
            offset=offset,
            size=len(content),
        )


def load_candidates(path: Path, spool: IO[bytes], *, per_tool: int, seed: int) -> Candidates:
    """Read the candidates of a file, or of a folder that the data stage made.

    Raises:
        InputError: There is none, a row is broken, or two rows have one id.
    """
    file = path / CANDIDATES_FILE if path.is_dir() else path
    candidates = Candidates(load_rows(file, "CANDIDATES"), spool, per_tool=per_tool, seed=seed)
    if not candidates.items:
        msg = f"`CANDIDATES` must hold at least one pull request, got none in `{file}`"
        raise InputError(msg, reason="EmptyDataset")
    return candidates


def build_item(item: Item, *, suggested: bool) -> Mapping[str, Any]:
    """Return what the list of the page shows of a candidate."""
    each = item.candidate
    return {
        "id": each.id,
        "title": item.title,
        "repository": each.repository,
        "language": each.language,
        "size": each.size,
        "lines": each.changed_lines,
        "files": each.files,
        "kind": each.kind,
        "merged": each.merged_at or "",
        "tools": item.tools,
        "suggested": suggested,
    }
