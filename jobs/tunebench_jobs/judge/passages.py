"""The passages of a judge's reply that hold a verdict, and which of them counts.

A reply should be one YAML document, and often there is prose round it, or a quotation of the very
completions under judgement, which may hold a ready-made verdict. `find_fields` says the rule.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from tunebench_jobs.answers.guarded_yaml import load_guarded

VERDICT_KEY = "which_response_was_better"
Fields = Mapping[str, Any]

_SCORES = ("score_response1", "score_response2")
# What YAML takes for a line break and a reader does not, and what it refuses. Not deleted, or
# broken keys would become whole.
_ODD = re.compile(
    "[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_QUOTED_LINE = re.compile(r"^>.*$", re.MULTILINE)
_OUTER_FENCES = re.compile(r"\A\s*(?:```|~~~)[a-zA-Z]*[ \t]*\n|\n[ \t]*(?:```|~~~)\s*\Z")
_FENCE = re.compile(r"(?P<mark>`{3,}|~{3,})(?P<rest>[^`]*)")
# Repetitions are bounded, so that no line costs the square of its length.
_VERDICT = re.compile(
    rf"""^(?P<indent>[ \t]{{0,40}})(?:[-{{][ \t\n]{{0,40}})?(?P<key>["']?{VERDICT_KEY}["']?)"""
    r"""[ \t]{0,9}:(?P<value>.*)$""",
    re.MULTILINE,
)
_FIELD = re.compile(r"""[ \t]*["']?(?P<name>why|score_response[12])["']?[ \t]*:""")
_VALUE = r"""^[ \t]{{0,40}}["']?{name}["']?[ \t]*:[ \t]*(?P<value>[^\n,}}]*)"""
_WHY = re.compile(
    r"^[ \t]{0,40}why[ \t]*:(?:[ \t]*[|>][-+]?[ \t]*$)?(?P<value>.*(?:\n[ \t]+.*)*)", re.MULTILINE
)
_SLOT = re.compile(r"(?:response|answer)?[\s_#]*([012])(?:\.0)?", re.IGNORECASE)


class UnparsableVerdictError(ValueError):
    """A reply names no winner; the message tells the judge what was wrong with it."""


@dataclass(frozen=True)
class Passage:
    """A verdict and what belongs to it.

    Attributes:
        fields: By name, the verdict among them.
        fenced: Whether it stands in a Markdown fence.
        open: Whether it is no whole verdict: its reason has begun, and no scores followed; or
            there are too many, such as those of another one that its reason quotes.
        closed: Whether something else, such as prose, stands between it and the next one.
    """

    fields: Fields
    fenced: bool
    open: bool
    closed: bool


@dataclass(frozen=True)
class _Region:
    """Lines outside of fences, or those of one fence."""

    text: str
    fenced: bool
    # Whether the fence has an end.
    whole: bool = True


def parse_slot(value: Any) -> int | None:
    """Return the place of the better completion, 0 for a tie, or nothing if it is neither."""
    match = _SLOT.fullmatch(str(value).strip().strip("\"'`*[],}. \t"))
    return int(match[1]) if match else None


def find_fields(reply: str) -> Fields:
    """Return the last verdict outside of quoted material, with the fields beside it.

    Quoted is:

    * in a reply that is one YAML document (in a fence or not): what stands in its values;
    * otherwise: lines that begin with `>`, lines that are further indented than the verdict, and
      what stands in a fence, unless verdicts stand in fences only.

    Of verdicts that are not quoted, the last valid one counts. Where nobody can tell a quotation
    from an answer, and they contradict each other, none counts, so that the judge is asked again:
    a fence after the verdict, fences alone, one key twice in a document, or a second verdict
    within a reason that is not indented.

    Raises:
        UnparsableVerdictError: The reply names no winner.
    """
    text = _clean(reply)
    whole = _load_fields(_OUTER_FENCES.sub("", text))
    if whole is not None:
        return whole
    regions = list(_split_at_fences(text))
    passages = list(_find_passages(regions))
    valid = [each for each in passages if parse_slot(each.fields[VERDICT_KEY]) is not None]
    if not valid:
        if passages:
            return passages[-1].fields
        msg = f"the reply must be YAML with the key `{VERDICT_KEY}`, which was not found"
        raise UnparsableVerdictError(msg)
    chosen = next((each for each in reversed(valid) if not each.fenced), valid[-1])
    rivals = _list_rivals(valid, chosen, trusted=all(region.whole for region in regions))
    slots = {parse_slot(each.fields[VERDICT_KEY]) for each in (chosen, *rivals)}
    if len(slots) > 1:
        msg = (
            f"the reply must have one verdict, got several `{VERDICT_KEY}` that differ; quote "
            "nothing, or indent what is quoted under `why: |`"
        )
        raise UnparsableVerdictError(msg)
    return chosen.fields


def _list_rivals(valid: Sequence[Passage], chosen: Passage, *, trusted: bool) -> list[Passage]:
    """Return the verdicts that may be the answer as well as the chosen one."""
    place = next(index for index, each in enumerate(valid) if each is chosen)
    if chosen.fenced or chosen.open or not trusted:
        return [each for each in valid if each is not chosen]
    before = [each for each in valid[:place] if each.open or not (each.closed or each.fenced)]
    return [*before, *valid[place + 1 :]]


def _clean(reply: str) -> str:
    """Return the reply with plain line breaks, without odd characters and quoted lines."""
    text = re.sub(r"\r+\n", "\n", reply.removeprefix("\ufeff"))
    return _QUOTED_LINE.sub("", _ODD.sub("\ufffd", text))


def _split_at_fences(text: str) -> Iterator[_Region]:
    """Yield the text outside and inside Markdown fences that are not indented, in order."""
    lines: list[str] = []
    mark = ""
    for line in text.split("\n"):
        fence = _FENCE.fullmatch(line)
        if fence is None or (mark and not _closes(fence, mark)):
            lines.append(line)
            continue
        yield _Region("\n".join(lines), fenced=bool(mark))
        lines = []
        mark = "" if mark else fence["mark"]
    yield _Region("\n".join(lines), fenced=bool(mark), whole=not mark)


def _closes(fence: re.Match[str], mark: str) -> bool:
    return fence["mark"].startswith(mark) and not fence["rest"].strip()


def _find_passages(regions: Sequence[_Region]) -> Iterator[Passage]:
    found = [list(_VERDICT.finditer(region.text)) for region in regions]
    indents = [len(match["indent"]) for matches in found for match in matches]
    # What is further indented belongs to another value, or to quoted code.
    base = min(indents, default=0)
    for region, matches in zip(regions, found, strict=True):
        outer = [match for match in matches if len(match["indent"]) == base]
        taken = 0
        for match, following in zip_longest(outer, outer[1:]):
            if match.start() < taken:
                continue
            document = _load_json(region.text, match.start())
            if document is not None:
                fields, taken = document
                yield Passage(fields, region.fenced, open=False, closed=True)
                continue
            end = following.start() if following else len(region.text)
            yield _build_passage(region.text[match.start() : end], match, region, following)


def _load_json(text: str, start: int) -> tuple[Fields, int] | None:
    """Return the JSON object that begins here, and where it ends."""
    start += len(text[start:]) - len(text[start:].lstrip(" \t"))
    if not text.startswith("{", start):
        return None
    try:
        data, end = _JSON.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return (data, end) if VERDICT_KEY in data else None


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if [name for name, _ in pairs].count(VERDICT_KEY) > 1:
        msg = "one verdict too many"
        raise ValueError(msg)
    return dict(pairs)


# Judges break lines within strings.
_JSON = json.JSONDecoder(strict=False, object_pairs_hook=_refuse_repeated)


def _build_passage(
    text: str, match: re.Match[str], region: _Region, following: re.Match[str] | None
) -> Passage:
    """Build a passage from its lines, up to the first that is no part of a verdict."""
    # A key may stand behind a dash, or on the line after a brace.
    lead = match.group()[: match.start("key") - match.start()]
    column = len(lead) - lead.rfind("\n") - 1
    lines = text.split("\n")
    size = lead.count("\n") + 1
    names: list[str] = []
    for line in lines[size:]:
        depth = len(line) - len(line.lstrip(" \t"))
        field = _FIELD.match(line) if depth == column else None
        if line.strip() and depth <= column and field is None:
            break
        names += [field["name"]] if field else []
        size += 1
    is_open = "why" in names and not set(_SCORES) <= set(names[names.index("why") :])
    is_open = is_open or len(names) > len(set(names))
    ended = size < len(lines) or following is None
    head = "\n".join(lines[:size])
    fields = _load_fields(head) or _scan_fields(head, match)
    return Passage(fields, region.fenced, open=is_open, closed=ended and not is_open)


def _load_fields(text: str) -> Fields | None:
    """Return the mapping with the verdict that `text` is, if it is one and has one verdict."""
    # Escape sequences could spell the key, and no judge writes it so.
    if VERDICT_KEY not in text:
        return None
    loaded = load_guarded(text)
    data: Any = loaded.value
    if VERDICT_KEY in loaded.repeated:
        return None
    # A verdict may be wrapped in a list or under one key.
    for _ in range(2):
        if isinstance(data, list) and data:
            data = data[-1]
        elif isinstance(data, dict) and len(data) == 1 and VERDICT_KEY not in data:
            (data,) = data.values()
    return data if isinstance(data, dict) and VERDICT_KEY in data else None


def _scan_fields(text: str, match: re.Match[str]) -> Fields:
    """Return what the lines say, though they are no YAML."""
    fields = {VERDICT_KEY: match["value"].split("#", maxsplit=1)[0]}
    why = _WHY.search(text)
    fields |= {"why": why["value"]} if why else {}
    for name in _SCORES:
        found = re.search(_VALUE.format(name=name), text, re.MULTILINE)
        fields |= {name: found["value"]} if found else {}
    return fields
