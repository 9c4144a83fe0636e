"""Copies of pull requests, in each dress that a fork, a back-port or an editor gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from random import Random

from tunebench_jobs.data.similar.signature import NAMED_WORDS
from tunebench_jobs.rows import ChangedFile, PullRequest

_RANGE = re.compile(r"^@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@.*", re.MULTILINE)
_WORD = re.compile(r"\w+")
# An adapted back-port differs in one of so many changed lines.
_ADAPTED_EVERY = 25
_MIN_ADAPTED_LINES = 20

Edit = Callable[[str, Random], str]


def make_fork_copy(pr: PullRequest, random: Random) -> PullRequest:
    """Return the same change, as a fork has it."""
    return _copy(pr, random, lambda patch, _: patch, repository=f"fork/{random.getrandbits(32):x}")


def make_reformatted(pr: PullRequest, random: Random) -> PullRequest:
    """Return the same change in other white space."""
    return _copy(pr, random, _reformat)


def make_renamed(pr: PullRequest, random: Random) -> PullRequest:
    """Return the same change to files that were moved and named otherwise."""
    copy = _copy(pr, random, lambda patch, _: patch)
    files = [
        file.model_copy(update={"path": f"moved/{number}_{random.getrandbits(16):x}.txt"})
        for number, file in enumerate(copy.files)
    ]
    random.shuffle(files)
    return copy.model_copy(update={"files": tuple(files)})


def make_shifted(pr: PullRequest, random: Random) -> PullRequest:
    """Return a back-port: the same change at other lines, in a file that is otherwise different."""
    return _copy(pr, random, _shift)


def make_adapted(pr: PullRequest, random: Random) -> PullRequest:
    """Return a back-port in which a few lines had to be changed."""
    return _copy(pr, random, lambda patch, dice: _shift(_adapt(patch, dice), dice))


COPIES: Mapping[str, Callable[[PullRequest, Random], PullRequest]] = {
    "exact": make_fork_copy,
    "whitespace": make_reformatted,
    "renamed": make_renamed,
    "shifted": make_shifted,
    "adapted": make_adapted,
}


def can_be_copied(pr: PullRequest, kind: str) -> bool:
    """Whether a copy of this kind still is a copy: a changed line is little of what it has.

    Of fewer words than `NAMED_WORDS`, other names make another change.
    """
    changed = [line for file in pr.files for line in _list_changed(file)]
    if kind == "renamed" and len(_WORD.findall("\n".join(changed))) < NAMED_WORDS:
        return False
    return len(changed) >= (_MIN_ADAPTED_LINES if kind == "adapted" else 3)


def make_merged(pr: PullRequest, other: PullRequest, random: Random) -> PullRequest:
    """Return a pull request that brings another one along."""
    copy = _copy(pr, random, _shift)
    return copy.model_copy(update={"files": (*other.files, *copy.files)})


def _list_changed(file: ChangedFile) -> list[str]:
    return [line for line in file.patch.split("\n") if line[:1] in {"+", "-"} and line[1:].strip()]


def _copy(pr: PullRequest, random: Random, edit: Edit, **columns: str) -> PullRequest:
    files = tuple(
        file.model_copy(update={"patch": edit(file.patch, random)}) if file.patch else file
        for file in pr.files
    )
    name = f"copy/{random.getrandbits(64):x}#{random.randrange(10_000)}"
    update = {"id": name, "title": "Do it again", "description": "", "files": files, **columns}
    if "repository" in columns:
        update["fork_of"] = pr.repository
    return pr.model_copy(update=update)


def _reformat(patch: str, random: Random) -> str:
    lines = []
    for line in patch.split("\n"):
        if line[:1] not in {"+", "-"}:
            lines.append(line)
            continue
        text = line[1:].replace("    ", "\t").replace(" = ", "  =  ")
        lines.append(f"{line[0]}{' ' * random.randrange(3)}{text}{' ' * random.randrange(2)}")
        if line[0] == "+" and random.random() < 0.1:
            lines.append("+")
    return "\n".join(lines)


def _shift(patch: str, random: Random) -> str:
    by = random.randrange(1, 500)

    def move(match: re.Match[str]) -> str:
        before, after = int(match[1]) + by, int(match[3]) + by
        return f"@@ -{before}{match[2] or ''} +{after}{match[4] or ''} @@ def elsewhere():"

    lines = _RANGE.sub(move, patch).split("\n")
    return "\n".join(f" other {line}" if line[:1] == " " else line for line in lines)


def _adapt(patch: str, random: Random) -> str:
    lines = patch.split("\n")
    for number, line in enumerate(lines):
        if line[:1] == "+" and random.randrange(_ADAPTED_EVERY) == 0:
            lines[number] = "+" + _WORD.sub(lambda match: f"{match[0]}_9", line[1:], count=1)
    return "\n".join(lines)
