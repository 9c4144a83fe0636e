"""YAML of strangers: no anchors, no tags, bounded size and depth, and no surprising types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from yaml import SafeLoader as _Loader
else:
    # libyaml is ten times as fast; every wheel has it.
    _Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32

# What plain scalars are besides text: null and short whole numbers. So `relevant_tests: No` is a
# word and no boolean, and no number is too long to print.
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,8})")
_NOT_YET = object()
_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSING = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


@dataclass(frozen=True)
class Loaded:
    """What a text holds, or why it could not be loaded and on which line (from 0).

    The same text may give the same value again, so nobody changes it.
    """

    value: object = None
    problem: str | None = None
    line: int | None = None
    # Keys that some mapping has twice; the last value is the one that it has.
    repeated: frozenset[object] = frozenset()


class _RefusedYamlError(yaml.YAMLError):
    """Valid YAML that no answer needs and that could do harm."""


class _Container:
    """A list or mapping that is open; `key` waits for its value."""

    __slots__ = ("key", "mark", "value")

    def __init__(self, value: Any, mark: Any) -> None:
        """Begin with an empty one."""
        self.value = value
        self.mark = mark
        self.key: Any = _NOT_YET


# Several steps look at the same answer, one after the other.
@lru_cache(maxsize=4)
def load_guarded(text: str) -> Loaded:
    """Load one YAML document; never raises."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        return Loaded(problem=f"must have at most {MAX_BYTES} bytes")
    try:
        repeated: set[object] = set()
        value = _build_value(text, repeated)
        return Loaded(value=value, repeated=frozenset(repeated))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else None
        return Loaded(problem=f"must be YAML: {error.problem or error.context}", line=line)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Loaded(problem=f"must be YAML: {error}".splitlines()[0])


def _build_value(text: str, repeated: set[object]) -> object:
    """Build the value from the events themselves, which needs no recursion, node or alias."""
    open_ones = [_Container([], None)]
    documents: list[Any] = []
    problems: list[yaml.MarkedYAMLError] = []
    for event in yaml.parse(text, Loader=_Loader):
        kind = type(event)
        if kind is yaml.ScalarEvent:
            _refuse_references(event)
            _add(open_ones[-1], _build_scalar(event), event, problems, repeated)
        elif kind in _OPENING:
            _refuse_references(event)
            value: object = {} if kind is yaml.MappingStartEvent else []
            _add(open_ones[-1], value, event, problems, repeated)
            open_ones.append(_Container(value, event.start_mark))
            if len(open_ones) > MAX_DEPTH + 1:
                raise _RefusedYamlError(f"more than {MAX_DEPTH} levels are not allowed")
        elif kind in _CLOSING:
            open_ones.pop()
        elif kind is yaml.AliasEvent:
            _refuse_references(event)
        elif kind is yaml.DocumentStartEvent:
            documents.append(event.start_mark)
    if len(documents) > 1:
        problem = "but found another document"
        raise yaml.composer.ComposerError(None, None, problem, documents[1])
    if problems:
        raise problems[0]
    return open_ones[0].value[0] if documents else None


def _refuse_references(event: Any) -> None:
    """Refuse what refers to something else, or could be referred to, or names a type."""
    # Aliases have anchors too.
    if event.anchor is not None:
        raise _RefusedYamlError("anchors and aliases are not allowed")
    if event.tag is not None:
        raise _RefusedYamlError("tags are not allowed")


def _add(
    container: _Container,
    value: object,
    event: Any,
    problems: list[yaml.MarkedYAMLError],
    repeated: set[object],
) -> None:
    """Add an entry, a key, or the value of the last key."""
    if type(container.value) is list:
        container.value.append(value)
    elif container.key is not _NOT_YET:
        if container.key in container.value:
            repeated.add(container.key)
        container.value[container.key] = value
        container.key = _NOT_YET
    elif isinstance(value, list | dict):
        # Not raised yet, because what is no YAML at all goes first.
        problem = yaml.constructor.ConstructorError(
            "while constructing a mapping", container.mark, "found unhashable key", event.start_mark
        )
        problems.append(problem)
        container.key = None
    else:
        container.key = value


def _build_scalar(event: Any) -> str | int | None:
    value: str = event.value
    # Whether it stands without quotes.
    if not event.implicit[0]:
        return value
    if value in _NULLS:
        return None
    # Most scalars begin otherwise.
    if value[0] in "-+0123456789" and _WHOLE.fullmatch(value):
        return int(value)
    return value
