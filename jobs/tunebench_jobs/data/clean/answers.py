"""Whether an answer is worth learning: valid, whole, about the diff, and not too long."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from tunebench_api.v1alpha1 import Tool
from tunebench_api.v1alpha1.dataset import CleaningStep
from tunebench_jobs.answers import ParsedAnswer, parse_answer
from tunebench_jobs.answers.guarded_yaml import load_guarded
from tunebench_jobs.data.drops import DETAIL_CHARACTERS, Finding, RowDrop
from tunebench_jobs.prompts import Messages
from tunebench_jobs.rows import PullRequest
from tunebench_jobs.tokens import count_bytes, count_tokens

# What servers call an end at the limit of tokens.
_LENGTH_REASONS = frozenset({"length", "max_tokens"})
_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
_OPENING = re.compile(r"\A\s*```(?:ya?ml)?[ \t]*\r?\n")
# A key, or the beginning of a block, with nothing after it.
_OPEN_KEY = re.compile(r"\s*(?:- )?[A-Za-z_][\w\[\]-]*:\s*(?:[|>][-+0-9]{0,2}\s*)?\Z|\s*-\s*\Z")
# What no sentence ends with.
_OPEN_END = re.compile(
    r"(?:[,(\[{]|\s[-&+=]|\b(?:a|an|and|are|as|at|be|because|but|by|can|could|does|for|from|has|have"
    r"|if|in|into|is|it's|may|might|must|nor|of|on|or|our|should|so|than|that|the|their|these|this"
    r"|those|to|was|were|when|where|which|while|who|whose|will|with|without|would|your))\Z",
    re.IGNORECASE,
)
_MIN_SENTENCE = 40
# What the schema says of an entry that lacks a key, or that is none.
_ENTRY = re.compile(
    r"`(?:\w+\.)*?(?P<list>[\w\[\]-]+)\.(?P<index>\d+)(?:\.[\w\[\]-]+`: Field required|`: )"
)
_PROSE = frozenset(
    {"description", "changes_summary", "possible_issues", "security_concerns", "issue_content"}
    | {"suggestion", "suggestion_content", "one_sentence_summary", "relevant_tests", "title"}
)
_QUOTES = "'\"` \t\r\n"


def check_answer(  # noqa: PLR0913 - three of them are options
    pr: PullRequest,
    tool: Tool,
    text: str | None,
    *,
    skip: Collection[CleaningStep] = (),
    semantic_files: bool = True,
    finish_reason: str | None = None,
) -> Finding | None:
    """Return why an answer to a tool is not worth learning, or nothing.

    Args:
        pr: What was asked about, as the prompt shows it.
        tool: What was asked.
        text: The answer.
        skip: Steps to leave out; the schema is always held to.
        semantic_files: Whether Describe was asked for `pr_files`.
        finish_reason: Why its writer stopped, where that is known.
    """
    if text is None or not text.strip():
        return Finding(RowDrop.NO_ANSWER)
    parsed = parse_answer(tool, text, semantic_files=semantic_files)
    if CleaningStep.ANSWER_COMPLETE not in skip:
        cut = find_cut(text, parsed, finish_reason)
        if cut:
            return Finding(RowDrop.ANSWER_CUT_OFF, cut)
    if parsed.level == "invalid" or parsed.data is None:
        return Finding(RowDrop.ANSWER_INVALID, (parsed.problem or "")[:DETAIL_CHARACTERS])
    if CleaningStep.ANSWER_FILES not in skip:
        unknown = find_unknown_file(parsed.data, pr)
        if unknown is not None:
            detail = f"`{unknown}` is not in the diff"
            return Finding(RowDrop.ANSWER_FILES, detail[:DETAIL_CHARACTERS])
    return None


def check_length(
    messages: Messages, answer: str, limit: int | None, count: Callable[[str], int] = count_tokens
) -> Finding | None:
    """Say so if a prompt with its answer has more than `limit` tokens; no limit is none.

    Raises:
        InputError: The vocabulary is not installed.
    """
    if limit is None:
        return None
    texts = (messages.system, messages.user, answer)
    # A token has one byte at least, so most texts need not be counted.
    if sum(map(count_bytes, texts)) <= limit:
        return None
    tokens = sum(map(count, texts))
    if tokens <= limit:
        return None
    return Finding(RowDrop.TOO_MANY_TOKENS, f"{tokens} tokens, {limit} are allowed")


def find_cut(text: str, parsed: ParsedAnswer, finish_reason: str | None) -> str | None:
    """Return what shows that an answer ends before its end, or nothing."""
    return next(_iter_cuts(text, parsed, finish_reason), None)


def list_named_files(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files that an answer refers to."""
    review = data.get("review") or {}
    for entries, key in (
        (data.get("pr_files"), "filename"),
        (review.get("key_issues_to_review"), "relevant_file"),
        (data.get("code_feedback"), "relevant_file"),
        (data.get("code_suggestions"), "relevant_file"),
    ):
        yield from (entry[key] for entry in entries or () if entry.get(key))
    for part in review.get("can_be_split") or ():
        yield from part.get("relevant_files") or ()


