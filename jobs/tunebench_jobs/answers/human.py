"""The answer to Describe that people gave: their title and their description."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import yaml

from tunebench_jobs.errors import InputError
from tunebench_jobs.rows import PullRequest

BUG_FIX = "Bug fix"
TESTS = "Tests"
ENHANCEMENT = "Enhancement"
DOCUMENTATION = "Documentation"
OTHER = "Other"

_PREFIX = re.compile(r"^\s*(?P<word>[A-Za-z]+)\s*(?:\([^)]*\))?!?:")
_PREFIX_TYPES = {
    **dict.fromkeys(("fix", "bugfix", "hotfix", "bug"), BUG_FIX),
    **dict.fromkeys(("feat", "feature", "perf", "refactor", "enhancement"), ENHANCEMENT),
    **dict.fromkeys(("test", "tests"), TESTS),
    **dict.fromkeys(("doc", "docs"), DOCUMENTATION),
    **dict.fromkeys(("build", "chore", "ci", "deps", "release", "revert", "style"), OTHER),
}
_TEST_PATH = re.compile(
    r"(?:^|/)(?:tests?|__tests__|spec|testing)/|(?:^|/)test_[^/]*$|[._-](?:test|spec)s?\.[^/]+$",
    re.IGNORECASE,
)
_DOCUMENT_PATH = re.compile(
    r"(?:^|/)docs?/|\.(?:md|mdx|rst|adoc|txt)$|(?:^|/)(?:readme|changelog|contributing|license)[^/]*$",
    re.IGNORECASE,
)
_TITLE_WORDS = (
    (re.compile(r"\b(?:fix|bug|crash|regression|broken|wrong|leak)", re.IGNORECASE), BUG_FIX),
    (
        re.compile(r"\b(?:docs?|documentation|docstrings?|readme|typos?)\b", re.IGNORECASE),
        DOCUMENTATION,
    ),
    (re.compile(r"\b(?:unit )?tests?\b", re.IGNORECASE), TESTS),
    (
        re.compile(
            r"\b(?:add|allow|enable|extend|implement|improve|introduce|make|optimi[sz]e|refactor|"
            r"rename|rewrite|simplify|speed|support|use)",
            re.IGNORECASE,
        ),
        ENHANCEMENT,
    ),
)


class _LiteralDumper(yaml.SafeDumper):
    """Writes text of several lines as a block scalar, as the prompts ask for."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_LiteralDumper.add_representer(str, _represent_text)


def build_human_describe_answer(pr: PullRequest) -> str:
    """Build the YAML answer to Describe from what people wrote; it has no notes on single files.

    Raises:
        InputError: The title or the description is blank.
    """
    title, description = _normalise(pr.title), _normalise(pr.description)
    for field, value in (("title", title), ("description", description)):
        if not value:
            raise InputError(
                f"`{field}` of {pr.id} must have text, got none; drop the row, or take the answer "
                "from the rows",
                reason="NoHumanText",
            )
    answer = {"type": [infer_type(pr)], "description": description, "title": title}
    return build_answer_yaml(answer)


def build_answer_yaml(answer: Mapping[str, object]) -> str:
    """Write an answer as the prompts ask for it: text of several lines as block scalars."""
    text: str = yaml.dump(
        answer, Dumper=_LiteralDumper, sort_keys=False, allow_unicode=True, width=1_000_000
    )
    return text


def infer_type(pr: PullRequest) -> str:
    """Return the type of a pull request; the first rule that applies decides.

    1. A conventional-commit prefix of the title, such as `fix:` or `feat(api)!:`.
    2. All changed files are tests, or all are documents.
    3. A telling word in the title: fixing, then documents, tests, enhancing.
    4. Otherwise, Other.
    """
    prefix = _PREFIX.match(pr.title)
    if prefix and prefix["word"].lower() in _PREFIX_TYPES:
        return _PREFIX_TYPES[prefix["word"].lower()]
    paths = [file.path for file in pr.files]
    for pattern, kind in ((_TEST_PATH, TESTS), (_DOCUMENT_PATH, DOCUMENTATION)):
        if _all_match(pattern, paths):
            return kind
    return next((kind for words, kind in _TITLE_WORDS if words.search(pr.title)), OTHER)


def _all_match(pattern: re.Pattern[str], paths: Iterable[str]) -> bool:
    return all(pattern.search(path) for path in paths)


def _normalise(text: str) -> str:
    """Drop what would force YAML into escapes: carriage returns, tabs, spaces at line ends."""
    return "\n".join(line.expandtabs(4).rstrip() for line in text.splitlines()).strip()
