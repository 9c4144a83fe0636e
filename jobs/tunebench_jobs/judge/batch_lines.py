"""The lines of a batch's files: requests as OpenAI's batch API wants them, and its replies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tunebench_jobs.judge.batch_api import URL
from tunebench_jobs.judge.comparisons import Message
from tunebench_jobs.judge.ledger import MissingCause
from tunebench_jobs.llm import Reply, is_token_count
from tunebench_jobs.parameters import Sent

_OK = 200
# Of one question: the same one may be answered later.
_LATER = frozenset({408, 409, 429})
_SERVER_ERROR = 500
_MAX_MESSAGE = 600
_CAUSES = {
    "context_length_exceeded": MissingCause.CONTEXT_EXCEEDED,
    "string_above_max_length": MissingCause.CONTEXT_EXCEEDED,
    "content_filter": MissingCause.REFUSED,
    "content_policy_violation": MissingCause.REFUSED,
}


@dataclass(frozen=True)
class Said:
    """What a batch says to one question; with nothing but the key, it is to be asked again."""

    key: str
    reply: Reply | None = None
    missing: MissingCause | None = None
    # Why the judge takes no such question at all: its status and words.
    refusal: tuple[int, str] | None = None


def build_line(key: str, messages: Sequence[Message], model: str, sent: Sent) -> bytes:
    """Return the request for one question."""
    body = {"model": model, "messages": [dict(message) for message in messages], **sent}
    request = {"custom_id": key, "method": "POST", "url": URL, "body": body}
    return json.dumps(request, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def group_lines(
    lines: Iterable[tuple[str, bytes]], *, most_lines: int, most_bytes: int
) -> Iterator[dict[str, bytes]]:
    """Yield what fits into one file each, by key; a line that is too long goes alone."""
    group: dict[str, bytes] = {}
    size = 0
    for key, line in lines:
        if group and (len(group) >= most_lines or size + len(line) > most_bytes):
            yield group
            group, size = {}, 0
        group[key] = line
        size += len(line)
    if group:
        yield group


def parse_lines(content: bytes) -> Iterator[Said]:
    """Yield what a file of replies or errors says; a line that is none of these says nothing."""
    for line in content.splitlines():
        try:
            said = _parse_line(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
            continue
        if said is not None:
            yield said


def _parse_line(line: Any) -> Said | None:
    key, response = line["custom_id"], line.get("response") or {}
    if not isinstance(key, str):
        return None
    status, body = response.get("status_code"), response.get("body") or {}
    if status == _OK:
        return Said(key, reply=_parse_reply(body))
    error = body.get("error") or line.get("error") or {}
    cause = _find_cause(error)
    if cause is not None:
        return Said(key, missing=cause)
    if not isinstance(status, int) or status in _LATER or status >= _SERVER_ERROR or status < _OK:
        return Said(key)
    return Said(key, refusal=(status, str(error.get("message") or "")[:_MAX_MESSAGE]))


def _parse_reply(body: Any) -> Reply:
    choice = body["choices"][0]
    usage = body.get("usage") or {}
    return Reply(
        text=str(choice["message"].get("content") or ""),
        cost_usd=None,
        finish_reason=str(choice.get("finish_reason") or "stop"),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def _count(tokens: Any) -> int:
    """Return how many tokens a server has counted; nothing where it cannot count."""
    return int(tokens) if isinstance(tokens, int | float) and is_token_count(tokens) else 0


def _find_cause(error: Any) -> MissingCause | None:
    """Return why a question that was refused has no verdict, if that concerns it alone."""
    return _CAUSES.get(str(error.get("code") or ""))
