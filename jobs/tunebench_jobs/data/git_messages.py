"""What the message of a commit on the mainline says about the pull request that it lands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

# Branches that collect the work of others: merging one of them lands no pull request.
_LONG_LIVED = re.compile(
    r"main|master|develop|dev|development|trunk|default|stable|next|staging|production|HEAD"
    r"|releases?/.+|v?\d+(\.\d+)*(\.x)?"
)
MIN_TITLE = 10
MIN_WORDS = 2

_GITHUB = re.compile(r"^Merge pull request #(?P<number>\d+) from (?:[^/\s]+/)?(?P<branch>\S+)")
_BORS = re.compile(r"^Auto merge of #(?P<number>\d+) - [^:\s]+:(?P<branch>[^,\s]+)")
_BITBUCKET = re.compile(r"^Merged in (?P<branch>\S+) \(pull request #(?P<number>\d+)\)")
_AZURE = re.compile(r"^Merged PR (?P<number>\d+): (?P<title>.+)")
_SQUASH = re.compile(r"^(?P<title>.+?)\s*\(#(?P<number>\d+)\)$")
# How projects name the pull request where they land its commits one by one, or by hand.
_PULL_URL = re.compile(r"^PR-URL: \S+/(?:pull|merge_requests)/(?P<number>\d+)/?\s*$", re.MULTILINE)
_CLOSES_FROM = re.compile(
    r"^Closes #(?P<number>\d+) from [^/\s]+/(?P<branch>\S+?)\.?\s*$", re.MULTILINE
)
# Each commit with one of these was a review of its own, whoever landed it beside which others.
_OWN_REVIEW = re.compile(
    r"^(Change-Id|Reviewed-on|Differential Revision|Phabricator Revision): \S", re.MULTILINE
)
_GITLAB = re.compile(r"^See merge request \S*!(?P<number>\d+)\s*$", re.MULTILINE)
_MERGE = re.compile(
    r"^Merge (?:remote-tracking )?(?P<what>branch|tag) '(?P<branch>[^']+)'"
    r"(?: of (?P<remote>\S+))?(?: into '?(?P<into>[^'\s]+)'?)?"
)
_TRAILER = re.compile(
    r"^(Signed-off-by|Co-authored-by|Co-developed-by|Reviewed-by|Acked-by|Tested-by|Reported-by"
    r"|Suggested-by|Cc|Change-Id|Reviewed-on|git-svn-id|PiperOrigin-RevId|PR-URL"
    r"|See merge request\b).*$",
    re.IGNORECASE | re.MULTILINE,
)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_RULE = re.compile(r"\n-{3,}\s*$")
# What git itself writes below a merge: its list of conflicts, or of the merged commits.
_MACHINE_BODY = re.compile(r"^(#?\s*Conflicts:|\* .+:$)")
_BULLET = re.compile(r"^\* (.+)$", re.MULTILINE)


class Kind(StrEnum):
    """How a pull request landed."""

    MERGE = "merge"
    SQUASH = "squash"
    REBASE = "rebase"
    DIRECT = "direct"


@dataclass(frozen=True)
class Landed:
    """Title and description of what a commit lands; `number` is the pull request's, if known."""

    kind: Kind
    title: str
    description: str
    number: str | None = None
    branch: str = ""
    # Whether a person wrote the title, as opposed to git's `Merge branch ...`.
    titled: bool = True


def parse_message(message: str, *, is_merge: bool) -> Landed:
    """Tell apart the messages that the usual hosts write when they land a pull request."""
    subject, _, body = message.partition("\n")
    host = _GITHUB.match(subject) or _BORS.match(subject) or _BITBUCKET.match(subject)
    kind = Kind.MERGE if is_merge else Kind.SQUASH
    if host:
        return _build_titled_by_body(kind, subject, body, host["branch"], host["number"])
    own = _SQUASH.match(subject) or _AZURE.match(subject)
    if own:
        return Landed(kind, own["title"].strip(), clean_text(body), own["number"])
    gitlab = _GITLAB.search(body)
    merge = _MERGE.match(subject)
    if is_merge and merge:
        number = gitlab["number"] if gitlab else None
        return _build_titled_by_body(kind, subject, body, merge["branch"], number)
    if gitlab or is_merge:
        number = gitlab["number"] if gitlab else None
        return Landed(kind, subject.strip(), clean_text(body), number)
    return _parse_landed_by_hand(subject.strip(), body)


def join_landed(parts: Sequence[Landed]) -> Landed:
    """Describe a pull request of which the commits landed one by one, oldest first.

    Nothing in a history says what it was called, so the first commit speaks for it, and the
    subjects of the others follow.
    """
    first = next((part for part in parts if is_telling(part.title)), parts[0])
    bullets = "\n".join(f"- {part.title}" for part in parts if part is not first)
    description = "\n\n".join(text for text in (first.description, bullets) if text)
    return replace(first, kind=Kind.REBASE, description=description)


def is_own_review(message: str) -> bool:
    """Whether a review server knows this commit by itself."""
    return bool(_OWN_REVIEW.search(message))


def is_merge_of_mainline(subject: str, mainline: str) -> bool:
    """Whether a merge brings a long-lived branch along, such as a pull or a release does."""
    merge = _MERGE.match(subject)
    if merge is None or merge["what"] == "tag":
        return False
    branch = merge["branch"].removeprefix("origin/").removeprefix("upstream/")
    return bool(_LONG_LIVED.fullmatch(branch)) or branch == mainline


def is_telling(title: str) -> bool:
    """Whether a title says something: long enough, and of words."""
    words = re.findall(r"[^\W\d_]{2,}", title)
    return len(title) >= MIN_TITLE and len(words) >= MIN_WORDS


def list_bullets(description: str) -> list[str]:
    """Return the messages of the squashed commits, where the description is their list."""
    return [line.strip() for line in _BULLET.findall(description)]


def clean_text(text: str) -> str:
    """Return a description without trailers, template comments and what git adds."""
    written = _COMMENT.sub("", text.replace("\r\n", "\n"))
    written = _RULE.sub("", _TRAILER.sub("", written).rstrip()).strip()
    return "" if _MACHINE_BODY.match(written) else re.sub(r"\n{3,}", "\n\n", written)


def _parse_landed_by_hand(subject: str, body: str) -> Landed:
    """Read a message of which only a line below says whether it lands a pull request."""
    if from_branch := _CLOSES_FROM.search(body):
        text = clean_text(_CLOSES_FROM.sub("", body))
        return Landed(Kind.SQUASH, subject, text, from_branch["number"], from_branch["branch"])
    named = _PULL_URL.search(body)
    kind, number = (Kind.SQUASH, named["number"]) if named else (Kind.DIRECT, None)
    return Landed(kind, subject, clean_text(body), number)


def _build_titled_by_body(
    kind: Kind, subject: str, body: str, branch: str, number: str | None
) -> Landed:
    """Build from a merge whose subject git wrote, and whose body begins with the title."""
    title, _, description = clean_text(body).partition("\n")
    if not title:
        return Landed(kind, subject.strip(), "", number, branch, titled=False)
    return Landed(kind, title.strip(), description.strip(), number, branch)
