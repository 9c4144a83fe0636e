"""What a pull request is for, told by its title and the paths that it changes.

The first rule that answers counts:

1. the word of a conventional commit before the colon (`fix(parser): ...`), except `chore`;
2. paths, where all changed files are of one kind: tests, documentation, or build and CI;
3. the first telling word of the title, such as `Fix`, `Rename` or `Add`;
4. nothing tells: other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """What a change is for."""

    BUG_FIX = "BugFix"
    FEATURE = "Feature"
    TESTS = "Tests"
    DOCS = "Docs"
    REFACTORING = "Refactoring"
    BUILD = "Build"
    OTHER = "Other"


# The types of https://www.conventionalcommits.org and of Angular's convention.
_CONVENTIONAL: Mapping[str, Kind] = MappingProxyType(
    {
        **dict.fromkeys(("fix", "bugfix", "hotfix"), Kind.BUG_FIX),
        **dict.fromkeys(("feat", "feature", "perf"), Kind.FEATURE),
        **dict.fromkeys(("test", "tests"), Kind.TESTS),
        **dict.fromkeys(("docs", "doc"), Kind.DOCS),
        **dict.fromkeys(("refactor", "style", "cleanup"), Kind.REFACTORING),
        **dict.fromkeys(("build", "ci", "deps"), Kind.BUILD),
    }
)
_TELLING: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.BUG_FIX: "fix fixes fixed fixing bug bugfix hotfix crash crashes regression leak "
        "deadlock panic correct corrects corrected prevent prevents avoid avoids handle handles "
        "repair resolve resolves wrong broken",
        Kind.TESTS: "test tests testing unittest unittests coverage flaky",
        Kind.DOCS: "doc docs documentation document documents readme changelog docstring "
        "docstrings typo typos",
        Kind.REFACTORING: "refactor refactors refactored refactoring rename renames renamed "
        "cleanup clean simplify simplifies move moves extract extracts deduplicate remove removes "
        "drop drops reorganize restructure rewrite format reformat lint tidy inline split unify",
        Kind.BUILD: "bump bumps upgrade upgrades pin pins build builds ci dependency dependencies "
        "deps release workflow dockerfile makefile",
        Kind.FEATURE: "add adds added adding implement implements implemented support supports "
        "introduce introduces allow allows enable enables expose exposes make makes improve "
        "improves optimize optimizes speed extend extends new feature use provide",
    }
)
_WORDS = {word: kind for kind, words in _TELLING.items() for word in words.split()}
_PREFIX = re.compile(r"^\s*([a-z]+)\s*(?:\([^)]*\))?!?:\s", re.IGNORECASE)
# Titles of strangers may be long; what tells is at the beginning.
_TITLE_CHARACTERS = 200
_TEST_PATH = re.compile(
    r"(^|/)(tests?|testing|testdata|spec|__tests__|e2e)/"
    r"|(^|/)(test_[^/]*|[^/]*[._-](test|tests|spec))\.[^/.]+$|(Test|Tests|IT)\.(java|kt|cs|scala)$",
)
_DOCS_PATH = re.compile(
    r"(^|/)(docs?|documentation|man)/|\.(md|rst|adoc|mdx)$"
    r"|(^|/)(README|CHANGELOG|CHANGES|NEWS|HISTORY|CONTRIBUTING|AUTHORS|LICENSE)[^/]*$",
    re.IGNORECASE,
)
_BUILD_PATH = re.compile(
    r"(^|/)(\.github|\.gitlab|\.circleci|\.ci|ci|cmake)/"
    r"|(^|/)(Dockerfile[^/]*|Makefile|CMakeLists\.txt|Jenkinsfile|\.[^/]*\.ya?ml|go\.(mod|sum)"
    r"|Cargo\.(toml|lock)|package(-lock)?\.json|yarn\.lock|pnpm-lock\.yaml|pom\.xml"
    r"|build\.gradle(\.kts)?|setup\.(py|cfg)|pyproject\.toml|tox\.ini|requirements[^/]*\.txt"
    r"|[^/]*\.(lock|mk|cmake|bazel|gemspec))$",
    re.IGNORECASE,
)
_PATHS = ((_TEST_PATH, Kind.TESTS), (_DOCS_PATH, Kind.DOCS), (_BUILD_PATH, Kind.BUILD))


def find_kind(title: str, paths: Iterable[str]) -> Kind:
    """Return what a pull request is for, by the rules of this module."""
    title = title[:_TITLE_CHARACTERS]
    prefix = _PREFIX.match(title)
    if prefix and (named := _CONVENTIONAL.get(prefix[1].lower())):
        return named
    return _find_by_paths(tuple(paths)) or _find_by_words(title)


def _find_by_paths(paths: tuple[str, ...]) -> Kind | None:
    for pattern, kind in _PATHS:
        if paths and all(pattern.search(path) for path in paths):
            return kind
    return None


def _find_by_words(title: str) -> Kind:
    words = re.findall(r"[a-z]+", title.lower())
    return next((kind for word in words if (kind := _WORDS.get(word))), Kind.OTHER)
