"""Rows per second of each step of cleaning, on one core, over realistic pull requests.

    PYTHONPATH=tests/support python tests/benchmarks/cleaning.py [ROWS]

Each step is timed alone over the rows that reach it, and the whole chain once more together.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from time import process_time
from typing import TypeVar

from make_corpus import make_pulls

from tunebench_api.v1alpha1 import Licenses, Tool
from tunebench_api.v1alpha1.dataset import CleaningSpec
from tunebench_jobs.data.clean import build_cleaner, check_answer
from tunebench_jobs.data.drops import Finding
from tunebench_jobs.rows import PullRequest

_Result = TypeVar("_Result")


def measure(
    name: str, rows: list[PullRequest], step: Callable[[PullRequest], _Result]
) -> list[_Result]:
    """Print the speed of a step and return its results."""
    # The first row pays for imports and lists.
    step(rows[0])
    start = process_time()
    results = [step(row) for row in rows]
    seconds = process_time() - start
    print(f"{name:16} {len(rows) / seconds:12,.0f} rows/s {seconds / len(rows) * 1e6:9.1f} µs/row")
    return results


def main(count: int) -> None:
    """Measure all steps."""
    rows = list(make_pulls(count))
    size = sum(len(file.patch) for row in rows for file in row.files)
    print(f"{count} rows, {size / count:,.0f} characters of diff each")
    cleaner = build_cleaner(
        CleaningSpec(languages=tuple({row.language for row in rows})), Licenses.PERMISSIVE
    )
    left, reasons = rows, Counter[str]()
    for name, step in cleaner.chain:
        results = measure(name, left, step)
        reasons.update(str(one.reason) for one in results if isinstance(one, Finding))
        left = [one for one in results if isinstance(one, PullRequest)]
    measure("all of cleaning", rows, cleaner.clean)
    for tool in Tool:
        found = measure(
            f"answer {tool}",
            left,
            lambda row, tool=tool: check_answer(row, tool, row.answers[tool]),
        )
        reasons.update(f"{one.reason} of {tool}" for one in found if one)
    print(f"left {len(left)}; dropped {dict(reasons)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
