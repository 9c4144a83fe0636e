"""What the passes over a dataset carry: rows as text, and a few facts of each in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.drops import Finding
from tunebench_jobs.rows import PullRequest


class Parcel:
    """A pull request on its way: JSON between processes, parsed once in each that looks in."""

    __slots__ = ("_pr", "broken", "edited_tools", "findings", "origin", "text")

    def __init__(
        self,
        origin: str,
        text: bytes,
        *,
        broken: str | None = None,
        edited_tools: frozenset[Tool] = frozenset(),
        findings: Mapping[Tool, Finding] = MappingProxyType({}),
    ) -> None:
        """Wrap the text of a row; `broken` says why there is none."""
        self.origin = origin
        self.text = text
        self.broken = broken
        # Whose answer a person wrote in place of any other.
        self.edited_tools = edited_tools
        # What speaks against learning an answer, where a teacher or a judge found it.
        self.findings = dict(findings)
        self._pr: PullRequest | None = None

    @classmethod
    def pack(cls, pr: PullRequest, origin: str) -> Parcel:
        """Wrap a pull request."""
        parcel = cls(origin, dump_pull(pr))
        parcel._pr = pr
        return parcel

    @property
    def pr(self) -> PullRequest:
        """The pull request."""
        if self._pr is None:
            self._pr = PullRequest.model_validate_json(self.text)
        return self._pr

    @property
    def weight(self) -> int:
        """Bytes of the text."""
        return len(self.text)

    def __reduce__(self) -> tuple[object, ...]:
        return _unpack, (self.origin, self.text, self.broken, self.edited_tools, self.findings)


@dataclass(frozen=True, slots=True)
class Key:
    """All that stays in memory of a row while the sets are made."""

    number: int
    origin: str
    id: str
    repository: str
    fork_of: str | None
    # Seconds since 1970.
    merged_at: float | None
    # Whose answer a person wrote in place of any other.
    edited_tools: frozenset[Tool] = frozenset()


def dump_pull(pr: PullRequest) -> bytes:
    """Return the JSON of a pull request, without what is absent."""
    return pr.model_dump_json(exclude_defaults=True).encode()


def _unpack(
    origin: str,
    text: bytes,
    broken: str | None,
    edited_tools: frozenset[Tool],
    findings: Mapping[Tool, Finding],
) -> Parcel:
    return Parcel(origin, text, broken=broken, edited_tools=edited_tools, findings=findings)
