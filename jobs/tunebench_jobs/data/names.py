"""Names and prose that strangers wrote: what is refused in them, and what is replaced.

A name that could lead out of a folder or steer a terminal makes a row broken. Control characters
in prose are replaced. Diffs, files and answers stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

from tunebench_jobs.rows import PullRequest

# Of prose: all but tab, line feed and carriage return.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Of names: those but for tab, and what reverses or breaks the text around them.
_STEERING = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")
_SLASHES = re.compile(r"[/\\]")
_PROSE = ("title", "description", "branch", "language", "author", "license", "commit", "fork_of")


def is_steering(text: str) -> bool:
    """Whether a name holds what could steer a terminal or deceive a reader."""
    return bool(_STEERING.search(text))


def escape_controls(text: str) -> str:
    """Return a text on one line in which nothing steers a terminal."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def find_path_problem(path: str) -> str | None:
    """Return why a name cannot be that of a file in a repository."""
    if _STEERING.search(path):
        return "must not hold control characters"
    if _ABSOLUTE.match(path):
        return "must be relative to the repository"
    if any(part in {"", ".", ".."} for part in path.split("/")) or ".." in _SLASHES.split(path):
        return "must not have empty parts, `.` or `..`"
    return None


def neutralise_prose(pull: PullRequest) -> PullRequest:
    """Replace control characters in what people wrote around the change."""
    changed: dict[str, Any] = {
        name: _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)
        for name in _PROSE
        if (text := getattr(pull, name)) and _CONTROLS.search(text)
    }
    if any(map(_CONTROLS.search, pull.commits)):
        changed["commits"] = tuple(
            _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text) for text in pull.commits
        )
    return pull.model_copy(update=changed) if changed else pull
