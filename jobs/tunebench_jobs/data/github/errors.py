"""What GitHub refuses without more words.

JobError
└── RefusedError        one thing cannot be had; who asked decides what that means
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from tunebench_jobs.errors import JobError


class Refusal(StrEnum):
    """Why GitHub does not hand out a repository, or a part of a pull request."""

    # Deleted, or private to this token: GitHub does not say which.
    GONE = "Gone"
    FORBIDDEN = "Forbidden"
    # Taken down for legal reasons.
    BLOCKED = "Blocked"
    TOO_LARGE = "TooLarge"
    # GitHub cannot make the diff, because commits are missing or the server fails at it.
    NO_DIFF = "NoDiff"
    # Not what the API documents.
    BROKEN = "Broken"


# Of 409 an empty repository is one.
_REFUSALS: Mapping[int, Refusal] = MappingProxyType(
    {
        403: Refusal.FORBIDDEN,
        404: Refusal.GONE,
        406: Refusal.TOO_LARGE,
        409: Refusal.GONE,
        410: Refusal.GONE,
        422: Refusal.NO_DIFF,
        451: Refusal.BLOCKED,
    }
)


# How the command line calls the fields.
OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "": "--repository",
        "apiBase": "--api-base",
        "mergedAfter": "--merged-after",
        "search": "--search",
        "secretRef": "--token-variable",
    }
)


def name_field(place: str, field: str = "") -> str:
    """Return how the user knows a field: by its place in a run, or without one as an option."""
    if not place:
        return OPTIONS[field]
    return f"{place}.{field}" if field else place


class RefusedError(JobError):
    """GitHub answered, and will answer the same next time."""

    def __init__(self, message: str, refusal: Refusal) -> None:
        """Keep which refusal it is."""
        super().__init__(message, reason=str(refusal))
        self.refusal = refusal


def find_refusal(status: int) -> Refusal:
    """Return what a status that is no success and heals with no time means."""
    return _REFUSALS.get(status, Refusal.BROKEN)
