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
from tunebench_jobs.data.github.client import Answer, GitHubClient
from tunebench_jobs.data.github.errors import Refusal, RefusedError
from tunebench_jobs.data.github.models import (
    Coverage,
    PageMark,
    PullHead,
    Repository,
    is_moment,
)

_PER_PAGE = 100
# A million closed pull requests; a list that goes on is none.
_MAX_PAGES = 10_000
# So many times the front is read again, if it moves each time.
_MAX_READS = 10


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
    for _ in range(_MAX_READS):
        if await _read_list(client, repository, archive, wanted) <= 1:
            return


async def _read_list(
    client: GitHubClient, repository: Repository, archive: Archive, wanted: Wanted
) -> int:
    """Read the list from its front as far as needed, and return how many pages that took."""
    known = archive.find_coverage()
    query = f"state=closed&sort=updated&direction=desc&per_page={_PER_PAGE}"
    url: str | None = f"/repos/{repository.name}/pulls?{query}"
    newest, oldest = "", ""
    read: set[str] = set()
    while url is not None:
        if url in read or len(read) >= _MAX_PAGES:
            msg = f"the list of {repository.name} has no end"
            raise RefusedError(msg, Refusal.BROKEN)
        read.add(url)
        page = await _fetch_page(client, archive, url)
        newest = newest or page.newest
        oldest = page.oldest if page.next_url else ""
        if known and oldest < known.newest:
            oldest = min(oldest, known.oldest)
        if is_enough(archive.merged.values(), oldest, wanted):
            break
        url = page.next_url
    merged = len(archive.merged)
    archive.add_coverage(Coverage(newest=newest, oldest=oldest, merged=merged))
    return len(read)


async def _fetch_page(client: GitHubClient, archive: Archive, url: str) -> PageMark:
    known = archive.find_page(url)
    answer = await client.get(url, etag=known.etag if known else None)
    if answer.not_modified and known:
        return known
    if not isinstance(answer.data, list):
        msg = f"{url} must be a list of pull requests"
        raise RefusedError(msg, Refusal.BROKEN)
    heads = _parse_heads(answer.data)
    page = _build_page(url, answer, [head.number for head in heads])
    archive.add_page(page, heads)
    return page


def _build_page(url: str, answer: Answer, numbers: Sequence[int]) -> PageMark:
    items = answer.data
    moments: list[Any] = [item.get("updated_at") for item in items if isinstance(item, dict)]
    changed = [moment for moment in moments if is_moment(moment)]
    return PageMark(
        url=url,
        etag=answer.etag,
        # An empty page is the last one, whatever it says.
        next_url=answer.next_url if changed else None,
        newest=max(changed, default=""),
        oldest=min(changed, default=""),
        numbers=tuple(numbers),
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
