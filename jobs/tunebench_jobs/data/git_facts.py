"""What all pull requests of a repository share: its licence, its languages, its web pages."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tunebench_jobs.data.clean.generated import is_generated
from tunebench_jobs.data.file_languages import PROSE_AND_DATA, find_language
from tunebench_jobs.data.git_blobs import BlobReader
from tunebench_jobs.data.git_repository import GitRepository
from tunebench_jobs.data.license_text import find_license, is_license_name

_MAX_LICENSE_FILES = 8
_LINK = "120000"
_ADDRESS = re.compile(
    r"(?:(?:https?|ssh|git)://)?(?:[^@/\s]+@)?(?P<host>[\w.-]+)(?::\d+)?[:/](?P<path>[^\s?#]+)"
)


@dataclass(frozen=True)
class WebPlace:
    """Where a host shows a repository, and below what its pull requests and commits."""

    base: str
    pulls: str
    commits: str

    def build_url(self, sha: str, number: str | None) -> str:
        """Return the page of a pull request, or that of a commit without one."""
        return (
            f"{self.base}/{self.pulls}/{number}" if number else f"{self.base}/{self.commits}/{sha}"
        )


@dataclass(frozen=True)
class RepositoryFacts:
    """Facts of one commit's tree, and of where it was cloned from."""

    license: str | None = None
    # Bytes of code at that commit, most first.
    languages: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    web: WebPlace | None = None


def load_facts(repository: GitRepository, sha: str, blobs: BlobReader) -> RepositoryFacts:
    """Read the facts of a commit.

    Raises:
        InputError: Git cannot read it.
    """
    licenses: dict[str, str] = {}
    languages: Counter[str] = Counter()
    for entry in _list_tree(repository, sha):
        if is_license_name(entry.path) and len(licenses) < _MAX_LICENSE_FILES:
            licenses[entry.blob] = entry.path
        language = find_language(entry.path)
        if language and language not in PROSE_AND_DATA and not is_generated(entry.path):
            languages[language] += entry.size
    texts = blobs.read(list(licenses))
    return RepositoryFacts(
        license=find_license({licenses[blob]: text for blob, text in texts.items()}),
        languages=MappingProxyType(dict(languages.most_common())),
        web=find_web_place(repository.origin),
    )


def find_web_place(origin: str) -> WebPlace | None:
    """Return the pages of a clone address, where its host is one whose pages are known."""
    address = _ADDRESS.fullmatch(origin.rstrip("/").removesuffix(".git"))
    if address is None:
        return None
    base = f"https://{address['host']}/{address['path'].strip('/')}"
    host = address["host"].lower().split(".")
    if "github" in host:
        return WebPlace(base, "pull", "commit")
    if "gitlab" in host:
        return WebPlace(base, "-/merge_requests", "-/commit")
    if "bitbucket" in host:
        return WebPlace(base, "pull-requests", "commits")
    return None


@dataclass(frozen=True)
class _TreeEntry:
    blob: str
    size: int
    path: str


def _list_tree(repository: GitRepository, sha: str) -> Iterator[_TreeEntry]:
    """Yield the files of a commit; `git ls-tree` ends each with a NUL, so no name can deceive."""
    rest = b""
    with repository.stream("ls-tree", "-r", "-l", "-z", "--full-tree", sha) as output:
        while chunk := output.read(1 << 20):
            *lines, rest = (rest + chunk).split(b"\0")
            yield from _parse_entries(lines)


def _parse_entries(lines: Sequence[bytes]) -> Iterator[_TreeEntry]:
    """Parse `<mode> blob <name> <size>TAB<path>`; submodules have no size."""
    for line in lines:
        facts, _, path = line.decode("utf-8", errors="replace").partition("\t")
        mode, kind, blob, size = facts.split()
        if kind == "blob" and mode != _LINK:
            # Of a blob that is lost git says so in place of the size.
            yield _TreeEntry(blob, int(size) if size.isdecimal() else 0, path)
