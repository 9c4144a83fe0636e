"""The answer that people gave: what they wrote when they landed a pull request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tunebench_jobs.answers import build_human_describe_answer
from tunebench_jobs.errors import InputError
from tunebench_jobs.rows import PullRequest


class Origin(StrEnum):
    """Where the description of a human answer comes from."""

    WRITTEN = "description"
    COMMITS = "commits"
    TITLE = "title"


@dataclass(frozen=True)
class HumanAnswer:
    """A Describe answer in people's words."""

    text: str
    origin: Origin


def build_human_answer(pr: PullRequest) -> HumanAnswer | None:
    """Build the answer, or nothing where a pull request has no title.

    Many squash merges keep no description. Then the messages of the commits stand in for it, and
    where they only repeat the title, the title does.
    """
    description, origin = _find_description(pr)
    try:
        text = build_human_describe_answer(pr.model_copy(update={"description": description}))
    except InputError:
        return None
    return HumanAnswer(text, origin)


def _find_description(pr: PullRequest) -> tuple[str, Origin]:
    if pr.description.strip():
        return pr.description, Origin.WRITTEN
    title = pr.title.strip()
    subjects = [message.strip().split("\n", 1)[0].strip() for message in pr.commits]
    telling = [subject for subject in dict.fromkeys(subjects) if subject and subject != title]
    if len(pr.commits) > 1 and telling:
        return "\n".join(f"- {subject}" for subject in telling), Origin.COMMITS
    body = pr.commits[0].strip().partition("\n")[2].strip() if pr.commits else ""
    return (body, Origin.COMMITS) if body else (title, Origin.TITLE)
