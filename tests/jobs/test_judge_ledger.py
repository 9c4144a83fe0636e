"""No verdict is bought twice and none is lost: after kills, side by side, with a model more."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from judge_shop import (
    Shop,
    append_entries,
    name_questions,
    run_and_exit,
    serving_shop,
)
from judge_store import make_document, make_judge_config, make_tasks, save_completions, save_data
from make_run import make_run

from tunebench_api.contract import JudgeConfig, StageDocument
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.journal import Journal
from tunebench_jobs.judge.ledger import Ledger
from tunebench_jobs.judge.records import VerdictRow
from tunebench_jobs.records import load_jsonl
from tunebench_jobs.stage import load_result, run_stage
from tunebench_operator.graph import Graph, build_graph

pytestmark = pytest.mark.jobs

# Starts in a moment what takes seconds to import.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["warm_judge"])
# An answer that arrived is kept when the event loop next comes round; on a busy machine, later.
_KEPT_WITHIN_SECONDS = 2.0


@dataclass
class Life:
    """One process of the stage: when it ended, and what the ledger held then."""

    ended: float
    # Receipts before its end.
    sold: int
    # Replies by name of the question.
    kept: dict[str, int]


@dataclass
class Killer:
    """Kills the process that runs, at moments drawn by chance."""

    moments: list[int]
    chance: random.Random
    delay_seconds: float
    process: multiprocessing.process.BaseProcess | None = None
    struck: float | None = None

    def watch(self, count: int) -> None:
        """Strike a little after so many answers."""
        if not self.moments or count < self.moments[0] or self.process is None:
            return
        self.moments.pop(0)
        process, self.process = self.process, None
        assert process.pid is not None
        wait = self.chance.uniform(0, self.delay_seconds)
        threading.Timer(wait, self.strike, [process.pid]).start()

    def strike(self, pid: int) -> None:
        """Kill a process, and note when."""
        self.struck = time.monotonic()
        os.kill(pid, signal.SIGKILL)


def open_ledger_of(store: Path) -> Ledger:
    """Read what lies on the disk."""
    folders = list((store / "verdicts").glob("*"))
    return Ledger(Journal(folders[0] if folders else store / "verdicts"))


def live(document: StageDocument, store: Path, shop: Shop, killer: Killer) -> tuple[int, Life]:
    """Run the stage in a process of its own, to its end or to a kill."""
    process = PROCESSES.Process(target=run_and_exit, args=(document,))
    process.start()
    killer.process, killer.struck = process, None
    process.join(timeout=240)
    assert process.exitcode is not None
    ended = killer.struck or time.monotonic()
    ledger = open_ledger_of(store)
    kept = {
        key: entry.replies
        for key in name_questions(document).values()
        if (entry := ledger.get(key)) is not None
    }
    with shop.lock:
        return process.exitcode, Life(ended, len(shop.receipts), kept)


def judge_with_kills(store: Path, tasks: int, kills: int, seed: int) -> None:
    """Kill a stage so often, let it end, and hold what it bought against what it kept."""
    rows = make_tasks(tasks, [Tool.DESCRIBE])
    save_data(store / "data/one", rows)
    save_completions(store / "generate/baseline", rows, "the baseline's")
    save_completions(store / "generate/a", rows, "the model's")
    chance = random.Random(seed)  # noqa: S311 - no secret
    with serving_shop() as (judge, shop):
        document = make_document(store, make_judge_config("generate/a", [judge]), "judge/a")
        names = name_questions(document)
        # From the first question to among the last.
        moments = sorted(chance.sample(range(1, 2 * tasks), kills))
        killer = Killer(moments, chance, delay_seconds=2 * shop.delay_seconds)
        shop.before = killer.watch
        lives: list[Life] = []
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            code, life = live(document, store, shop, killer)
            lives.append(life)
            assert len(lives) <= kills + 1
        result = load_result(store / "judge/a")
        verdicts = list(load_jsonl(store / "judge/a/verdicts.jsonl", VerdictRow))
    bought = Counter((names[each.question], each.asking) for each in shop.receipts)
    doubled = sum(count - 1 for count in bought.values())
    windows = measure_windows(shop, lives, names)
    print(  # noqa: T201 - the figures of the long version
        f"{len(lives) - 1} kills: {len(shop.receipts)} answers sold for {len(bought)} askings, "
        f"{doubled} of them again; {len(windows)} had been sent before the kill and were not "
        f"kept, the oldest {1000 * max(windows, default=0):.0f} ms before"
    )

    assert code == 0
    assert len(lives) == kills + 1
    assert result is not None
    # None is lost, and each is there once.
    assert Counter((row.task, row.order) for row in verdicts).most_common(1)[0][1] == 1
    assert len(verdicts) == len(names) == 2 * tasks
    assert {row.key for row in verdicts} == set(names.values())
    assert all(row.winner is not None for row in verdicts)
    # What was kept was never bought again.
    for before, after in pairwise([Life(0, 0, {}), *lives]):
        for receipt in shop.receipts[before.sold : after.sold]:
            assert receipt.asking >= before.kept.get(names[receipt.question], 0)
    # What was bought again was under way, or answered a moment before.
    assert doubled <= kills * int(judge["concurrency"])
    assert max(windows, default=0) < _KEPT_WITHIN_SECONDS


def measure_windows(shop: Shop, lives: list[Life], names: dict[str, str]) -> list[float]:
    """Return how long before a kill each answer was sent that was not kept."""
    windows = []
    for before, after in pairwise([Life(0, 0, {}), *lives]):
        for receipt in shop.receipts[before.sold : after.sold]:
            is_kept = after.kept.get(names[receipt.question], 0) > receipt.asking
            if receipt.ended is not None and receipt.ended < after.ended and not is_kept:
                windows.append(after.ended - receipt.ended)
    return windows


@pytest.mark.timeout(600)
def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """SIGKILL at eight moments by chance; only what was under way is asked again."""
    judge_with_kills(tmp_path, tasks=60, kills=8, seed=6)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_many_kills_lose_and_double_nothing(tmp_path: Path, seed: int) -> None:
    """SIGKILL at forty moments of each of three stages."""
    judge_with_kills(tmp_path, tasks=300, kills=40, seed=seed)


def test_writers_side_by_side_keep_what_they_say(tmp_path: Path) -> None:
    """Several processes write one ledger without a lock, one is killed, and each entry stands."""
    ends = [PROCESSES.Pipe() for _ in range(4)]
    writers = [
        PROCESSES.Process(target=append_entries, args=(tmp_path, f"w{number}", 60, end[1]))
        for number, end in enumerate(ends)
    ]
    for writer, (_, theirs) in zip(writers, ends, strict=True):
        writer.start()
        theirs.close()
    told: list[str] = []
    # In turns, so that all write throughout.
    for number in range(60):
        for ours, _ in ends[: 4 if number < 30 else 3]:
            told.append(ours.recv())
            ours.send(None)
        if number == 29:
            writers[3].kill()
    for writer in writers:
        writer.join(timeout=60)
    ledger = Ledger(Journal(tmp_path))

    assert [writer.exitcode for writer in writers] == [0, 0, 0, -signal.SIGKILL]
    assert len(told) == 3 * 60 + 30
    assert all(ledger.get(key) for key in told)
    # The killed one may have kept one more before it told.
    assert len(ledger) - len(told) in {0, 1}


def test_stages_side_by_side_buy_nothing_twice(tmp_path: Path) -> None:
    """Variants with the same completions are judged at once, and each question is paid once."""
    rows = make_tasks(5, [Tool.DESCRIBE])
    save_data(tmp_path / "data/one", rows)
    save_completions(tmp_path / "generate/baseline", rows, "the baseline's")
    for name in "abc":
        save_completions(tmp_path / "generate" / name, rows, "the model's")
    with serving_shop() as (judge, shop):
        documents = [
            make_document(
                tmp_path, make_judge_config(f"generate/{name}", [judge], repeats=2), f"judge/{name}"
            )
            for name in "abc"
        ]
        stages = [PROCESSES.Process(target=run_and_exit, args=(each,)) for each in documents]
        for stage in stages:
            stage.start()
        for stage in stages:
            stage.join(timeout=240)
        questions = name_questions(documents[0])
    results = [load_result(tmp_path / "judge" / name) for name in "abc"]
    summaries = [result.summary["judges"][0] for result in results if result]
    bought = Counter(each.question for each in shop.receipts if each.asking == 0)

    assert bought == dict.fromkeys(questions, 2)
    assert sorted(each["asked"] for each in summaries) == [0, 0, 20]
    assert sorted(each["fromLedger"] for each in summaries) == [0, 20, 20]


def make_graph(judge: dict[str, Any], *models: str) -> Graph:
    """Plan a benchmark of some models."""
    specs = [{"name": name, "base": f"acme/{name}"} for name in models]
    return build_graph(make_run(models=specs, judges=[judge], tools=["Describe"]), {})


def judge_all(store: Path, graph: Graph, shop: Shop) -> dict[str, int]:
    """Carry out every judge stage as the plan has it, and count what each buys."""
    bought = {}
    for variant in graph.variants:
        before = len(shop.receipts)
        assert isinstance(variant.judge.config, JudgeConfig)
        assert run_stage(make_document(store, variant.judge.config, variant.judge.output)) == 0
        bought[variant.name] = len(shop.receipts) - before
    return bought


def test_one_more_model_costs_that_model_alone(tmp_path: Path) -> None:
    """A finished benchmark plus a model judges again nothing that is in the ledger."""
    rows = make_tasks(4, [Tool.DESCRIBE])
    with serving_shop(garbled=10**9) as (judge, shop):
        two, three = (make_graph(judge, *models) for models in (("a", "b"), ("a", "b", "c")))
        save_data(tmp_path / three.data.output, rows)
        save_completions(tmp_path / three.baseline.output, rows, "the baseline's")
        for variant in three.variants:
            # The un-tuned base of the new model says what that of another one says.
            text = f"that of {variant.name}".replace("c-", "a-")
            save_completions(tmp_path / variant.completions.output, rows, text)
        first = judge_all(tmp_path, two, shop)
        then = judge_all(tmp_path, three, shop)
        again = judge_all(tmp_path, three, shop)

    assert set(first.values()) == {8}
    assert {name for name, count in then.items() if count} == {"c"}
    assert then["c"] == 8
    assert set(again.values()) == {0}
    old = {node.key: node.digest for node in two.nodes if node.kind != "preflight"}
    new = {node.key: node.digest for node in three.nodes}
    assert old.items() < new.items()
