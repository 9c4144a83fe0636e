"""Whether a program wrote a change: by its author, its branch or its title."""

from __future__ import annotations

import re

from tunebench_jobs.rows import PullRequest

_BOT = re.compile(
    r"\[bot\]|(?<!@)\b(?:dependabot|renovate|greenkeeper|greenkeeperio|pyup|snyk|mergify|github-actions"
    r"|pre-commit-ci|allcontributors|imgbot|weblate|transifex|crowdin|scala-steward|release-please"
    r"|deepsource-autofix|tensorflower-gardener|copybara-service|codecov-io|whitesource|mend-for)\b"
    r"|[-_]bot\b|[-_]robot\b|\bbot@|\brobot@|^bors$",
    re.IGNORECASE,
)
_BRANCH = re.compile(
    r"(?:^|/)(?:dependabot|renovate|pyup|pre-commit-ci|snyk|greenkeeper|imgbot|all-contributors)[-/]"
    r"|(?:^|/)(?:pre-commit-ci-update-config|crowdin|weblate|transifex)(?:[-/_]|$)"
)
# What the usual updaters write; a person's words are not so regular.
_TITLE = re.compile(
    r"(?:(?:build|chore|fix)\(deps(?:-dev)?\)!?: )?bump (?:the )?\S+(?: group)? "
    r"(?:from \S+ to \S+|in \S+|across \d+ director|with \d+ update)"
    r"|(?:(?:build|chore|fix)\(deps(?:-dev)?\)!?: )update (?:dependency|module|docker tag) "
    r"|\[pre-commit\.ci\] |all contributors: add ",
    re.IGNORECASE,
)


def is_bot(author: str) -> bool:
    """Whether an author, as a login or as `name <address>`, is a program."""
    return bool(_BOT.search(author))


def is_bot_branch(branch: str) -> bool:
    """Whether a program names its branches so."""
    return bool(_BRANCH.search(branch))


def find_bot(pr: PullRequest) -> str | None:
    """Return what shows that a program wrote a pull request, or nothing.

    The title counts only where the row does not say who wrote it.
    """
    if is_bot(pr.author):
        return f"author `{pr.author}`"
    if is_bot_branch(pr.branch):
        return f"branch `{pr.branch}`"
    if not pr.author and _TITLE.match(pr.title):
        return f"title `{pr.title}`"
    return None
