"""Publish a bundle on the Hugging Face hub: one commit, so that readers see all of it or nothing.

Large files go before the commit and are known by their content: an interrupted upload goes on where
it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from tunebench_jobs.data.publish.bundle import Bundle
from tunebench_jobs.errors import InputError, JobError, RetryableError

_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT})
_KIND = "dataset"


def send_to_hub(bundle: Bundle, name: str, tell: Callable[[str], None], *, private: bool) -> str:
    """Commit a bundle to a dataset of the hub, which is made if it is absent; return the commit.

    Raises:
        InputError: The token is missing or may not write, or the dataset is open to all though it
            is to be private.
        RetryableError: The hub does not answer.
    """
    from huggingface_hub import CommitOperationAdd, HfApi  # noqa: PLC0415 - a second
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 - likewise

    endpoint = os.environ.get("HF_ENDPOINT")
    api = HfApi(endpoint=endpoint, token=os.environ.get("HF_TOKEN") or None)
    operations = [
        CommitOperationAdd(
            file.name, str(file.source) if isinstance(file.source, Path) else file.source
        )
        for file in bundle.files
    ]
    try:
        _prepare_dataset(api, name, private=private)
        tell(f"sending {len(operations)} files")
        commit = api.create_commit(
            name,
            operations,
            commit_message=f"Dataset {bundle.manifest.sha256[:12]}",
            repo_type=_KIND,
        )
    # The library's words for a transfer that failed, and for an answer that it does not understand.
    except (HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        raise _build_error(name, error) from error
    return str(commit.oid)


def _prepare_dataset(api: Any, name: str, *, private: bool) -> None:
    """Make a dataset if it is absent; one that is there keeps who may see it."""
    from huggingface_hub.errors import RepositoryNotFoundError  # noqa: PLC0415 - as above

    try:
        info = api.repo_info(name, repo_type=_KIND)
    except RepositoryNotFoundError:
        api.create_repo(name, repo_type=_KIND, private=private)
        return
    if private and not info.private:
        msg = (
            f"`--to`: the dataset {name} is there already and open to all; give `--public` if that "
            "is meant, or another name"
        )
        raise InputError(msg, reason="DatasetPublic")


def _build_error(name: str, error: Exception) -> JobError:
    from huggingface_hub.errors import LocalTokenNotFoundError  # noqa: PLC0415 - as above

    status = _find_status(error)
    if status in _DENIED or isinstance(error, LocalTokenNotFoundError):
        msg = f"`--to`: {name} is denied; set HF_TOKEN to a token that may write there: {error}"
        return InputError(msg, reason="HubDenied")
    if status in _REFUSED:
        msg = f"`--to`: the hub refuses {name}; correct what it names: {error}"
        return InputError(msg, reason="HubRefused")
    msg = f"`--to`: the hub does not take {name}; what arrived is kept, start again: {error}"
    return RetryableError(msg, reason="HubUnavailable")


def _find_status(error: BaseException | None) -> int | None:
    """Return the status of an answer that is among the causes of an error."""
    while error is not None:
        if (response := getattr(error, "response", None)) is not None:
            return int(response.status_code)
        error = error.__cause__
    return None
