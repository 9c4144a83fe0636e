"""Repositories that a search finds, also where they are more than the 1,000 that GitHub shows.

A search that finds more is split by the day, and at last the second, on which repositories were
made, until each part shows all of its own.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tunebench_jobs.data.github.errors import Refusal, RefusedError
from tunebench_jobs.errors import InputError

# GitHub shows no more of one search.
SHOWN_RESULTS = 1000
_PER_PAGE = 100
# Six hours of searches within GitHub's limit; who says that there is more counts wrongly.
_MAX_SEARCHES = 10_000
# The first repository of GitHub is some days younger.
_FIRST = datetime(2007, 10, 1, tzinfo=UTC)
_CREATED = re.compile(r'(?<!\S)created:("[^"]*"|\S+)\s*', re.IGNORECASE)
_RANGE = re.compile(r"(?P<sign>>=|<=|>|<)?(?P<first>[\d:TZ*+-]+?)(?:\.\.(?P<last>[\d:TZ*+-]+))?")
_SECOND = timedelta(seconds=1)

# Returns `data` and `next_url` of an address.
Fetch = Callable[[str], Awaitable[tuple[Any, str | None]]]


@dataclass(frozen=True)
class Window:
    """Moments between which repositories were made, both included."""

    first: datetime
    last: datetime

    def halve(self) -> tuple[Window, Window]:
        """Return both halves; they share no second."""
        middle = self.first + (self.last - self.first) // 2
        middle = middle.replace(microsecond=0)
        return Window(self.first, middle), Window(middle + _SECOND, self.last)

    def __str__(self) -> str:
        return f"{self.first:%Y-%m-%dT%H:%M:%SZ}..{self.last:%Y-%m-%dT%H:%M:%SZ}"


@dataclass
class Found:
    """What a search found: stars by name."""

    stars: dict[str, int] = field(default_factory=dict)
    # Whether GitHub gave up on a part of it, or a second made more than it shows.
    is_incomplete: bool = False

    def choose(self, limit: int) -> list[str]:
        """Return the names of the repositories with most stars, which come first."""
        ranked = sorted(self.stars, key=lambda name: (-self.stars[name], name.lower()))
        return ranked[:limit]


def parse_query(query: str, now: datetime) -> tuple[str, Window]:
    """Return a search without its `created:`, and the window that this names, or all time.

    Raises:
        InputError: The window cannot be read.
    """
    everything = Window(_FIRST, datetime(now.year + 1, 1, 1, tzinfo=UTC) - _SECOND)
    terms = _CREATED.findall(query)
    if not terms:
        return query.strip(), everything
    match = _RANGE.fullmatch(terms[0].strip('"'))
    if len(terms) > 1 or match is None:
        msg = (
            f"`search` must have at most one `created:`, such as created:2020-01-01..2020-12-31, "
            f"got {' '.join(terms)}"
        )
        raise InputError(msg, reason="InvalidSource")
    window = _build_window(match, everything)
    return _CREATED.sub("", query).strip(), window


async def find_repositories(query: str, fetch: Fetch, *, limit: int, now: datetime) -> Found:
    """Return at least the `limit` repositories with most stars that a search finds.

    Raises:
        InputError: GitHub does not take the search.
    """
    found = Found()
    total = await _read_results(query, fetch, found)
    if total <= SHOWN_RESULTS or limit <= SHOWN_RESULTS:
        return found
    rest, window = parse_query(query, now)
    open_windows = [window]
    for _ in range(_MAX_SEARCHES):
        if not open_windows:
            return found
        window = open_windows.pop()
        part = f"{rest} created:{window}".strip()
        total = await _read_results(part, fetch, found, only_whole=window.first < window.last)
        if total > SHOWN_RESULTS and window.first < window.last:
            open_windows += reversed(window.halve())
        elif total > SHOWN_RESULTS:
            found.is_incomplete = True
    found.is_incomplete = True
    return found


async def _read_results(query: str, fetch: Fetch, found: Found, *, only_whole: bool = False) -> int:
    """Read the pages of a search and return how many results it has."""
    url: str | None = (
        f"/search/repositories?q={quote(query, safe='')}&sort=stars&order=desc&per_page={_PER_PAGE}"
    )
    total = 0
    for _ in range(SHOWN_RESULTS // _PER_PAGE):
        if url is None:
            break
        data, url = await fetch(url)
        total = int(data["total_count"])
        found.is_incomplete = found.is_incomplete or data["incomplete_results"]
        found.stars.update({each["name"]: each["stars"] for each in data["items"]})
        if only_whole and total > SHOWN_RESULTS:
            break
    return total


def parse_results(data: Any) -> Mapping[str, Any]:
    """Return what is kept of a page of results.

    Raises:
        RefusedError: It is none.
    """
    try:
        return {
            "total_count": int(data["total_count"]),
            "incomplete_results": bool(data.get("incomplete_results")),
            "items": [
                {"name": str(each["full_name"]), "stars": int(each.get("stargazers_count") or 0)}
                for each in data["items"]
            ],
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        msg = "a search must have `total_count` and `items`"
        raise RefusedError(msg, Refusal.BROKEN) from None


def _build_window(match: re.Match[str], everything: Window) -> Window:
    sign, first, last = match["sign"], match["first"], match["last"]
    try:
        begin, end = _parse_day(first, everything)
        if last is not None:
            return Window(begin, _parse_day(last, everything)[1])
    except ValueError as error:
        msg = f"`search` must have days such as 2020-01-31 in `created:`, got {match[0]}"
        raise InputError(msg, reason="InvalidSource") from error
    match sign:
        case ">=":
            return Window(begin, everything.last)
        case ">":
            return Window(end + _SECOND, everything.last)
        case "<=":
            return Window(everything.first, end)
        case "<":
            return Window(everything.first, begin - _SECOND)
    return Window(begin, end)


def _parse_day(text: str, everything: Window) -> tuple[datetime, datetime]:
    """Return the first and the last second of a day, or twice the moment; `*` is open."""
    if text == "*":
        return everything.first, everything.last
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    moment = moment.astimezone(UTC)
    return moment, moment if "T" in text else moment + timedelta(days=1) - _SECOND
