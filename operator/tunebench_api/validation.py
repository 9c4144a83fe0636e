"""From raw YAML values to a BenchmarkRun, or to every problem in the words of its author."""

from __future__ import annotations

import datetime as dt
import difflib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tunebench_api.crd import build_schema
from tunebench_api.errors import InvalidRunError, Problem
from tunebench_api.unsupported import Backend, find_unsupported
from tunebench_api.v1alpha1 import API_VERSION, KIND, BenchmarkRun, Wire
from tunebench_api.v1alpha1.wire import PATTERN_WORDS, RULE_ERROR

# The field of problems that concern the whole input.
DOCUMENT = "document"

_SHOWN_CHARACTERS = 60

_EXPECTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}

_BOUNDS = {
    "greater_than_equal": "be at least {ge}",
    "less_than_equal": "be at most {le}",
    "too_short": "have {min_length} or more entries",
    "too_long": "have at most {max_length} entries",
    "string_too_short": "have {min_length} or more characters",
    "string_too_long": "have at most {max_length} characters",
}


def parse_run(raw: object, backend: Backend = Backend.LOCAL) -> BenchmarkRun:
    """Return the run that YAML or the API server gave as plain values, without its status.

    A status is the operator's own, and an older one may hold what the schema no longer has.

    Raises:
        InvalidRunError: Fields break the schema, or ask for what is not supported yet.
    """
    document = _parse_plain(raw)
    _check_kind(document)
    document = _without_nulls({**document, "status": None}, _schema())
    problems = list(_find_rule_problems(BenchmarkRun, document, ""))
    try:
        # Strict, and by the names in YAML only: what the API server refuses is refused here.
        run = BenchmarkRun.model_validate_json(
            json.dumps(document), strict=True, by_alias=True, by_name=False
        )
    except ValidationError as error:
        found = [_build_problem(one) for one in error.errors() if not _is_echo(one)]
        raise InvalidRunError((*found, *problems)) from None
    problems.extend(find_unsupported(run, backend))
    if problems:
        raise InvalidRunError(tuple(problems))
    return run


@functools.cache
def _schema() -> dict[str, Any]:
    return build_schema(BenchmarkRun)


