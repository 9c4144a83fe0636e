"""Which merged pull requests a repository has, newest change first, and only what is new.

GitHub lists pull requests by their last change, not by when they were merged. Since a merge is a
change, none that comes later in the list was merged later than the last change of those before it:
so the newest merged ones are known as soon as enough were merged after the end of the page.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tunebench_jobs.data.github.archive import Archive, Merged
from tunebench_jobs.data.github.client import GitHubClient
from tunebench_jobs.data.github.errors import Refusal, RefusedError
from tunebench_jobs.data.github.models import Coverage, PageMark, PullHead, Repository

_PER_PAGE = 100


@dataclass(frozen=True)
class Wanted:
    """Which of a repository's merged pull requests to collect, and whether with whole files."""

    limit: int
    merged_after: str = ""
    texts: bool = False


def choose(merged: Iterable[Merged], wanted: Wanted) -> list[Merged]:
    """Return the pull requests that are wanted of those that are known, newest first."""
    recent = (each for each in merged if each.merged_at >= wanted.merged_after)
    return heapq.nlargest(wanted.limit, recent)


def is_enough(merged: Iterable[Merged], oldest: str, wanted: Wanted) -> bool:
    """Tell whether all that is wanted is known, if all that changed after `oldest` is."""
    if not oldest or oldest < wanted.merged_after:
        return True
    return sum(each.merged_at > oldest for each in merged) >= wanted.limit


async def list_pulls(
    client: GitHubClient, repository: Repository, archive: Archive, wanted: Wanted
) -> None:
    """Read the list until all that is wanted is in the archive.

    A pull request that changes while the list is read goes to its front, where we are past: so the
    front is read again until nothing has moved.

    Raises:
        JobError: GitHub does not hand out the list.
    """
    while await _read_list(client, repository, archive, wanted) > 1:
        pass


async def _read_list(
    client: GitHubClient, repository: Repository, archive: Archive, wanted: Wanted
) -> int:
    """Read the list from its front as far as needed, and return how many pages that took."""
    known = archive.coverage
    query = f"state=closed&sort=updated&direction=desc&per_page={_PER_PAGE}"
    url: str | None = f"/repos/{repository.name}/pulls?{query}"
    pages, newest, oldest = 0, "", ""
    while url is not None:
        page = await _fetch_page(client, archive, url)
        pages += 1
        newest = newest or page.newest
        oldest = page.oldest if page.next_url else ""
        if known and oldest < known.newest:
            oldest = min(oldest, known.oldest)
        if is_enough(archive.merged.values(), oldest, wanted):
            break
        url = page.next_url
    archive.add_coverage(Coverage(newest=newest, oldest=oldest))
    return pages


async def _fetch_page(client: GitHubClient, archive: Archive, url: str) -> PageMark:
    known = archive.pages.get(url)
    answer = await client.get(url, etag=known.etag if known else None)
    if answer.not_modified and known:
        return known
    if not isinstance(answer.data, list):
        msg = f"{url} must be a list of pull requests"
        raise RefusedError(msg, Refusal.BROKEN)
    page = _build_page(url, answer.etag, answer.next_url, answer.data)
    archive.add_page(page, _parse_heads(answer.data))
    return page


def _build_page(url: str, etag: str | None, next_url: str | None, items: Sequence[Any]) -> PageMark:
    changed = [str(item.get("updated_at", "")) for item in items if isinstance(item, dict)]
    return PageMark(
        url=url,
        etag=etag,
        next_url=next_url if changed else None,
        newest=max(changed, default=""),
        oldest=min(changed, default=""),
    )


def _parse_heads(items: Sequence[Any]) -> list[PullHead]:
    """Return the merged pull requests of a page; what is none is left out."""
    heads = []
    for item in items:
        if isinstance(item, dict) and item.get("merged_at"):
            try:
                heads.append(PullHead.model_validate(item))
            except ValidationError:
                # A number would name it, but that is what may be broken.
                continue
    return heads
