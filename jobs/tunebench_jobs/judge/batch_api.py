"""A vendor's batch API, as LiteLLM reaches it: files of requests in, files of replies out."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from tunebench_jobs.errors import InputError
from tunebench_jobs.litellm_calls import load_litellm
from tunebench_jobs.llm import Endpoint, build_llm_failure, list_secrets

# LiteLLM makes no batches at Anthropic, and those of other vendors have other files.
PROVIDERS = frozenset({"openai"})
URL = "/v1/chat/completions"
_WINDOW = "24h"
_TIMEOUT_SECONDS = 300.0
_ATTEMPTS = 6
_FIRST_DELAY_SECONDS = 1.0
# Batches to look through for one that was made just before a process ended.
_PAGE = 100
_PAGES = 10


class BatchEnd(StrEnum):
    """How a batch ended, in the vendor's words."""

    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class BatchView:
    """A batch as the vendor shows it; `end` is absent while it is under way."""

    end: BatchEnd | None
    done: int = 0
    # Files of replies and of requests that failed.
    files: tuple[str, ...] = ()
    # Why the whole batch failed: a word, and the vendor's message.
    code: str = ""
    message: str = ""


class BatchApi(Protocol):
    """What a vendor does with batches."""

    async def upload(self, content: bytes) -> str:
        """Send a file of requests, and return its id."""

    async def create(self, file: str) -> str:
        """Begin a batch, and return its id. Never tried twice: that would be paid for twice."""

    async def find(self, file: str) -> str | None:
        """Return the batch that was begun with a file, if there is one."""

    async def look(self, batch: str) -> BatchView:
        """Return how a batch stands."""

    async def download(self, file: str) -> bytes:
        """Return the content of a file."""


class LiteLlmBatches:
    """The batch API behind an endpoint."""

    def __init__(self, endpoint: Endpoint, *, first_delay: float = _FIRST_DELAY_SECONDS) -> None:
        """Reach it with the endpoint's address and key."""
        self._endpoint = endpoint
        self._first_delay = first_delay

    async def upload(self, content: bytes) -> str:
        """Send a file of requests, and return its id."""
        made = await self._ask("acreate_file", file=("questions.jsonl", content), purpose="batch")
        return str(made.id)

    async def create(self, file: str) -> str:
        """Begin a batch, and return its id."""
        made = await self._ask(
            "acreate_batch",
            attempts=1,
            completion_window=_WINDOW,
            endpoint=URL,
            input_file_id=file,
        )
        return str(made.id)

    async def find(self, file: str) -> str | None:
        """Return the batch that was begun with a file, if there is one; the newest come first."""
        after: str | None = None
        for _ in range(_PAGES):
            page = list((await self._ask("alist_batches", after=after, limit=_PAGE)).data)
            found = [str(batch.id) for batch in page if batch.input_file_id == file]
            if found or len(page) < _PAGE:
                return found[0] if found else None
            after = page[-1].id
        return None

    async def look(self, batch: str) -> BatchView:
        """Return how a batch stands."""
        # LiteLLM would fetch all replies once more in the background, to add up what they cost.
        quiet = {"batch_ignore_default_logging": True}
        looked = await self._ask("aretrieve_batch", batch_id=batch, litellm_metadata=quiet)
        return _build_view(looked)

    async def download(self, file: str) -> bytes:
        """Return the content of a file."""
        answer = await self._ask("afile_content", file_id=file)
        return bytes(answer.content)

    async def _ask(self, function: str, *, attempts: int = _ATTEMPTS, **arguments: Any) -> Any:
        """Call LiteLLM, and again while the server is busy or away.

        Raises:
            InputError: The server refuses.
            RetryableError: It stays away.
        """
        litellm = load_litellm()
        from openai import OpenAIError  # noqa: PLC0415 - LiteLLM loaded it

        call: Callable[..., Awaitable[Any]] = getattr(litellm, function)
        place = {"api_base": self._endpoint.api_base, "api_key": self._endpoint.api_key}
        given = {name: value for name, value in place.items() if value is not None}
        for attempt in range(attempts):
            try:
                return await call(
                    custom_llm_provider="openai",
                    timeout=_TIMEOUT_SECONDS,
                    max_retries=0,
                    **given,
                    **arguments,
                )
            except OpenAIError as error:
                failure = build_llm_failure(
                    error, self._endpoint.model, list_secrets(self._endpoint, os.environ)
                )
                if isinstance(failure, InputError) or attempt == attempts - 1:
                    # Not chained: the cause's text and frames hold the key.
                    raise failure from None
            delay = self._first_delay * 2.0**attempt
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        raise AssertionError  # the last attempt returns or raises


def _build_view(raw: Any) -> BatchView:
    ends = {str(end) for end in BatchEnd}
    counts = raw.request_counts
    errors = list(raw.errors.data or ()) if raw.errors else []
    files = (getattr(raw, name, None) for name in ("output_file_id", "error_file_id"))
    return BatchView(
        end=BatchEnd(raw.status) if raw.status in ends else None,
        done=(counts.completed + counts.failed) if counts else 0,
        files=tuple(str(file) for file in files if file),
        code=str(errors[0].code or "") if errors else "",
        message=str(errors[0].message or "") if errors else "",
    )
