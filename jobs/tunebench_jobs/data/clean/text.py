"""Characters that a terminal, a browser or a prompt would obey instead of showing them.

Text keeps its lines and its meaning: escape sequences go, what would break a line becomes a blank,
and any other control character, override of the writing direction or invisible tag becomes U+FFFD.
The end of a prompt's part, a line of `=` alone, gets a backslash in people's words. Patches need
none, because each of their lines begins with a mark. Special tokens of a model's tokenizer are left
to `chat.build_plain_text`, which knows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunebench_jobs.data.clean.changes import find_stray_line
from tunebench_jobs.rows import ChangedFile, PullRequest

# Colours and moves of the cursor; titles, links and clipboards; other short ones. No two parts of a
# pattern can match the same character, so none goes back.
_ESCAPES = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|\x1b[\\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\\\)?"
    "|\x1b[@-Z\\\\-~]"
)
_BREAKING = "\v\f\x1c-\x1e\x85\u2028\u2029"
_CONTROL = (
    "\0-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb"
    "\ud800-\udfff\ufffe\uffff\U000e0000-\U000e007f"
)
_SUSPECT = re.compile(f"[\r{_BREAKING}{_CONTROL}]")
# A return before the end of a line, and there only, is part of Windows' line ends.
_BREAKS = re.compile(f"\r(?!\n|\\Z)|[{_BREAKING}]")
_CONTROLS = re.compile(f"[{_CONTROL}]")
_DELIMITER = re.compile(r"^([ \t]*)(={5,}[ \t\r]*)$", re.MULTILINE)
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def neutralise_text(text: str) -> str:
    """Return a text in which every character only stands for itself."""
    # Most text needs nothing.
    if not _SUSPECT.search(text):
        return text
    text = _ESCAPES.sub("", text)
    return _CONTROLS.sub(_REPLACEMENT, _BREAKS.sub(" ", text))


def neutralise_words(text: str) -> str:
    """Do the same for people's words, in which no line may look like the end of a prompt's part."""
    text = neutralise_text(text)
    return _DELIMITER.sub(r"\1\\\2", text) if "=====" in text else text


def neutralise_pull(pr: PullRequest) -> PullRequest:
    """Return a pull request whose words and patches are harmless to show."""
    changed: dict[str, object] = {}
    for field in ("title", "description", "branch", "author"):
        before = getattr(pr, field)
        after = neutralise_words(before)
        if after != before:
            changed[field] = after
    commits = tuple(neutralise_words(message) for message in pr.commits)
    if commits != pr.commits:
        changed["commits"] = commits
    files = tuple(_neutralise_file(file) for file in pr.files)
    if any(after is not before for after, before in zip(files, pr.files, strict=True)):
        changed["files"] = files
    return pr.model_copy(update=changed) if changed else pr


def find_broken_part(pr: PullRequest) -> str | None:
    """Return what no pull request can have: a path with control characters, or a patch of text."""
    for number, file in enumerate(pr.files):
        for field, path in (("path", file.path), ("previous_path", file.previous_path or "")):
            if neutralise_text(path) != path or "\n" in path or "\t" in path:
                return f"`files.{number}.{field}` must have no control characters"
        line = find_stray_line(file.patch)
        if line is not None:
            return (
                f"`files.{number}.patch` must be a unified diff from the first `@@` on; "
                f"line {line} begins with none of ` `, `+`, `-`, `@`, `\\`"
            )
    return None


def _neutralise_file(file: ChangedFile) -> ChangedFile:
    changed = dict(_iter_changed(file))
    return file.model_copy(update=changed) if changed else file


def _iter_changed(file: ChangedFile) -> Iterator[tuple[str, str]]:
    for field in ("patch", "old_text", "new_text"):
        before = getattr(file, field)
        after = neutralise_text(before) if before else before
        if after != before:
            yield field, after
