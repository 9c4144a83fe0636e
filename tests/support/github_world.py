"""Repositories and pull requests as a GitHub of the tests has them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass
class FakeFile:
    """A changed file; GitHub leaves `patch` out of the list where `hidden`."""

    path: str
    patch: str = "@@ -1 +1 @@\n-a\n+b"
    status: str = "modified"
    previous_path: str = ""
    new_text: bytes = b"b\n"
    hidden: bool = False
    binary: bool = False
    # What the list of files tells, in place of the above.
    raw: dict[str, Any] | None = None

    @property
    def sha(self) -> str:
        """Git's name of the new content."""
        head = f"blob {len(self.new_text)}\0".encode()
        return hashlib.sha1(head + self.new_text, usedforsecurity=False).hexdigest()

    def to_entry(self) -> dict[str, Any]:
        """Return the file as the list of files tells it."""
        if self.raw is not None:
            return self.raw
        changes = 0 if self.binary else sum(line[:1] in "+-" for line in self.patch.split("\n"))
        entry: dict[str, Any] = {"filename": self.path, "status": self.status, "sha": self.sha}
        entry |= {"additions": changes, "deletions": 0, "changes": changes}
        if self.previous_path:
            entry["previous_filename"] = self.previous_path
        if self.patch and not self.hidden and not self.binary:
            entry["patch"] = self.patch
        return entry

    def to_diff(self) -> str:
        """Return the file's part of the raw diff."""
        if self.raw is not None:
            return ""
        old = self.previous_path or self.path
        head = f"diff --git a/{old} b/{self.path}\nindex 1..2 100644\n"
        if self.binary:
            return f"{head}Binary files a/{old} and b/{self.path} differ\n"
        return f"{head}--- a/{old}\n+++ b/{self.path}\n{self.patch}\n"


@dataclass
class FakePull:
    """A closed pull request; not merged where `merged_at` is empty."""

    number: int
    updated_at: str
    merged_at: str = ""
    title: str = "Count the stock"
    body: str | None = "It was not counted."
    author: str | None = "ann"
    files: list[FakeFile] = field(default_factory=lambda: [FakeFile("a.py")])
    commits: list[str] = field(default_factory=lambda: ["Count"])
    # What the list of pull requests tells, in place of the above.
    raw: dict[str, Any] | None = None

    def to_entry(self, repository: str) -> dict[str, Any]:
        """Return the pull request as the list of a repository tells it."""
        if self.raw is not None:
            return self.raw
        return {
            "number": self.number,
            "title": self.title,
            "body": self.body,
            "state": "closed",
            "head": {"ref": f"topic-{self.number}"},
            "base": {"ref": "main"},
            "user": {"login": self.author, "type": "User"} if self.author else None,
            "updated_at": self.updated_at,
            "merged_at": self.merged_at or None,
            "merge_commit_sha": f"{self.number:040x}",
            "html_url": f"https://github.test/{repository}/pull/{self.number}",
        }


@dataclass
class FakeRepository:
    """A repository; whoever asks for an old name is sent to its number."""

    id: int
    name: str
    pulls: list[FakePull] = field(default_factory=list)
    old_names: tuple[str, ...] = ()
    license: str | None = "MIT"
    parent: str | None = None
    stars: int = 10
    created_at: str = "2020-01-01T00:00:00Z"
    languages: dict[str, int] = field(default_factory=lambda: {"Python": 1000, "C": 10})

    def to_entry(self) -> dict[str, Any]:
        """Return the repository as the API tells it."""
        entry: dict[str, Any] = {"id": self.id, "full_name": self.name, "fork": bool(self.parent)}
        entry["license"] = {"key": "x", "spdx_id": self.license} if self.license else None
        entry |= {"stargazers_count": self.stars, "created_at": self.created_at}
        if self.parent:
            entry["parent"] = {"id": 1, "full_name": self.parent}
        return entry

    def list_closed(self) -> list[FakePull]:
        """Return the pull requests, the last changed first."""
        return sorted(self.pulls, key=lambda each: (each.updated_at, each.number), reverse=True)


def make_moment(hours: float) -> str:
    """Return a moment so many hours after the start."""
    return f"{START + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def make_repository(
    number: int, name: str, pulls: int, *, unmerged_every: int = 5, **columns: Any
) -> FakeRepository:
    """Return a repository with so many closed pull requests, some of them not merged."""
    made = []
    for each in range(1, pulls + 1):
        merged_at = "" if each % unmerged_every == 0 else make_moment(each)
        patch = f"@@ -1 +1 @@\n-a = 0\n+a = {each}"
        files = [FakeFile(f"src/m{each % 7}.py", patch, new_text=f"a = {each}\n".encode())]
        # Someone comments an hour or days later.
        updated_at = make_moment(each + (each * 7) % 50)
        made.append(FakePull(each, updated_at, merged_at, title=f"Change {each}", files=files))
    return FakeRepository(number, name, made, **columns)
