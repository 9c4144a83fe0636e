"""PR-Agent's own settings files, of either generation, load and render.

They are not ours to ship. TUNEBENCH_PR_AGENT_SETTINGS names one or more folders `pr_agent/settings`
of its commits 09190efb (2024) or 0e37fc84 (HEAD), parted as in PATH; without it nothing is tested.
"""

import hashlib
import os
from pathlib import Path

import pytest
from pr_agent_golden import make_whole_file

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.diffs import LANGUAGE_EXTENSIONS, PromptFormat
from tunebench_jobs.prompts import PromptSet, build_task, check_prompt_set, load_prompt_set
from tunebench_jobs.rows import PullRequest

FOLDERS = [
    Path(each) for each in os.environ.get("TUNEBENCH_PR_AGENT_SETTINGS", "").split(":") if each
]
# The beginnings of the SHA-256 of the texts after TOML parsing.
TEXTS: dict[PromptFormat, dict[tuple[str, str], str]] = {
    "2024": {
        ("pr_description_prompt", "system"): "06a85abc0776",
        ("pr_description_prompt", "user"): "9d88fb03e3df",
        ("pr_review_prompt", "system"): "ac6037c18395",
        ("pr_review_prompt", "user"): "9f17521c5cd6",
        ("pr_code_suggestions_prompt", "system"): "e27cd92bd1ca",
        ("pr_code_suggestions_prompt", "user"): "9dea4d3329c0",
        ("pr_evaluate_prompt", "prompt"): "8e116ed999c3",
    },
    "HEAD": {
        ("pr_description_prompt", "system"): "e3617cce",
        ("pr_description_prompt", "user"): "0c3862d8",
        ("pr_review_prompt", "system"): "c83b64c5",
        ("pr_review_prompt", "user"): "4e772626",
        ("pr_code_suggestions_prompt", "system"): "92fe45d1",
        ("pr_code_suggestions_prompt", "user"): "bbf5a05a",
        ("pr_code_suggestions_prompt_not_decoupled", "system"): "7df26a59",
        ("pr_evaluate_prompt", "prompt"): "d351b6c3",
    },
}
PR = PullRequest(
    id="a/b#1",
    repository="a/b",
    title="T",
    description="D",
    branch="b",
    commits=("c",),
    files=(make_whole_file(),),
    languages={"Python": 1},
)

pytestmark = pytest.mark.skipif(
    not FOLDERS, reason="set TUNEBENCH_PR_AGENT_SETTINGS to folders `pr_agent/settings`"
)


@pytest.fixture(params=FOLDERS, ids=[str(place) for place in range(len(FOLDERS))])
def prompt_set(request: pytest.FixtureRequest) -> PromptSet:
    """Load one of the folders."""
    return load_prompt_set(request.param)


def test_the_texts_are_those_of_the_commits(prompt_set: PromptSet) -> None:
    """No character of a template changes on the way from the file."""
    texts = {(each.table, each.key): each.text for each in prompt_set.templates}
    expected = TEXTS[prompt_set.format]
    found = {
        place: hashlib.sha256(texts[place].encode()).hexdigest()[: len(digest)]
        for place, digest in expected.items()
    }

    assert found == expected


def test_all_of_it_renders() -> None:
    """`tunebench prompts check` accepts the folder, with every tool and the judge's prompt."""
    for folder in FOLDERS:
        report = check_prompt_set(folder)
        assert set(report.tools) == set(Tool)
        assert report.evaluate is not None


def test_describe_is_known(prompt_set: PromptSet) -> None:
    """The user prompt begins as the original's, to the last space."""
    task = build_task(PR, Tool.DESCRIBE, prompt_set, {})
    user = prompt_set.render(Tool.DESCRIBE, task.variables).user
    beginnings: dict[PromptFormat, str] = {
        "2024": "PR Info:\n\nPrevious title: 'T'\n\nPrevious description:\n=====\nD\n=====\n\n"
        "Branch: 'b'\n\nCommit messages:\n=====\n1. c\n=====\n\n\nThe PR Diff:\n=====\n"
        "## src/m.py\n\n@@ -5,9 +5,10 @@ def a():\ndef a():\n",
        "HEAD": "\n\nPR Info:\n\nPrevious title: 'T'\n",
    }

    assert user.startswith(beginnings[prompt_set.format])
    assert user.endswith("\n\nResponse (should be a valid YAML, and nothing else):\n```yaml")


@pytest.mark.parametrize("tool", Tool)
def test_every_prompt_ends_in_an_open_fence(prompt_set: PromptSet, tool: Tool) -> None:
    """The model goes on inside a block of YAML, and sees the whole change."""
    task = build_task(PR, tool, prompt_set, {})
    messages = prompt_set.render(tool, task.variables)

    assert task.diff.is_whole
    assert messages.user.endswith("```yaml")
    assert "    w = 44" in messages.user


def test_our_languages_are_those_of_pr_agent(prompt_set: PromptSet) -> None:
    """The table that stands in for theirs agrees with it, but for endings of several parts."""
    theirs = prompt_set.extensions
    wrong = {
        language: sorted(extensions ^ theirs[language])
        for language, extensions in LANGUAGE_EXTENSIONS.items()
        if extensions != {each for each in theirs[language] if each.rfind(".") == 0}
    }

    assert set(wrong) <= {"yaml"}
    assert len(theirs) > len(LANGUAGE_EXTENSIONS)
