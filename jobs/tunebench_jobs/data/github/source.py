"""Open GitHub as a source of rows: collect first, then read what was collected as a stream."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunebench_api.v1alpha1 import FileContents, GitHubSource
from tunebench_jobs.data.github.archive import Archive, OpenJournal, open_local_journal
from tunebench_jobs.data.github.build import DroppedPull, build_pull
from tunebench_jobs.data.github.client import ClientSettings, GitHubClient, Usage
from tunebench_jobs.data.github.collect import Collection, Collector, Report, find_archive
from tunebench_jobs.data.github.errors import name_field
from tunebench_jobs.data.opened import Row
from tunebench_jobs.errors import InputError
from tunebench_jobs.llm import find_secret

logger = logging.getLogger(__name__)

# Beside the stages' outputs in a store.
ARCHIVE_FOLDER = "sources/github"
TOKEN_VARIABLE = "GITHUB_TOKEN"  # noqa: S105 - a name
PUBLIC_API = "https://api.github.com"


@dataclass(frozen=True)
class GitHubPlace:
    """Where all that is fetched is kept, for this run and others, and who is told how far it is."""

    folder: Path
    open_journal: OpenJournal = open_local_journal
    report: Report = logger.info


@dataclass(frozen=True)
class GitHubPulls:
    """The pull requests of a source; `facts` are complete once all rows are read."""

    rows: Iterator[Row]
    facts: dict[str, Any]
    usage: Usage


def find_github_token(
    source: GitHubSource, field: str, environment: Mapping[str, str]
) -> str | None:
    """Return the token of a source, if it has one.

    Without `secretRef` the user's own token goes to GitHub alone, and not to where a file leads.

    Raises:
        InputError: The token that `secretRef` names is not set, or is none.
    """
    if source.secret_ref is None:
        own = source.api_base.rstrip("/").lower() == PUBLIC_API
        return _check_token(environment.get(TOKEN_VARIABLE, "").strip(), field) if own else None
    place = name_field(field, "secretRef")
    return _check_token(find_secret(source.secret_ref, place, environment, what="token"), field)


def open_github(
    source: GitHubSource,
    *,
    field: str,
    token: str | None,
    place: GitHubPlace,
    settings: ClientSettings | None = None,
) -> GitHubPulls:
    """Collect what a source names, and return its rows: by repository, the newest merged first.

    Args:
        source: What to collect.
        field: Its place in the run, for messages.
        token: Sent to the API, and shown to nobody.
        place: Where what comes is kept.
        settings: How hard to ask.

    Raises:
        InputError: The token is refused, or there is no repository that can be had.
        RetryableError: GitHub is away; what came is kept.
    """
    if token is None:
        logger.warning("no token for %s: GitHub answers 60 requests an hour", source.api_base)
    collection, usage = asyncio.run(_collect(source, field, token, place, settings))
    facts: dict[str, Any] = {"api": source.api_base}
    if source.search is not None:
        facts |= {"search": source.search, "search_complete": not collection.is_incomplete}
    facts |= {
        "repositories": [each.repository.name for each in collection.collected],
        "repositories_unavailable": dict(sorted(collection.unavailable.items())),
        "pulls_seen": sum(len(each.numbers) for each in collection.collected),
    }
    rows = _read_rows(source, collection, place.open_journal, facts)
    return GitHubPulls(rows, facts, usage)


async def _collect(
    source: GitHubSource,
    field: str,
    token: str | None,
    place: GitHubPlace,
    settings: ClientSettings | None,
) -> tuple[Collection, Usage]:
    folder = find_archive(place.folder, source.api_base)
    async with GitHubClient(
        source.api_base,
        token,
        field=field,
        settings=settings,
        notice=place.report,
        pause_file=folder / ".paused",
    ) as client:
        collector = Collector(
            source,
            client,
            folder,
            field=field,
            open_journal=place.open_journal,
            report=place.report,
        )
        return await collector.collect(), client.usage


def _read_rows(
    source: GitHubSource,
    collection: Collection,
    open_journal: OpenJournal,
    facts: dict[str, Any],
) -> Iterator[Row]:
    """Yield the rows out of the archives, and complete what is known of the source."""
    texts = source.file_contents is FileContents.FETCH
    kept = 0
    dropped: list[DroppedPull] = []
    for collected in collection.collected:
        with Archive(collected.folder, open_journal) as archive:
            for number in collected.numbers:
                head, details = archive.read_pull(number)
                built = build_pull(collected.repository, head, details, texts=texts)
                if isinstance(built, DroppedPull):
                    dropped.append(built)
                    continue
                kept += 1
                yield Row(built, built.id)
    reasons = Counter(each.reason for each in dropped)
    facts |= {
        "pulls_kept": kept,
        "pulls_dropped": dict(sorted(reasons.items())),
        "dropped_pulls": [asdict(each) for each in dropped],
    }


def _check_token(token: str, field: str) -> str | None:
    """Refuse what cannot be a header before a library shows it in its error."""
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        place = name_field(field, "secretRef")
        msg = f"`{place}` must name a token of letters and digits; copy it again"
        raise InputError(msg, reason="MissingCredential")
    return token