def find_unknown_file(data: Mapping[str, Any], pr: PullRequest) -> str | None:
    """Return the first file that an answer refers to and the diff lacks.

    Names are compared as git does, with their case, but without quotes and a leading `./` or `/`.
    The old name of a file that moved is known too.
    """
    known = {_normalise_path(file.path) for file in pr.files}
    known |= {_normalise_path(file.previous_path) for file in pr.files if file.previous_path}
    named = ((name, _normalise_path(name)) for name in list_named_files(data))
    return next((name for name, path in named if path not in known), None)


def _iter_cuts(text: str, parsed: ParsedAnswer, finish_reason: str | None) -> Iterator[str]:
    if finish_reason in _LENGTH_REASONS:
        yield f"its writer stopped at `{finish_reason}`"
    body = _strip_fence(text)
    if body is None:
        yield "a fence is not closed"
        return
    if _OPEN_KEY.match(body.rsplit("\n", 1)[-1]):
        yield "the last key has no value"
    if parsed.level != "strict":
        yield from _iter_broken_ends(body, parsed)
    if "```" in body or _OPEN_END.search(body[-_MIN_SENTENCE:]):
        yield from _iter_open_texts(*_find_last(load_guarded(body).value))


def _iter_broken_ends(body: str, parsed: ParsedAnswer) -> Iterator[str]:
    """Yield what is wrong at the end of an answer that breaks YAML or its schema."""
    loaded = load_guarded(body)
    if loaded.problem and loaded.line is not None and loaded.line >= body.count("\n"):
        yield "the last line is no whole YAML"
    if parsed.problem and _is_last_entry(parsed.problem, loaded.value):
        yield "the last entry lacks keys"


def _iter_open_texts(key: str, value: str) -> Iterator[str]:
    """Yield what is open at the end of the last text."""
    if key not in _PROSE:
        return
    if len(_FENCE.findall(value)) % 2:
        yield "a fence is not closed"
    if len(value) >= _MIN_SENTENCE and _OPEN_END.search(value[-_MIN_SENTENCE:]):
        yield "the last sentence has no end"


def _normalise_path(path: str) -> str:
    return path.strip(_QUOTES).removeprefix("./").removeprefix("/")


def _strip_fence(text: str) -> str | None:
    """Return an answer without the fence around it, or nothing if that does not end.

    Prompts end in an open fence, so an answer may close one that it did not open.
    """
    opening = _OPENING.match(text)
    body = text.rstrip()
    closed = body.endswith("\n```")
    if opening and not closed:
        return None
    return body[opening.end() if opening else 0 :].removesuffix("```").rstrip()


def _is_last_entry(problem: str, value: object) -> bool:
    """Whether what the schema misses is missing in the last entry of its list."""
    match = _ENTRY.match(problem)
    if match is None or not isinstance(value, Mapping):
        return False
    review = value.get("review")
    places = (value, review if isinstance(review, Mapping) else {})
    found = next((place[match["list"]] for place in places if match["list"] in place), None)
    # Only the end of the text can be cut off.
    is_last_key = any(next(reversed(place), None) == match["list"] for place in places)
    return is_last_key and isinstance(found, list) and int(match["index"]) == len(found) - 1


def _find_last(value: object, key: str = "") -> tuple[str, str]:
    """Return the last text of an answer and its key."""
    while isinstance(value, Mapping | list) and value:
        if isinstance(value, list):
            value = value[-1]
        else:
            key, value = list(value.items())[-1]
    return str(key), value if isinstance(value, str) else ""
