"""The files and commits of one pull request: two requests, where it is of the common kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tunebench_jobs.data.github.client import DIFF, RAW, GitHubClient
from tunebench_jobs.data.github.errors import Refusal, RefusedError
from tunebench_jobs.data.github.models import PullDetails, PullFile, Repository
from tunebench_jobs.data.github.raw_diff import parse_raw_diff
from tunebench_jobs.data.github.texts import build_new_text, build_old_text

_PER_PAGE = 100
# Of more, GitHub makes no raw diff either.
MAX_FILES = 300
# As much as `cleaning.maxDiffKiB` may be.
MAX_DIFF_BYTES = 16 << 20
# A file to show a model is no larger.
_MAX_TEXT_BYTES = 1 << 20
_SHOWN = 200


async def fetch_details(
    client: GitHubClient, repository: Repository, number: int, *, texts: bool
) -> PullDetails:
    """Return files, patches and commit messages; what GitHub refuses lastingly is told in them.

    Raises:
        InputError: The token is refused.
        RetryableError: GitHub is away.
    """
    pull = f"/repos/{repository.name}/pulls/{number}"
    try:
        files = await _fetch_files(client, pull)
        if texts:
            files = [await _fetch_texts(client, repository, file) for file in files]
        commits = await _fetch_list(client, f"{pull}/commits", MAX_FILES)
        messages = tuple(each["commit"]["message"] for each in commits)
        return PullDetails(number=number, files=tuple(files), commits=messages, texts=texts)
    except RefusedError as error:
        return PullDetails(
            number=number, texts=texts, refusal=error.refusal, detail=str(error)[:_SHOWN]
        )
    except (ValidationError, KeyError, TypeError) as error:
        detail = f"not what the API documents: {type(error).__name__}"
        return PullDetails(number=number, texts=texts, refusal=Refusal.BROKEN, detail=detail)


async def _fetch_files(client: GitHubClient, pull: str) -> list[PullFile]:
    raw = await _fetch_list(client, f"{pull}/files", MAX_FILES)
    files = [PullFile.model_validate(each) for each in raw]
    if len({file.path for file in files}) < len(files):
        msg = f"{pull} lists a file twice"
        raise RefusedError(msg, Refusal.BROKEN)
    if any(file.patch is None and file.changes for file in files):
        files = await _fill_patches(client, pull, files)
    size = sum(len(file.patch or "") for file in files)
    if size > MAX_DIFF_BYTES:
        msg = f"{size} characters of diff, more than {MAX_DIFF_BYTES}"
        raise RefusedError(msg, Refusal.TOO_LARGE)
    return files


async def _fetch_list(client: GitHubClient, path: str, limit: int) -> Sequence[Any]:
    """Return all pages of a list.

    Raises:
        RefusedError: It has more than `limit` entries, or is no list that ends.
    """
    found: list[Any] = []
    read: set[str] = set()
    url: str | None = f"{path}?per_page={_PER_PAGE}"
    while url is not None:
        if url in read:
            msg = f"{path} has no end"
            raise RefusedError(msg, Refusal.BROKEN)
        read.add(url)
        if len(found) >= limit:
            msg = f"{path} has more than {limit} entries"
            raise RefusedError(msg, Refusal.TOO_LARGE)
        answer = await client.get(url)
        if not isinstance(answer.data, list):
            msg = f"{path} must be a list"
            raise RefusedError(msg, Refusal.BROKEN)
        found += answer.data
        url = answer.next_url if answer.data else None
    return found


async def _fill_patches(
    client: GitHubClient, pull: str, files: Sequence[PullFile]
) -> list[PullFile]:
    """Take the patches that are left out of the list from the raw diff.

    Raises:
        RefusedError: It has not got them either.
    """
    answer = await client.get(pull, accept=DIFF, max_bytes=MAX_DIFF_BYTES)
    patches = parse_raw_diff(answer.data)
    filled = []
    for file in files:
        patch = file.patch if file.patch is not None else patches.get(file.path)
        if patch is None and file.changes:
            msg = f"GitHub has no diff of {file.path[:_SHOWN]!a}"
            raise RefusedError(msg, Refusal.NO_DIFF)
        filled.append(file.model_copy(update={"patch": patch}))
    return filled


async def _fetch_texts(client: GitHubClient, repository: Repository, file: PullFile) -> PullFile:
    """Add the whole file before and after, where it is text of a size to show.

    What is only in the patch needs no request: files that were added or removed.
    """
    old: str | None = ""
    new: str | None = ""
    patch = file.patch or ""
    if file.status == "added":
        new = build_new_text("", patch) if patch else None
    elif file.status == "removed":
        old = build_old_text("", patch) if patch else None
    else:
        new = await _fetch_text(client, repository, file)
        old = None if new is None else build_old_text(new, patch)
    if old is None or new is None:
        return file
    return file.model_copy(update={"old_text": old, "new_text": new})


async def _fetch_text(client: GitHubClient, repository: Repository, file: PullFile) -> str | None:
    """Return the new content of a file; None where it is large, no text or gone."""
    if not file.sha:
        return None
    blob = f"/repos/{repository.name}/git/blobs/{file.sha}"
    try:
        answer = await client.get(blob, accept=RAW, max_bytes=_MAX_TEXT_BYTES)
        text: str = answer.data.decode()
    except (RefusedError, UnicodeDecodeError):
        return None
    return None if "\0" in text else text
