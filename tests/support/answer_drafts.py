"""A program that lets a teacher answer drafts: `answer_drafts.py STORE API_BASE COUNT`.

It checks the budget, and prints a JSON object with the answers, the reasons and what was paid.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from make_drafts import make_draft

from tunebench_api.contract import Runtime
from tunebench_api.v1alpha1 import DatasetSpec
from tunebench_jobs.context import StageContext
from tunebench_jobs.data.teacher.makers import open_makers
from tunebench_jobs.data.teacher.replies import build_shelf
from tunebench_jobs.errors import JobError
from tunebench_jobs.prompts import builtin_prompts_dir, load_prompt_set


def answer(store: Path, api_base: str, count: int, **teacher: Any) -> dict[str, Any]:
    """Let the teacher at `api_base` answer drafts, a dollar for each hundred replies."""
    llm = {
        "model": "openai/scripted",
        "apiBase": api_base,
        "secretRef": {"name": "keys", "key": "TEACHER_KEY"},
        "maxTokens": 10,
        "concurrency": 8,
        "prices": {"inputUSDPerMillion": "0", "outputUSDPerMillion": "1000"},
        "budgetUSD": "100",
        **teacher,
    }
    sources = {"train": {"uri": "t.jsonl"}, "eval": {"uri": "e.jsonl"}}
    dataset = DatasetSpec.from_wire({**sources, "answers": "Teacher", "teacher": llm})
    context = StageContext(
        Runtime(store=str(store), output="data/one", report=str(store / "report.json"))
    )
    prompts = load_prompt_set(builtin_prompts_dir() / "compact")
    drafts = [make_draft(number) for number in range(count)]
    with open_makers(dataset, prompts, build_shelf(context)) as makers:
        makers.check_budgets(drafts)
        made = list(makers.make(drafts))
        summary = makers.build_summary()["teacher"]
    findings = [draft.finding and [draft.finding.reason, draft.finding.detail] for draft in made]
    return {"answers": [draft.answer for draft in made], "findings": findings, "summary": summary}


def main() -> int:
    """Answer and print; an error of ours is one line on standard error."""
    store, api_base, count = sys.argv[1:4]
    try:
        result = answer(Path(store), api_base, int(count))
    except JobError as error:
        sys.stderr.write(f"{error.reason}: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
