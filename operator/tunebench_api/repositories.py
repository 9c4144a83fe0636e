"""Lists of git repositories: a text file with one to a line, read alike wherever it is needed."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from tunebench_api.places import find_scheme

_MOST_PARTS = 2
# `git@HOST:PATH` is ssh without a scheme.
_SSH_ADDRESS = re.compile(r"[\w.-]+@[\w.-]+:(?!//)")


@dataclass(frozen=True)
class ListedRepository:
    """One line of a list; without a ref of its own, the source's counts."""

    line: int
    address: str
    ref: str | None = None


def parse_repository_list(text: str) -> tuple[ListedRepository, ...]:
    """Return the repositories of a list, without empty lines and comments (from `#` on).

    Raises:
        ValueError: Names the line that is none, or says that there is none.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = re.sub(r"(^|\s)#.*", "", line).split()
        if len(parts) > _MOST_PARTS:
            msg = f"line {number} must be an address, perhaps with a ref behind it, got {line!r}"
            raise ValueError(msg)
        if parts:
            found.append(ListedRepository(number, parts[0], *parts[1:]))
    if not found:
        msg = "must list at least one repository"
        raise ValueError(msg)
    return tuple(found)


def is_clone_address(address: str) -> bool:
    """Whether a repository has to be cloned from a server."""
    return find_scheme(address) not in {"", "file"} or bool(_SSH_ADDRESS.match(address))


def resolve_address(address: str, folder: str) -> str:
    """Return an address with a relative path made absolute from the folder of its list."""
    if is_clone_address(address) or find_scheme(address):
        return address
    return posixpath.normpath(posixpath.join(folder, address))
