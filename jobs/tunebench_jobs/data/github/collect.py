"""Collect what a source names into the archive: what is there already is not asked again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import TypeAdapter, ValidationError

from tunebench_api.v1alpha1 import FileContents, GitHubSource
from tunebench_jobs.data.github.archive import Archive, Index, OpenJournal
from tunebench_jobs.data.github.client import UNAVAILABLE, GitHubClient
from tunebench_jobs.data.github.details import fetch_details
from tunebench_jobs.data.github.errors import Refusal, RefusedError, name_field
from tunebench_jobs.data.github.listing import Wanted, choose, list_pulls
from tunebench_jobs.data.github.models import Repository
from tunebench_jobs.data.github.search import find_repositories, parse_results
from tunebench_jobs.data.parse_row import parse_moment
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.folder_lock import locked_folder
from tunebench_jobs.rows import Languages

logger = logging.getLogger(__name__)

# Pull requests at once; the client lets fewer requests through.
_WORKERS = 8
# So many in a row that get no answer are no matter of one pull request.
_MAX_UNANSWERED = 3
_REPORT_SECONDS = 1.0
# Repositories that a message lists.
_NAMED = 10

_LANGUAGES: TypeAdapter[Mapping[str, int]] = TypeAdapter(Languages)

Report = Callable[[str], None]


@dataclass(frozen=True)
class Collected:
    """A repository in the archive, and which of its pull requests are wanted, newest first."""

    repository: Repository
    folder: Path
    numbers: tuple[int, ...]


@dataclass
class Collection:
    """What a source gave."""

    collected: list[Collected] = dataclass_field(default_factory=list)
    # Name and reason of repositories that cannot be had.
    unavailable: dict[str, str] = dataclass_field(default_factory=dict)
    # Whether a search could not show all that it found.
    is_incomplete: bool = False


def build_wanted(source: GitHubSource, field: str) -> Wanted:
    """Return which pull requests of each repository a source asks for.

    Raises:
        InputError: `mergedAfter` is no moment.
    """
    texts = source.file_contents is FileContents.FETCH
    if source.merged_after is None:
        return Wanted(source.limit, texts=texts)
    try:
        moment = parse_moment(source.merged_after).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        msg = (
            f"`{name_field(field, 'mergedAfter')}` must be an RFC 3339 time such as "
            f"2024-01-31T00:00:00Z, got {source.merged_after!r}"
        )
        raise InputError(msg, reason="InvalidSource") from error
    return Wanted(source.limit, f"{moment:%Y-%m-%dT%H:%M:%SZ}", texts)


def find_archive(folder: Path, api_base: str) -> Path:
    """Return the folder of one API: numbers of repositories are its own."""
    parts = urlsplit(api_base)
    return folder / quote(f"{parts.netloc}{parts.path.rstrip('/')}".lower(), safe="")


class Collector:
    """Brings what a source names into the archive in a folder."""

    def __init__(  # noqa: PLR0913 - what, from where, to where
        self,
        source: GitHubSource,
        client: GitHubClient,
        folder: Path,
        *,
        field: str,
        open_journal: OpenJournal,
        report: Report,
    ) -> None:
        """Ask for nothing yet.

        Raises:
            InputError: `mergedAfter` is no moment.
        """
        self._source = source
        self._client = client
        self._folder = folder
        self._field = field
        self._open_journal = open_journal
        self._report = report
        self._reported = -_REPORT_SECONDS
        self._wanted = build_wanted(source, field)
        self._collection = Collection()

    async def collect(self) -> Collection:
        """Collect every repository.

        Raises:
            InputError: The token is refused, or there is no repository that can be had.
            RetryableError: GitHub is away; what came is kept.
        """

        def wait() -> None:
            self._report("waiting for another process that collects into this store")

        async with locked_folder(self._folder, wait):
            await self._client.learn_limits()
            with Index(self._folder, self._open_journal) as index:
                names = await self._find_names(index)
                for place, name in enumerate(names, 1):
                    await self._collect_named(index, name, f"{name} ({place} of {len(names)})")
        if not self._collection.collected:
            raise InputError(self._describe_nothing(), reason="EmptyDataset")
        return self._collection

    async def _find_names(self, index: Index) -> Sequence[str]:
        if self._source.repositories is not None:
            return self._source.repositories
        self._say("searching for repositories")
        limit = self._source.max_repositories
        fetch = partial(self._fetch, index, parse=parse_results)
        try:
            found = await find_repositories(
                self._source.search or "", fetch, limit=limit, now=datetime.now(UTC)
            )
        except RefusedError as error:
            place = name_field(self._field, "search")
            msg = f"`{place}` must be a search that GitHub takes: {error}"
            raise InputError(msg, reason="InvalidSource") from error
        self._collection.is_incomplete = found.is_incomplete
        return found.choose(limit)

    async def _collect_named(self, index: Index, name: str, heading: str) -> None:
        """Collect a repository; one that cannot be had is named, and is not the end."""
        try:
            repository = await self._fetch_repository(index, name)
            if any(each.repository.id == repository.id for each in self._collection.collected):
                # By its old name and its new one.
                return
            folder = self._folder / str(repository.id)
            with Archive(folder, self._open_journal) as archive:
                self._say(f"{heading}: listing")
                await list_pulls(self._client, repository, archive, self._wanted)
                numbers = tuple(
                    each.number for each in choose(archive.merged.values(), self._wanted)
                )
                await self._collect_details(repository, archive, numbers, heading)
        except RefusedError as error:
            logger.warning("left out repository %s: %s", name, error)
            self._collection.unavailable[name] = str(error.refusal)
        else:
            self._collection.collected.append(Collected(repository, folder, numbers))

    async def _fetch_repository(self, index: Index, name: str) -> Repository:
        raw, _ = await self._fetch(index, f"/repos/{name}", _parse_repository)
        repository = Repository.model_validate(raw)
        url = f"/repos/{repository.name}/languages"
        languages, _ = await self._fetch(index, url, _parse_languages)
        return repository.model_copy(update={"languages": languages})

    async def _fetch(
        self, index: Index, url: str, parse: Callable[[Any], Any]
    ) -> tuple[Any, str | None]:
        """Return what `parse` keeps of an address, and the next page's; ask only if it changed."""
        known = index.get(url)
        answer = await self._client.get(url, etag=known["etag"] if known else None)
        if answer.not_modified and known:
            return known["data"], known["next_url"]
        data = parse(answer.data)
        index.add(url, etag=answer.etag, next_url=answer.next_url, data=data, at=time.time())
        return data, answer.next_url

    async def _collect_details(
        self, repository: Repository, archive: Archive, numbers: Sequence[int], heading: str
    ) -> None:
        """Fetch the details that the archive lacks, several pull requests at once."""
        texts = self._wanted.texts
        missing = [each for each in numbers if not archive.has_details(each, texts=texts)]
        waiting, unanswered = iter(missing), 0

        async def work() -> None:
            nonlocal unanswered
            for number in waiting:
                try:
                    details = await fetch_details(self._client, repository, number, texts=texts)
                except RetryableError as error:
                    unanswered += 1
                    if error.reason != UNAVAILABLE or unanswered >= _MAX_UNANSWERED:
                        raise
                    logger.warning("left out %s#%d for now: %s", repository.name, number, error)
                    continue
                unanswered = 0
                archive.add_details(details)
                self._say(f"{heading}: {len(archive.detailed)} pull requests")

        await _run_together(work, min(_WORKERS, len(missing)))

    def _say(self, text: str) -> None:
        """Report, but not for every pull request."""
        now = time.monotonic()
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            self._report(text)

    def _describe_nothing(self) -> str:
        if self._source.search is not None and not self._collection.unavailable:
            return f"`{name_field(self._field, 'search')}` must find a repository, but finds none"
        named = list(self._collection.unavailable.items())[:_NAMED]
        reasons = ", ".join(f"{name}: {reason}" for name, reason in named)
        return (
            f"`{name_field(self._field)}` must name a repository that can be had, got {reasons}; "
            "check the names, and what the token may read"
        )


def _parse_repository(raw: Any) -> dict[str, Any]:
    try:
        return Repository.model_validate(raw).model_dump(mode="json")
    except ValidationError as error:
        msg = f"not a repository: {error.error_count()} fields are not what the API documents"
        raise RefusedError(msg, Refusal.BROKEN) from None


def _parse_languages(raw: Any) -> dict[str, int]:
    try:
        return dict(_LANGUAGES.validate_python(raw))
    except ValidationError:
        return {}


async def _run_together(work: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    """Run so many workers; the first failure ends all."""
    tasks = [asyncio.create_task(work()) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