def _parse_plain(raw: object) -> dict[str, Any]:
    """Return what JSON can say of the input; a date is text, as it is for kubectl."""
    try:
        plain = json.loads(json.dumps(raw, default=_build_date_text, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        message = "must hold only mappings, lists, strings, numbers, true, false and null"
        raise InvalidRunError((Problem(DOCUMENT, message),)) from None
    if not isinstance(plain, dict):
        message = f"must be a mapping with `apiVersion`, `kind` and `spec`, got {_show(plain)}"
        raise InvalidRunError((Problem(DOCUMENT, message),))
    return plain


def _build_date_text(value: object) -> str:
    if isinstance(value, dt.date):
        return value.isoformat()
    raise TypeError


def _check_kind(document: Mapping[str, Any]) -> None:
    """Refuse another kind of object before its fields make noise."""
    problems = tuple(
        Problem(
            field,
            f"must be `{expected}`, got {_show(document[field])}"
            if field in document
            else f"must be given: `{expected}`",
        )
        for field, expected in (("apiVersion", API_VERSION), ("kind", KIND))
        if document.get(field) != expected
    )
    if problems:
        raise InvalidRunError(problems)


def _without_nulls(value: Any, schema: Mapping[str, Any]) -> Any:
    """Drop known fields that are null, as the API server does: they count as absent."""
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        return {
            name: _without_nulls(field, fields.get(name, {}))
            for name, field in value.items()
            if field is not None or name not in fields
        }
    if isinstance(value, list):
        return [_without_nulls(entry, schema.get("items", {})) for entry in value]
    return value


def _find_rule_problems(model: type[Wire], raw: Any, path: str) -> Iterator[Problem]:
    """Yield the broken rules of a value and of all below it.

    Pydantic knows the rules too, but is silent about those of a value with another problem.
    """
    if not isinstance(raw, dict):
        return
    for where, violation in model.find_violations(raw):
        yield Problem(f"{path}{where}".lstrip("."), violation)
    for field in model.model_fields.values():
        nested = _find_wire_type(field.annotation)
        if nested is None or field.alias is None:
            continue
        value, below = raw.get(field.alias), f"{path}.{field.alias}"
        if isinstance(value, list):
            for index, entry in enumerate(value):
                yield from _find_rule_problems(nested, entry, f"{below}[{index}]")
        else:
            yield from _find_rule_problems(nested, value, below)


def _find_wire_type(annotation: Any) -> type[Wire] | None:
    """Return the type of ours in an annotation such as `tuple[ModelSpec, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Wire):
        return annotation
    found = (_find_wire_type(argument) for argument in get_args(annotation))
    return next((one for one in found if one), None)


def _is_echo(error: ErrorDetails) -> bool:
    """Return whether another problem says it already: a rule, or a list short of bad entries."""
    if error["type"] == "too_short":
        return bool(len(error["input"]) >= error["ctx"]["min_length"])
    return error["type"] == RULE_ERROR


def _build_problem(error: ErrorDetails) -> Problem:
    location = error["loc"]
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in location)
    return Problem(path.lstrip("."), _build_message(error))


def _build_message(error: ErrorDetails) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    schema = _find_schema(error["loc"])
    if kind == "missing":
        return "must be given"
    if kind == "extra_forbidden":
        return _build_unknown_message(str(error["loc"][-1]), _find_schema(error["loc"][:-1]))
    if kind == "enum":
        return _build_choice_message(value, schema["enum"])
    if kind in _EXPECTED:
        return _build_type_message(kind, value, schema)
    if kind == "string_pattern_mismatch":
        return f"must be {PATTERN_WORDS[context['pattern']]}, got {_show(value)}"
    bound = _BOUNDS.get(kind, "follow the schema of BenchmarkRun").format_map(context)
    return f"must {bound}, got {_show_size(kind, value)}"


def _show_size(kind: str, value: Any) -> str:
    return str(len(value)) if kind in {"too_short", "too_long", "string_too_long"} else _show(value)


def _build_type_message(kind: str, value: Any, schema: Mapping[str, Any]) -> str:
    expected, remedy = _EXPECTED[kind], ""
    if "pattern" in schema:
        expected = PATTERN_WORDS[schema["pattern"]]
    elif kind == "string_type" and isinstance(value, int | float):
        remedy = "; put it in quotes"
    elif kind in {"int_type", "bool_type"} and isinstance(value, str):
        remedy = f", which is a string; write {expected} without quotes"
    return f"must be {expected}, got {_show(value)}{remedy}"


def _build_choice_message(value: Any, choices: Sequence[str]) -> str:
    listed = ", ".join(f"`{choice}`" for choice in choices)
    message = f"must be one of {listed}, got {_show(value)}"
    meant = _find_similar(str(value), choices)
    return f"{message}; did you mean `{meant}`?" if meant else message


def _build_unknown_message(name: str, schema: Mapping[str, Any]) -> str:
    known = list(schema.get("properties", {}))
    meant = _find_similar(name, known) or _find_deeper(name, schema)
    if meant:
        return f"is not a known field; did you mean `{meant}`?"
    return f"is not a known field; known here: {', '.join(f'`{field}`' for field in known)}"


def _find_similar(word: str, candidates: Sequence[str]) -> str | None:
    """Return the candidate that a typo, another case or snake_case may stand for."""
    by_letters = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.lower().replace("_", ""), by_letters, n=1, cutoff=0.6)
    return by_letters[close[0]] if close else None


def _find_deeper(name: str, schema: Mapping[str, Any], path: str = "") -> str | None:
    """Return where below a mapping a field of this very name belongs."""
    for field, below in schema.get("properties", {}).items():
        if field == name and path:
            return f"{path}{field}"
        if found := _find_deeper(name, below, f"{path}{field}."):
            return found
    return None


def _find_schema(location: Sequence[int | str]) -> dict[str, Any]:
    schema = _schema()
    for key in location:
        schema = (
            schema.get("items", {})
            if isinstance(key, int)
            else schema.get("properties", {}).get(key, {})
        )
    return schema


def _show(value: Any) -> str:
    """Return a value as YAML would write it, cut where it grows long."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str) and len(value) > _SHOWN_CHARACTERS:
        value = f"{value[:_SHOWN_CHARACTERS]}…"
    return json.dumps(value, ensure_ascii=False)
