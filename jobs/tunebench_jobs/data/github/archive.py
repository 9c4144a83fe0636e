"""Everything that GitHub told, on disk: a folder for each API, and in it one for each repository.

Lines are only ever added, so that a killed collector loses the line that it was writing at most.
The same may be told twice, by two machines or after a change: the newer line counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from tunebench_jobs.data.github.models import Coverage, Kept, PageMark, PullDetails, PullHead
from tunebench_jobs.errors import InputError
from tunebench_jobs.journal import Journal, Journaled

# Lines between two calls of fsync; a killed process loses none, a power cut at most these.
BATCH = 32
_INDEX = "index"

OpenJournal = Callable[[Path, str], Journal]
KeptT = TypeVar("KeptT", bound=Kept)


class Place(NamedTuple):
    """Where a line lies."""

    path: Path
    offset: int
    length: int


class Merged(NamedTuple):
    """What decides whether a pull request is wanted."""

    merged_at: str
    number: int
    updated_at: str


def open_local_journal(folder: Path, prefix: str) -> Journal:
    """Open the shards of a folder on this machine."""
    return Journal(folder, prefix, batch=BATCH)


class Index(Journaled):
    """Answers about repositories and of searches, by their address, to ask again conditionally."""

    def __init__(self, folder: Path, open_journal: OpenJournal) -> None:
        """Read what was kept; the last line about an address counts."""
        super().__init__(open_journal(folder, _INDEX))
        self._answers: dict[str, dict[str, Any]] = {}
        for _, payload, _ in _load(self._journal):
            known = self._answers.get(payload["url"])
            if known is None or known["at"] <= payload["at"]:
                self._answers[payload["url"]] = payload

    def get(self, url: str) -> Mapping[str, Any] | None:
        """Return `etag`, `next_url` and `data` of an answer."""
        return self._answers.get(url)

    def add(
        self, url: str, *, etag: str | None, next_url: str | None, data: Any, at: float
    ) -> None:
        """Keep an answer; `at` says which of two is newer."""
        line = {"url": url, "etag": etag, "next_url": next_url, "data": data, "at": at}
        self._journal.append(json.dumps({"answer": line}).encode())
        self._answers[url] = line


class Archive(Journaled):
    """The pull requests of one repository: what is known of them, and where it lies."""

    def __init__(self, folder: Path, open_journal: OpenJournal = open_local_journal) -> None:
        """Read what was kept; texts stay on the disk."""
        super().__init__(open_journal(folder, ""))
        self.merged: dict[int, Merged] = {}
        self._pages: dict[str, PageMark] = {}
        self._coverage: Coverage | None = None
        # Number: whether its whole files were asked for too.
        self.detailed: dict[int, bool] = {}
        self._heads: dict[int, Place] = {}
        self._details: dict[int, Place] = {}
        for kind, payload, place in _load(self._journal):
            self._take(kind, payload, place)

    def add_page(self, page: PageMark, heads: Iterable[PullHead]) -> None:
        """Keep a page after its pull requests, so that a page that is known is known whole."""
        for head in heads:
            known = self.merged.get(head.number)
            if known is None or known.updated_at < head.updated_at:
                self._append("head", head)
        self._append("page", page)

    def add_coverage(self, coverage: Coverage) -> None:
        """Keep how far the list was read."""
        if coverage != self._coverage:
            self._append("coverage", coverage)

    def find_page(self, url: str) -> PageMark | None:
        """Return a page, if all that it tells is here."""
        page = self._pages.get(url)
        return page if page and all(each in self.merged for each in page.numbers) else None

    def find_coverage(self) -> Coverage | None:
        """Return how far the list was read, if all that this gave is here."""
        found = self._coverage
        return found if found and found.merged <= len(self.merged) else None

    def add_details(self, details: PullDetails) -> None:
        """Keep the rest of a pull request."""
        self._append("details", details)

    def has_details(self, number: int, *, texts: bool) -> bool:
        """Tell whether nothing more is to be asked for a pull request."""
        return self.detailed.get(number, False) if texts else number in self.detailed

    def read_pull(self, number: int) -> tuple[PullHead, PullDetails | None]:
        """Read a pull request from the disk; only what lay there when the archive was opened."""
        details = self._details.get(number)
        return (
            _read(self._heads[number], PullHead),
            _read(details, PullDetails) if details else None,
        )

    def _append(self, kind: str, kept: Kept) -> None:
        payload = kept.model_dump(mode="json", exclude_defaults=True)
        self._journal.append(json.dumps({kind: payload}).encode())
        self._take(kind, payload, None)

    def _take(self, kind: str, payload: dict[str, Any], place: Place | None) -> None:
        match kind:
            case "head":
                self._take_head(payload, place)
            case "details":
                number, texts = payload["number"], payload.get("texts", False)
                if number not in self.detailed or texts:
                    self.detailed[number] = texts
                    if place:
                        self._details[number] = place
            case "page":
                self._pages[payload["url"]] = PageMark.model_validate(payload)
            case "coverage":
                found = Coverage.model_validate(payload)
                if self._coverage is None or _rank(found) >= _rank(self._coverage):
                    self._coverage = found

    def _take_head(self, payload: dict[str, Any], place: Place | None) -> None:
        number, updated_at = payload["number"], payload["updated_at"]
        known = self.merged.get(number)
        if known is None or known.updated_at < updated_at:
            self.merged[number] = Merged(payload["merged_at"], number, updated_at)
            if place:
                self._heads[number] = place


def _rank(coverage: Coverage) -> tuple[str, bool]:
    """Return a sort key that puts the newest last; of those, one that reaches the end."""
    return coverage.newest, not coverage.oldest


def _load(journal: Journal) -> Iterator[tuple[str, dict[str, Any], Place]]:
    """Yield the lines of all shards: kind, payload and place."""
    here: Path | None = None
    offset = 0
    for path, number, line in journal.load():
        offset = offset if path == here else 0
        here = path
        place = Place(path, offset, len(line))
        offset += len(line) + 1
        try:
            ((kind, payload),) = from_json(line).items()
            yield kind, payload, place
        except (ValueError, AttributeError) as error:
            msg = f"{path}:{number}: broken line; delete it, and what it said is asked again"
            raise InputError(msg, reason="BrokenArchive") from error


def _read(place: Place, kept: type[KeptT]) -> KeptT:
    with place.path.open("rb") as file:
        file.seek(place.offset)
        line = file.read(place.length)
    try:
        ((_, payload),) = from_json(line).items()
        return kept.model_validate(payload)
    except (ValidationError, ValueError, AttributeError) as error:
        msg = f"{place.path} was changed at byte {place.offset}; delete it, and start again"
        raise InputError(msg, reason="BrokenArchive") from error
