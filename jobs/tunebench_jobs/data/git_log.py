"""Read the mainline of a repository with its diffs, in one git process and bounded memory.

Git separates commits by text that a commit could hold itself, so the parser relies on two things
only: a message cannot hold a NUL, and a hunk's header says how many lines belong to it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

from tunebench_jobs.data.clean.generated import is_generated
from tunebench_jobs.data.git_repository import GitRepository

MAX_PATCH_BYTES = 128 * 1024
MAX_FILES = 100

# Moments as seconds: git fails at some of those that commits hold if it has to write them out.
_FIELDS = "%H%n%P%n%ct%n%at%n%an%n%ae%n%cn%n%ce"
_FORMAT = f"tformat:%x00{_FIELDS}%n%B%x00"
HUNK = re.compile(rb"^@@ -\d+(?:,(?P<old>\d+))? \+\d+(?:,(?P<new>\d+))? @@")
_SECONDS = re.compile(r"-?[0-9]{1,18}")
_QUOTED = re.compile(rb'\\([abtnvfr"\\]|[0-7]{3})')
_ESCAPES = {
    b"a": b"\a",
    b"b": b"\b",
    b"t": b"\t",
    b"n": b"\n",
    b"v": b"\v",
    b"f": b"\f",
    b"r": b"\r",
    b'"': b'"',
    b"\\": b"\\",
}
_SUBMODULE = b"160000"
# What a user could have set otherwise; the same history must give the same rows everywhere.
_DIFF_OPTIONS = (
    "--raw",
    "--patch",
    "--no-abbrev",
    "--unified=3",
    "--inter-hunk-context=0",
    "--diff-algorithm=myers",
    "--indent-heuristic",
    "--find-renames=50%",
    "-l400",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-relative",
    "--encoding=UTF-8",
    "--submodule=short",
    "--ignore-submodules=none",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    "-O/dev/null",
)


@dataclass(frozen=True)
class DiffLimits:
    """How much of a change is kept; what goes beyond is read and forgotten."""

    patch_bytes: int = MAX_PATCH_BYTES
    files: int = MAX_FILES
    # Whether files that programs write are kept like those of people.
    with_generated: bool = False


DEFAULT_LIMITS = DiffLimits()


@dataclass
class FileDiff:
    """One changed file of a commit; `patch` begins at the first `@@`, and is empty without text."""

    # Git's letter: A, M, D, R, C, or T where a file became a link or the like.
    status: str
    path: str
    previous_path: str | None = None
    patch: str = ""
    binary: bool = False
    submodule: bool = False
    generated: bool = False
    changed_lines: int = 0
    # Names of the whole file before and after; zeros where there is none.
    old_blob: str = ""
    new_blob: str = ""


@dataclass
class LoggedCommit:
    """One commit of the mainline and its difference to what was there before."""

    sha: str
    parents: tuple[str, ...]
    # Seconds since 1970; absent where a commit has no moment.
    committed_at: int | None
    authored_at: int | None
    author: str
    committer: str
    message: str
    files: list[FileDiff] = field(default_factory=list)
    patch_bytes: int = 0

    def is_too_large(self, limits: DiffLimits) -> bool:
        """Whether there is too much text to keep; patches are incomplete then."""
        written = sum(not file.generated for file in self.files)
        return self.patch_bytes > limits.patch_bytes or written > limits.files

    @property
    def subject(self) -> str:
        """First line of the message."""
        return self.message.split("\n", 1)[0]


@dataclass(frozen=True)
class SideCommit:
    """A commit without its diff."""

    parents: tuple[str, ...]
    author: str
    message: str
    committer: str = ""
    committed_at: int | None = None
    authored_at: int | None = None


def load_diffs(
    repository: GitRepository,
    changes: Iterable[tuple[str, str | None]],
    limits: DiffLimits = DEFAULT_LIMITS,
) -> Iterator[LoggedCommit]:
    """Yield commits in the order given, each with its difference to the commit beside it.

    Without one, the difference is to nothing.
    """
    # Git takes the further commits of a line for the parents of its first one.
    lines = (f"{sha} {base}\n" if base else f"{sha}\n" for sha, base in changes)
    arguments = (
        "diff-tree",
        "--stdin",
        "-r",
        "--root",
        "--always",
        f"--format={_FORMAT}",
        *_DIFF_OPTIONS,
    )
    with tempfile.TemporaryFile() as wanted:
        wanted.writelines(line.encode() for line in lines)
        wanted.seek(0)
        with repository.stream(*arguments, stdin=wanted) as output:
            yield from parse_log(output, limits)


def load_history(repository: GitRepository, sha: str, oldest: str) -> dict[str, SideCommit]:
    """Return the commits of `sha` that `oldest`'s first parent lacks, newest first."""
    parents = repository.read("rev-list", "--parents", "--max-count=1", oldest, "--").split()[1:]
    excluded = [f"^{parent}" for parent in parents[:1]]
    options = (f"--format={_FORMAT}", "--no-mailmap", "--encoding=UTF-8", "--no-patch")
    with repository.stream("log", *options, sha, *excluded, "--") as output:
        commits = list(parse_log(output))
    return {
        commit.sha: SideCommit(
            parents=commit.parents,
            author=commit.author,
            message=commit.message,
            committer=commit.committer,
            committed_at=commit.committed_at,
            authored_at=commit.authored_at,
        )
        for commit in commits
    }


