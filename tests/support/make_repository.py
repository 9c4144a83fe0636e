"""Git repositories for tests, written by one `git fast-import` so that they cost milliseconds."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LINK = "120000"
SUBMODULE = "160000"
REBASED_AT = 1_800_000_000


@dataclass(frozen=True)
class Change:
    """A file with another mode than an ordinary one; a submodule's content is a commit's name."""

    content: bytes
    mode: str


@dataclass(frozen=True)
class MadeCommit:
    """A commit; `files` are all files that it has, `parents` are places in the list before it."""

    message: str
    files: Mapping[str, bytes | Change]
    parents: Sequence[int] | None = None
    author: str = "Ada <ada@example.org>"
    # Written long before, and committed at once with the rebased ones around it.
    rebased: bool = False


def make_repository(path: Path, commits: Sequence[MadeCommit]) -> Path:
    """Write the commits to the branch `main`, without a checkout; the last one is its tip."""
    subprocess.run(["git", "init", "--quiet", "-b", "main", str(path)], check=True)
    stream = b"".join(_build_commit(place, commit) for place, commit in enumerate(commits))
    subprocess.run(
        ["git", "fast-import", "--quiet", "--force"],
        cwd=path,
        input=stream + b"done\n",
        check=True,
    )
    return path


def list_commits(path: Path) -> list[str]:
    """Return the names of the mainline's commits, newest first."""
    command = ["git", "rev-list", "--first-parent", "main"]
    done = subprocess.run(command, cwd=path, check=True, capture_output=True, text=True)
    return done.stdout.split()


def _build_commit(place: int, commit: MadeCommit) -> bytes:
    # One hour apart, so that the order in time is the order of the list.
    moment = REBASED_AT if commit.rebased else 1_700_000_000 + 3600 * place
    written = moment - 86_400 if commit.rebased else moment
    parents = commit.parents if commit.parents is not None else range(max(0, place - 1), place)
    lines = [
        b"commit refs/heads/main",
        b"mark :%d" % (place + 1),
        f"author {commit.author} {written} +0000".encode(),
        f"committer {commit.author} {moment} +0000".encode(),
        _build_data(commit.message.encode()),
        *(
            b"%s :%d" % (b"merge" if count else b"from", parent + 1)
            for count, parent in enumerate(parents)
        ),
        b"deleteall",
        *(_build_file(name, content) for name, content in commit.files.items()),
    ]
    return b"\n".join(lines) + b"\n"


def _build_file(name: str, content: bytes | Change) -> bytes:
    mode = content.mode if isinstance(content, Change) else "100644"
    data = content.content if isinstance(content, Change) else content
    quoted = quote_path(name).encode()
    if mode == SUBMODULE:
        return b"M %s %s %s" % (mode.encode(), data, quoted)
    return b"M %s inline %s\n%s" % (mode.encode(), quoted, _build_data(data))


def quote_path(name: str) -> str:
    """Quote a path as git does in patches and fast-import streams."""
    plain = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + plain.replace("\t", "\\t") + '"'


def _build_data(content: bytes) -> bytes:
    return b"data %d\n%s" % (len(content), content)
