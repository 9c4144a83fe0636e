"""Many git repositories, named in a list and read one after another."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunebench_api.places import is_url
from tunebench_api.repositories import (
    ListedRepository,
    is_clone_address,
    parse_repository_list,
    resolve_address,
)
from tunebench_jobs.data.git_pulls import DroppedCommit
from tunebench_jobs.data.git_repository import redact_url
from tunebench_jobs.data.git_source import GitHistory, GitOptions, count_drops, open_history
from tunebench_jobs.data.opened import BrokenRow, OpenedSource, Row
from tunebench_jobs.data.parse_row import build_broken
from tunebench_jobs.data.urls import read_url, redact_uri
from tunebench_jobs.errors import InputError
from tunebench_jobs.local_paths import parse_local_path

MAX_LIST_BYTES = 4 << 20
_COUNTS = ("commits_seen", "commits_kept")


@dataclass(frozen=True)
class RepositoryList:
    """A list; `folder` is what its paths are relative to, and a list from elsewhere has none."""

    shown: str
    sha256: str
    folder: str | None
    entries: tuple[ListedRepository, ...]


def open_listed(
    uri: str, ref: str, options: GitOptions, *, dataset: str, field: str
) -> OpenedSource:
    """Open all repositories of a list; one that cannot be read is a broken row.

    Raises:
        InputError: The list is absent or broken.
        RetryableError: The list's server does not answer.
    """
    found = load_repository_list(uri, field)
    facts: dict[str, Any] = {"list": found.shown, "sha256": found.sha256, "ref": ref}
    dropped: list[DroppedCommit] = []
    return OpenedSource(dataset, _read_all(found, ref, options, facts, dropped), facts, dropped)


def load_repository_list(uri: str, field: str) -> RepositoryList:
    """Read a list.

    Raises:
        InputError: It is absent or broken.
        RetryableError: Its server does not answer.
    """
    if is_url(uri):
        content, folder = read_url(uri, field, MAX_LIST_BYTES), None
    else:
        content, folder = _load_local(parse_local_path(uri, field), uri, field)
    try:
        entries = parse_repository_list(content.decode())
    except ValueError as error:
        msg = f"`{field}`: {redact_uri(uri)} is no list of repositories: {error}"
        raise InputError(msg, reason="InvalidSource") from error
    return RepositoryList(redact_uri(uri), hashlib.sha256(content).hexdigest(), folder, entries)


def _load_local(path: Path, uri: str, field: str) -> tuple[bytes, str | None]:
    if not path.is_file():
        msg = f"`{field}` must be an existing file, got `{path}`"
        raise InputError(msg, reason="FileNotFound")
    if path.stat().st_size > MAX_LIST_BYTES:
        msg = f"`{field}` must have at most {MAX_LIST_BYTES} bytes, got more in `{path}`"
        raise InputError(msg, reason="InvalidSource")
    # The copy of a list out of a bucket lies where no repository is.
    return path.read_bytes(), None if uri.startswith("s3:") else str(path.resolve().parent)


def _read_all(
    found: RepositoryList,
    ref: str,
    options: GitOptions,
    facts: dict[str, Any],
    dropped: list[DroppedCommit],
) -> Iterator[Row | BrokenRow]:
    places = _Places()
    read: list[dict[str, Any]] = []
    for entry in found.entries:
        origin = f"{found.shown}:{entry.line}"
        try:
            history = _open_entry(entry, found, ref, options, places)
            yield from history.read()
        except InputError as error:
            read.append({"repository": redact_url(entry.address), "problem": str(error)})
            yield build_broken(origin, f"the repository cannot be read: {error}")
        else:
            read.append(history.facts)
            dropped += history.dropped
        facts |= _sum_up(read, dropped)


def _open_entry(
    entry: ListedRepository,
    found: RepositoryList,
    ref: str,
    options: GitOptions,
    places: _Places,
) -> GitHistory:
    if found.folder is None and not is_clone_address(entry.address):
        msg = (
            f"a list that lies elsewhere must have clone addresses, got {entry.address}; "
            "a path means nothing there"
        )
        raise InputError(msg, reason="InvalidSource")
    address = resolve_address(entry.address, found.folder or "")
    history = open_history(address, entry.ref or ref, options)
    name = places.take(history.repository.name, address, history.facts["ref"], entry.line)
    return replace(history, repository=replace(history.repository, name=name))


class _Places:
    """Keeps apart the repositories of a list, because ids of pull requests begin with names."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], int] = {}
        self._addresses: dict[str, str] = {}

    def take(self, name: str, address: str, ref: str, line: int) -> str:
        """Return the name of a repository in this list.

        Raises:
            InputError: It is listed twice, or another one has its name.
        """
        first = self._lines.setdefault((address, ref), line)
        if first != line:
            msg = f"`{redact_url(address)}` at `{ref}` is listed in line {first} already"
            raise InputError(msg, reason="InvalidSource")
        # Two folders may have one name, and rarely the folders around them too.
        longer = "/".join(address.rstrip("/").removesuffix(".git").split("/")[-2:])
        for candidate in (name, longer):
            if self._addresses.setdefault(candidate, address) == address:
                return candidate
        msg = f"`{redact_url(address)}` has the name `{name}` of another repository in this list"
        raise InputError(msg, reason="InvalidSource")


def _sum_up(read: list[dict[str, Any]], dropped: list[DroppedCommit]) -> dict[str, Any]:
    totals: Counter[str] = Counter()
    for each in read:
        totals.update({name: each[name] for name in _COUNTS if name in each})
    counts: Mapping[str, int] = {name: totals[name] for name in _COUNTS}
    return {"repositories": read, **counts, "commits_dropped": count_drops(dropped)}