def parse_log(output: IO[bytes], limits: DiffLimits = DEFAULT_LIMITS) -> Iterator[LoggedCommit]:
    """Yield the commits that git prints."""
    line = output.readline()
    while line:
        if not line.startswith(b"\0"):
            # The empty line before the first commit's diff and after it.
            line = output.readline()
            continue
        commit = _parse_header(line[1:], output)
        line = _parse_diff(commit, output, limits)
        yield commit


def _parse_header(first: bytes, output: IO[bytes]) -> LoggedCommit:
    lines = [first, *(output.readline() for _ in range(7))]
    sha, parents, committed_at, authored_at, *people = (
        _decode(line.rstrip(b"\n")) for line in lines
    )
    message = []
    # Ends at the NUL, or where a killed git ends.
    while line := output.readline():
        message.append(line)
        if line.endswith(b"\0\n"):
            break
    return LoggedCommit(
        sha=sha,
        parents=tuple(parents.split()),
        committed_at=_parse_seconds(committed_at),
        authored_at=_parse_seconds(authored_at),
        author=f"{people[0]} <{people[1]}>",
        committer=f"{people[2]} <{people[3]}>",
        message=_decode(b"".join(message).rstrip(b"\0\n")).strip(),
    )


def _parse_diff(commit: LoggedCommit, output: IO[bytes], limits: DiffLimits) -> bytes:
    """Fill in the commit's files and return the line after its diff."""
    sections: list[FileDiff] = []
    line = output.readline()
    while line and not line.startswith(b"\0"):
        if line.startswith(b":"):
            file = _parse_raw(line, limits)
            commit.files.append(file)
            # Git shows a change of type as a removal and an addition.
            sections.extend([file] * (2 if file.status == "T" else 1))
            line = output.readline()
        elif line.startswith(b"diff --git ") and sections:
            line = _parse_section(commit, sections.pop(0), output, limits)
        else:
            line = output.readline()
    return line


def _parse_raw(line: bytes, limits: DiffLimits) -> FileDiff:
    """Parse `:<mode> <mode> <blob> <blob> <letter>[<percent>]<TAB><path>[<TAB><new path>]`."""
    facts, *paths = line.rstrip(b"\n").split(b"\t")
    before, after, old_blob, new_blob, status = facts[1:].split(b" ")
    names = [_decode(unquote_path(path)) for path in paths]
    return FileDiff(
        status=_decode(status[:1]),
        path=names[-1],
        previous_path=names[0] if len(names) > 1 else None,
        submodule=_SUBMODULE in {before, after},
        generated=is_generated(names[-1]) and not limits.with_generated,
        old_blob=_decode(old_blob),
        new_blob=_decode(new_blob),
    )


def _parse_section(
    commit: LoggedCommit, file: FileDiff, output: IO[bytes], limits: DiffLimits
) -> bytes:
    """Read one file's part of the diff and return the line after it."""
    kept: list[bytes] = []
    line = output.readline()
    while line and not line.startswith((b"\0", b"diff --git ")):
        header = HUNK.match(line)
        if header is None:
            file.binary = file.binary or line.startswith(b"Binary files ")
            line = output.readline()
            continue
        for text, changes in read_hunk(line, header, output):
            file.changed_lines += changes
            commit.patch_bytes += 0 if file.generated else len(text)
            if not file.generated and commit.patch_bytes <= limits.patch_bytes:
                kept.append(text)
        line = output.readline()
        if line.startswith(b"\\"):
            kept.extend([line] if kept else [])
            line = output.readline()
    file.patch = _decode(b"".join(kept)).removesuffix("\n")
    return line


def read_hunk(
    line: bytes, header: re.Match[bytes], output: IO[bytes]
) -> Iterator[tuple[bytes, int]]:
    """Yield the lines of a hunk, each with 1 if it is a change."""
    yield line, 0
    # An absent count means 1.
    old, new = int(header["old"] or 1), int(header["new"] or 1)
    while old > 0 or new > 0:
        line = output.readline()
        if not line:
            return
        mark = line[:1]
        old -= mark in b"- \n"
        new -= mark in b"+ \n"
        yield line, int(mark in b"+-")


def unquote_path(path: bytes) -> bytes:
    """Undo git's quoting of paths with control characters, quotes or backslashes."""
    if not path.startswith(b'"'):
        return path
    return _QUOTED.sub(
        lambda found: _ESCAPES.get(found[1]) or bytes([int(found[1], 8)]), path[1:-1]
    )


def _parse_seconds(text: str) -> int | None:
    return int(text) if _SECONDS.fullmatch(text) else None


def _decode(text: bytes) -> str:
    return text.decode("utf-8", errors="replace")
