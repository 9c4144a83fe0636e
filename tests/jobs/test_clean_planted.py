"""Planted secrets and licence violations are found among thousands of realistic pull requests."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from make_corpus import make_pulls
from plant_faults import (
    ALLOWED_LICENSES,
    EXACT_SECRETS,
    FORBIDDEN_LICENSES,
    HARMLESS,
    NAMED_SECRETS,
    plant_line,
    plant_secret,
)

from tunebench_api.v1alpha1 import Licenses
from tunebench_api.v1alpha1.dataset import CleaningSpec
from tunebench_jobs.data.clean import build_cleaner
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.rows import PullRequest

pytestmark = pytest.mark.jobs

ROWS = 5000
SECRETS = 50
VIOLATIONS = 50
_SEED = 20


def find_reason(result: PullRequest | Finding) -> RowDrop | None:
    """Return the reason if it is one of those that are planted."""
    reason = result.reason if isinstance(result, Finding) else None
    return reason if reason in {RowDrop.SECRET, RowDrop.LICENSE} else None


def plant(random: Random) -> tuple[list[PullRequest], dict[int, str], set[int]]:
    """Return realistic rows, the kind of each planted fault by its row, and rows with others."""
    rows = list(make_pulls(ROWS, seed=_SEED))
    # A fault in a file that is taken out anyway proves nothing.
    cleaner = build_cleaner(CleaningSpec(), Licenses.PERMISSIVE)
    before = [cleaner.clean(pr) for pr in rows]
    whole = [place for place, pr in enumerate(rows) if before[place] == pr]
    # Real sources hold keys of their own tests now and then.
    others = {place for place, result in enumerate(before) if find_reason(result)}
    places = random.sample(whole, SECRETS + VIOLATIONS + 4 * len(HARMLESS))
    planted: dict[int, str] = {}
    kinds = [*EXACT_SECRETS, *NAMED_SECRETS]
    for turn in range(SECRETS):
        place, kind = places.pop(), kinds[turn % len(kinds)]
        rows[place] = plant_secret(rows[place], kind, random)
        planted[place] = kind
    for turn in range(VIOLATIONS):
        place = places.pop()
        license_ = FORBIDDEN_LICENSES[turn % len(FORBIDDEN_LICENSES)]
        rows[place] = rows[place].model_copy(update={"license": license_})
        planted[place] = "licence"
    for turn, place in enumerate(places):
        line = list(HARMLESS.values())[turn % len(HARMLESS)](random)
        rows[place] = plant_line(rows[place], line, random)
    for place in set(range(0, ROWS, 3)) - set(planted):
        license_ = random.choice(ALLOWED_LICENSES)
        rows[place] = rows[place].model_copy(update={"license": license_})
    return rows, planted, others


def test_planted_faults_are_found_and_nothing_else() -> None:
    """Recall and precision of secrets and licences are 0.99 at least, also for each exact kind."""
    rows, planted, others = plant(Random(_SEED))  # noqa: S311 - no secret
    cleaner = build_cleaner(CleaningSpec(), Licenses.PERMISSIVE)
    found = {place for place, pr in enumerate(rows) if find_reason(cleaner.clean(pr))}
    expected = Counter(planted.values())
    right = Counter(kind for place, kind in planted.items() if place in found)
    wrong = found - planted.keys() - others
    for kind, count in expected.items():
        print(f"{kind:28} {right[kind]:3} of {count:3}, recall {right[kind] / count:.2f}")  # noqa: T201
    print(f"found besides: {len(wrong)}, before planting: {len(others)}")  # noqa: T201

    assert {kind: right[kind] for kind in expected if kind not in NAMED_SECRETS} == {
        kind: expected[kind] for kind in expected if kind not in NAMED_SECRETS
    }
    assert wrong == set()
    assert len(others) < 0.005 * ROWS
    assert sum(right.values()) >= 0.99 * sum(expected.values())
