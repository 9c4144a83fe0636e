"""Whether a change takes an earlier one back."""

from __future__ import annotations

import re

from tunebench_jobs.rows import PullRequest

_TITLE = re.compile(r'^revert(?:s)?(?:\s+"|\s*[:(])', re.IGNORECASE)
# By git, and by the button of GitHub.
_BODY = re.compile(
    r"^(?:This reverts commit [0-9a-f]{7,}|Reverts \S{1,200}#\d+[ \t\r]*$)", re.MULTILINE
)
_BRANCH = re.compile(r"(?:^|/)revert-\d+-")


def is_revert(title: str, message: str, branch: str = "") -> bool:
    """Whether title, message (or description) or branch say so."""
    return bool(_TITLE.match(title) or _BODY.search(message) or _BRANCH.search(branch))


def is_revert_pull(pr: PullRequest) -> bool:
    """Whether a pull request, or each of its commits, takes an earlier change back."""
    if is_revert(pr.title, pr.description, pr.branch):
        return True
    return bool(pr.commits) and all(
        is_revert(message.partition("\n")[0], message) for message in pr.commits
    )
