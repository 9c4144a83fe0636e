"""Copies of a change within a set."""

from __future__ import annotations

from typing import Protocol

from tunebench_api.v1alpha1 import CleaningSpec, CleaningStep
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.data.similar import DuplicateIndex, Match, MatchKind, Signature


class Copies(Protocol):
    """Finds a change that was there before."""

    def find(self, signature: Signature) -> Match | None:
        """Return what a change repeats."""

    def add(self, key: str, signature: Signature) -> None:
        """Take in a change."""


class SamePatches:
    """Finds exact copies only."""

    def __init__(self) -> None:
        """Begin with none."""
        self._keys: dict[bytes, str] = {}

    def find(self, signature: Signature) -> Match | None:
        """Return the change with the same patch."""
        key = self._keys.get(signature.patch)
        return None if key is None else Match(key, MatchKind.SAME_PATCH)

    def add(self, key: str, signature: Signature) -> None:
        """Take in a change."""
        self._keys.setdefault(signature.patch, key)


def open_copies(cleaning: CleaningSpec | None) -> Copies | None:
    """Return what finds copies within a set; without cleaning, nothing does."""
    if cleaning is None:
        return None
    if CleaningStep.NEAR_DUPLICATES in cleaning.skip:
        return SamePatches()
    return DuplicateIndex(float(cleaning.near_duplicates))


def build_copy_finding(match: Match) -> Finding:
    """Say what a row is a copy of."""
    return Finding(RowDrop.DUPLICATE if match.is_exact else RowDrop.NEAR_DUPLICATE, match.detail)
