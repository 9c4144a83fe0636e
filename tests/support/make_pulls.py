"""Pull requests for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunebench_jobs.rows import PullRequest

ANSWERS = {
    "Describe": "type:\n- Bug fix\npr_files:\n- filename: a.py\n  changes_title: Count\n"
    "  label: bug fix\ndescription: Counts stock.\ntitle: Count stock\n",
    "Review": "review:\n  estimated_effort_to_review_[1-5]: 1\n  relevant_tests: No\n"
    "  possible_issues: No\n  security_concerns: No\n",
    "Improve": "code_suggestions:\n- relevant_file: a.py\n  language: Python\n"
    "  suggestion_content: Name it.\n  existing_code: a\n  improved_code: count\n"
    "  one_sentence_summary: Name it.\n  relevant_lines_start: 1\n  relevant_lines_end: 1\n"
    "  label: maintainability\n",
}


def make_row(number: int, **columns: Any) -> dict[str, Any]:
    """Return a row with every answer; its patch differs for each number."""
    return {
        "id": f"acme/shop#{number}",
        "repository": "acme/shop",
        "title": f"Count stock of aisle {number}",
        "description": "Stock was not counted.",
        "branch": "count",
        "language": "Python",
        "merged_at": f"2024-01-{number:02}T00:00:00Z",
        "commits": ["Count stock"],
        "files": [{"path": "a.py", "patch": f"@@ -1 +1 @@\n-a = 0\n+a = {number}"}],
        "answers": ANSWERS,
        **columns,
    }


def make_pull(number: int, **columns: Any) -> PullRequest:
    """Return the pull request of a row."""
    return PullRequest.model_validate(make_row(number, **columns))


def save_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
