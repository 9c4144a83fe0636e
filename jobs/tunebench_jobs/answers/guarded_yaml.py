"""YAML of strangers: no anchors, no tags, bounded size and depth, and no surprising types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from yaml import SafeLoader as _BaseLoader
else:
    # libyaml is ten times as fast; every wheel has it.
    _BaseLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32

_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSING = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


@dataclass(frozen=True)
class Loaded:
    """What a text holds, or why it could not be loaded and on which line (from 0)."""

    value: object = None
    problem: str | None = None
    line: int | None = None


class _TextLoader(_BaseLoader):
    """Reads every plain scalar as text, except null and short whole numbers.

    `relevant_tests: No` is a word here and no boolean, and no number is too long to print.
    """


_TextLoader.yaml_implicit_resolvers = {}
_TextLoader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_TextLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,8})$"), list("-+0123456789")
)


class _RefusedYamlError(yaml.YAMLError):
    """Valid YAML that no answer needs and that could do harm."""


def load_guarded(text: str) -> Loaded:
    """Load one YAML document; never raises."""
    if len(text.encode(errors="replace")) > MAX_BYTES:
        return Loaded(problem=f"must have at most {MAX_BYTES} bytes")
    try:
        _refuse_harmful(text)
        return Loaded(value=yaml.load(text, Loader=_TextLoader))  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else None
        return Loaded(problem=f"must be YAML: {error.problem or error.context}", line=line)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Loaded(problem=f"must be YAML: {error}".splitlines()[0])


def _refuse_harmful(text: str) -> None:
    """Walk the events, which needs no recursion and resolves no alias."""
    depth = 0
    for event in yaml.parse(text, Loader=_TextLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _RefusedYamlError("anchors and aliases are not allowed")
        if getattr(event, "tag", None) is not None:
            raise _RefusedYamlError("tags are not allowed")
        depth += isinstance(event, _OPENING) - isinstance(event, _CLOSING)
        if depth > MAX_DEPTH:
            raise _RefusedYamlError(f"more than {MAX_DEPTH} levels are not allowed")
