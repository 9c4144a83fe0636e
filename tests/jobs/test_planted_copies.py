"""Copies that were planted among 5,000 pull requests are found, and few others are accused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

import pytest
from make_copies import COPIES, can_be_copied, make_merged
from make_corpus import make_pulls

from tunebench_jobs.data.similar import DuplicateIndex, EvalGate, MatchKind, build_signature
from tunebench_jobs.rows import PullRequest

pytestmark = pytest.mark.jobs

ROWS, ASKED, COPIES_OF_EACH, LEAKS = 5000, 100, 40, 50
THRESHOLD = 0.8
NEAR = {"adapted", "inside"}
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Planted:
    """Rows to train on and to ask; `kinds` and `originals` tell of each copy what it is."""

    train: Sequence[PullRequest]
    evaluation: Sequence[PullRequest]
    copies: dict[str, str]
    leaks: dict[str, str]
    originals: dict[str, PullRequest]


@pytest.fixture(scope="module")
def planted() -> Planted:
    """Return 5,000 rows, 200 of them copies of others and 50 of the evaluation's."""
    return plant(Random(7))  # noqa: S311 - no secret


def plant(random: Random) -> Planted:
    """Make the rows; each copy stands somewhere behind its original."""
    leak_kinds = [*COPIES, "inside"]
    own = ROWS - ASKED - COPIES_OF_EACH * len(COPIES) - LEAKS
    rows = list(make_pulls(own + ASKED, seed=3))
    random.shuffle(rows)
    evaluation, train = rows[:ASKED], rows[ASKED:]
    originals: dict[str, PullRequest] = {}
    copies: dict[str, str] = {}
    for kind, make in COPIES.items():
        fit = [pr for pr in train if pr.id not in copies and can_be_copied(pr, kind)]
        for pr in random.sample(fit, COPIES_OF_EACH):
            copy = make(pr, random)
            train.insert(random.randint(train.index(pr) + 1, len(train)), copy)
            copies[copy.id], originals[copy.id] = kind, pr
    leaks: dict[str, str] = {}
    for number in range(LEAKS):
        kind = leak_kinds[number % len(leak_kinds)]
        pr = random.choice([pr for pr in evaluation if can_be_copied(pr, "adapted")])
        make_copy = COPIES.get(kind)
        copy = make_copy(pr, random) if make_copy else make_merged(pr, random.choice(train), random)
        train.insert(random.randrange(len(train)), copy)
        leaks[copy.id], originals[copy.id] = kind, pr
    return Planted(train, evaluation, copies, leaks, originals)


def report(
    title: str, kinds: dict[str, str], found: Iterable[str], precision: float
) -> Counter[str]:
    """Print recall for each kind and precision over all; return how many of each were found."""
    planted, hits = Counter(kinds.values()), Counter(kinds[key] for key in found if key in kinds)
    lines = [f"{title}: precision {precision:.3f}"]
    lines += [
        f"  {kind:12} {hits[kind]:3} of {count:3}, recall {hits[kind] / count:.3f}"
        for kind, count in planted.items()
    ]
    sys.stdout.write("\n".join(["", *lines, ""]))
    return hits


def assert_found(kinds: dict[str, str], hits: Counter[str]) -> None:
    """Check recall: at least 0.99 of exact copies, and 0.95 of those that are nearly the same."""
    for kind, count in Counter(kinds.values()).items():
        assert hits[kind] >= (0.95 if kind in NEAR else 0.99) * count, kind


def list_runs(pr: PullRequest, width: int) -> list[tuple[str, ...]]:
    """Return runs of words as the documents define them, written as plainly as can be."""
    runs = []
    for sign in "+-":
        lines = [
            line[1:]
            for file in sorted(pr.files, key=lambda file: file.path)
            for line in file.patch.split("\n")
            if line[:1] == sign
        ]
        words = _WORD.findall("\n".join(lines).lower())
        tag = () if width == 13 else (sign,)
        runs += [(*tag, *words[n : n + width]) for n in range(len(words) - width + 1)]
    return runs


def is_alike(left: PullRequest, right: PullRequest) -> bool:
    """Whether two pull requests reach the threshold, counted without hashes or samples."""
    one, two = (set(list_runs(pr, 5)) for pr in (left, right))
    return len(one & two) >= (THRESHOLD - 0.01) * len(one | two)


def gives_away(train: PullRequest, asked: PullRequest) -> bool:
    """Whether a row has a fifth of a question's runs of 13 words, boilerplate included."""
    one, two = (set(list_runs(pr, 13)) for pr in (train, asked))
    return bool(two) and len(one & two) >= 0.1 * len(two)


def test_planted_duplicates_are_found(planted: Planted) -> None:
    """Recall is at least 0.99 of exact copies and 0.95 of adapted ones; so is precision."""
    index = DuplicateIndex(THRESHOLD)
    by_id = {pr.id: pr for pr in planted.train}
    found: dict[str, str] = {}
    wrong = []
    for pr in planted.train:
        signature = build_signature(pr)
        match = index.find(signature)
        if match is None:
            index.add(pr.id, signature)
            continue
        found[pr.id] = match.key
        original = planted.originals.get(pr.id)
        is_right = match.is_exact or (original is not None and original.id == match.key)
        if not (is_right or is_alike(pr, by_id[match.key])):
            wrong.append((pr.id, match))
    precision = 1 - len(wrong) / len(found)
    hits = report("duplicates", planted.copies, found, precision)

    assert_found(planted.copies, hits)
    assert precision >= 0.99, wrong


def test_planted_leaks_are_found(planted: Planted) -> None:
    """Of 50 copies of evaluation rows, in six dresses, none is trained on; precision is 0.99."""
    evaluation = {pr.id: pr for pr in planted.evaluation}
    gate = EvalGate(THRESHOLD, ((pr.id, build_signature(pr)) for pr in planted.evaluation))
    rows = [(pr, build_signature(pr)) for pr in planted.train]
    for _, signature in rows:
        gate.count(signature)
    found, wrong = [], []
    kinds: Counter[MatchKind] = Counter()
    for pr, signature in rows:
        match = gate.find(pr.id, signature)
        if match is None:
            continue
        found.append(pr.id)
        kinds[match.kind] += 1
        if pr.id in planted.leaks:
            assert match.key == planted.originals[pr.id].id
        elif not (match.is_exact or gives_away(pr, evaluation[match.key])):
            wrong.append((pr.id, match))
    precision = 1 - len(wrong) / len(found)
    hits = report("leaks", planted.leaks, found, precision)

    assert_found(planted.leaks, hits)
    assert precision >= 0.99, wrong
    assert set(kinds) == set(MatchKind) - {MatchKind.SAME_ID}


def test_signatures_are_the_same_in_every_process() -> None:
    """What is found does not depend on the seed of Python's hashes."""
    program = (
        "from make_changes import make_lines, make_patch, make_signature\n"
        "s = make_signature(make_patch(make_lines(30)))\n"
        "print(s.patch, s.normalised, s.runs.sum(), s.shingles.sum(), s.minhash.digest())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(outputs) == 1
