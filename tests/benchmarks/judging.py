"""What judging costs: `make judging` prints the figures of docs/performance.md.

A server that speaks OpenAI's protocol, with limits, latency and faults, is asked by our judge
stage: once at the size of a whole benchmark, three judges at a time; then, beside other programs
and for the same pairs, with a limit that leaves room and with one that does not. The server counts
what each of them asked, and says verdicts that follow from the pairs, so that each can be checked
for what it ended with. Everyone asks both orders, as processes of their own, one after the other.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from judge_peers import PEERS, Peer, Work, install
from judged_pairs import (
    PROMPT_SET,
    PROMPTS,
    Outcome,
    Pair,
    build_outcome,
    build_stage,
    load_stage_outcome,
    make_pairs,
    save_stage_inputs,
)
from limited_judge import Conditions, Dialect, Statistics
from limited_server import LimitedServer, serving_limited
from measuring import Cost, measure_command

from tunebench_api.contract import StageDocument
from tunebench_api.v1alpha1 import JudgeSpec
from tunebench_jobs.judge.comparisons import (
    build_comparisons,
    build_message,
    find_prompt_delimiters,
)
from tunebench_jobs.prompt_source import load_configured_prompts
from tunebench_jobs.records import Completion, Task, load_jsonl

OURS = "tunebench"
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Setting:
    """What judges allow, and how many requests each program may have in flight."""

    name: str
    requests_per_minute: int
    parallel: int

    @property
    def conditions(self) -> Conditions:
        """The limit, of which as much may come at once as a second allows."""
        burst = max(1, self.requests_per_minute // 60)
        return Conditions(requests_per_minute=self.requests_per_minute, burst=burst)


@dataclass(frozen=True)
class Run:
    """How one program did."""

    name: str
    setting: Setting
    judges: int
    cost: Cost
    counted: Statistics
    outcome: Outcome

    @property
    def bound_seconds(self) -> float:
        """The time that limit and latency ask for; what broke or was garbage is asked once more."""
        counted, conditions = self.counted, self.setting.conditions
        needed = (counted.questions + counted.broken + counted.garbage) / self.judges
        by_limit = (needed - conditions.burst) / (self.setting.requests_per_minute / 60)
        return max(by_limit, needed * conditions.mean_seconds / self.setting.parallel)

    @property
    def share(self) -> float:
        """What was reached of what the limit allows."""
        return self.bound_seconds / self.counted.seconds

    @property
    def refused_share(self) -> float:
        """The share of calls that were answered 429."""
        return self.counted.refused / max(1, self.counted.calls)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=14, help="of the whole benchmark")
    parser.add_argument("--tasks", type=int, default=300, help="of the whole benchmark")
    parser.add_argument("--judges", type=int, default=3, help="of the whole benchmark")
    parser.add_argument("--rpm", type=int, default=3000, help="of each judge of it")
    parser.add_argument("--pairs", type=int, default=1200, help="for the comparison; 0: none")
    parser.add_argument("--slow-pairs", type=int, default=300, help="likewise, at 600 per minute")
    parser.add_argument("--room-rpm", type=int, default=12_000, help="of the limit with room")
    parser.add_argument("--parallel", type=int, default=256, help="requests in flight, with room")
    parser.add_argument("--cache", type=Path, help="folder for the peers' environments")
    parser.add_argument("--fastchat", type=Path, help="checkout of lm-sys/FastChat")
    parser.add_argument("--arena", type=Path, help="checkout of lmarena/arena-hard-auto")
    parser.add_argument("--only", nargs="+", help="names of the programs to compare")
    parser.add_argument("--one", type=Path, metavar="DOCUMENT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.exit(run_ours(options.one))
    with tempfile.TemporaryDirectory() as scratch, serving_limited() as server:
        bench = Bench(server, Path(scratch), options)
        if options.models:
            bench.measure_whole()
        if options.pairs:
            room = Setting("room", options.room_rpm, options.parallel)
            bench.compare(room, options.pairs)
        if options.slow_pairs:
            bench.compare(Setting("600 per minute", 600, 64), options.slow_pairs)


class Bench:
    """A server, a folder to work in, and what the command was told."""

    def __init__(self, server: LimitedServer, scratch: Path, options: argparse.Namespace) -> None:
        """Begin with nothing measured."""
        self._server = server
        self._scratch = scratch
        self._options = options
        self._runs = 0

    def measure_whole(self) -> None:
        """Judge a whole benchmark with three judges at once."""
        options = self._options
        pairs = make_pairs(options.models, options.tasks)
        setting = Setting("whole", options.rpm, min(options.parallel, 128))
        print(
            f"{options.models} models, {options.tasks} tasks, {options.judges} judges, 2 orders, "
            f"{options.rpm:,} requests per minute of each judge:",
            flush=True,
        )
        run = self._measure_ours(setting, pairs, options.judges)
        print("\n".join(describe_whole(run)), flush=True)

    def compare(self, setting: Setting, count: int) -> None:
        """Let all programs judge the same pairs, and print a table."""
        tasks = min(count, 300)
        pairs = make_pairs(count // tasks, tasks)
        print(
            f"{len(pairs):,} pairs, {2 * len(pairs):,} verdicts, "
            f"{setting.requests_per_minute:,} requests per minute, {setting.parallel} in flight:"
        )
        print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}", flush=True)
        ours = self._measure_ours(setting, pairs, 1)
        print(build_row(ours, ours), flush=True)
        for peer in PEERS:
            if self._options.only is None or peer.name in self._options.only:
                self._compare_peer(peer, ours, pairs)

    def _compare_peer(self, peer: Peer, ours: Run, pairs: Sequence[Pair]) -> None:
        checkouts = {
            "lm-sys/FastChat": self._options.fastchat,
            "lmarena/arena-hard-auto": self._options.arena,
        }
        checkout = checkouts.get(peer.repository or "")
        cache = self._options.cache
        if cache is None or (peer.repository and checkout is None):
            missing = "--cache" if cache is None else f"a checkout of {peer.repository}"
            print(f"| {peer.name} | not measured without {missing} |")
            return
        python = install(peer, UV, cache.resolve())
        try:
            run = self._measure_peer(peer, python, checkout, ours.setting, pairs)
        except ProgramFailedError as error:
            print(f"| {peer.name} | gave up: {error.last_line} |", flush=True)
        else:
            print(build_row(run, ours), flush=True)

    def _measure_ours(self, setting: Setting, pairs: Sequence[Pair], judges: int) -> Run:
        store, base = self._open(OURS, setting.conditions)
        save_stage_inputs(store, pairs)
        document = build_stage(store, build_judges(base, setting, judges))
        place = store / "document.json"
        place.write_text(document.model_dump_json(by_alias=True), encoding="utf-8")
        command = [sys.executable, "-W", "ignore", __file__, "--one", str(place)]
        cost = measure_command(command, store, os.environ, store / "log")
        check_ended(OURS, cost, store / "log")
        outcome = load_stage_outcome(store, pairs, judges)
        return Run(OURS, setting, judges, cost, self._server.count(store.name), outcome)

    def _measure_peer(
        self,
        peer: Peer,
        python: Path,
        checkout: Path | None,
        setting: Setting,
        pairs: Sequence[Pair],
    ) -> Run:
        conditions = setting.conditions.model_copy(update={"dialect": peer.dialect})
        folder, base = self._open(peer.name, conditions)
        prompts = list(render_prompts(pairs, folder)) if peer.dialect is Dialect.YAML else []
        work = Work(pairs, prompts, folder, base, setting.parallel, "judge-1")
        command = peer.prepare(work, python, checkout and checkout.resolve())
        environment = {**os.environ, **command.environment}
        cost = measure_command(command.arguments, folder, environment, folder / "log")
        check_ended(peer.name, cost, folder / "log")
        outcome = build_outcome(pairs, peer.load(work))
        return Run(peer.name, setting, 1, cost, self._server.count(folder.name), outcome)

    def _open(self, name: str, conditions: Conditions) -> tuple[Path, str]:
        """Return a folder, and the address of a place of its name at the server."""
        self._runs += 1
        folder = self._scratch / f"{name}-{self._runs}"
        folder.mkdir()
        return folder, self._server.open(folder.name, conditions)


def build_judges(base: str, setting: Setting, count: int) -> list[JudgeSpec]:
    """Return judges at one address, each told of its limit."""
    return [
        JudgeSpec(
            name=f"judge-{number}",
            model=f"openai/judge-{number}",
            api_base=base,
            requests_per_minute=setting.requests_per_minute,
            concurrency=setting.parallel,
        )
        for number in range(1, count + 1)
    ]


def run_ours(document: Path) -> int:
    """Run the stage, as a job does."""
    from tunebench_jobs.stage import run_stage  # noqa: PLC0415 - only in the process measured

    return run_stage(StageDocument.model_validate_json(document.read_bytes()))


def render_prompts(pairs: Sequence[Pair], folder: Path) -> Iterator[str]:
    """Yield what our judges are sent: each pair with the model's answer first, then second."""
    save_stage_inputs(folder, pairs)
    tasks = list(load_jsonl(folder / "data/pairs/eval.jsonl", Task))
    models, baselines = (
        {
            row.task: row
            for row in load_jsonl(folder / f"generate/{name}/completions.jsonl", Completion)
        }
        for name in ("models", "baseline")
    )
    prompts = load_configured_prompts(PROMPT_SET, PROMPTS).prompt_set
    delimiters = find_prompt_delimiters(prompts)
    for comparison in build_comparisons(tasks, models, baselines):
        yield build_message(prompts, delimiters, comparison)["content"]


class ProgramFailedError(RuntimeError):
    """A program ended with a code other than 0."""

    def __init__(self, name: str, code: int, said: str) -> None:
        """Keep the end of what the program said."""
        super().__init__(f"{name} ended with code {code}:\n{said}")
        self.last_line = said.rpartition("\n")[2]


def check_ended(name: str, cost: Cost, log: Path) -> None:
    """Raise `ProgramFailedError` if a program failed, with the end of what it said."""
    if cost.code:
        tail = log.read_text(encoding="utf-8", errors="replace").strip()[-3000:]
        raise ProgramFailedError(name, cost.code, tail)


def describe_whole(run: Run) -> Iterator[str]:
    """Yield the figures of a whole benchmark as lines."""
    counted, outcome = run.counted, run.outcome
    yield f"  {counted.calls:,} calls in {counted.seconds:.1f} s, {run.cost.seconds:.1f} s in all"
    yield f"  {run.share:.1%} of what the limits allow ({run.bound_seconds:.1f} s)"
    yield (
        f"  lost {counted.lost}, doubled {counted.doubled}; verdicts right {outcome.right:,}, "
        f"wrong {outcome.wrong}, missing {outcome.absent}"
    )
    yield (
        f"  answered 429: {run.refused_share:.2%}, 5xx: {counted.broken:,}, "
        f"garbage: {counted.garbage:,}, in flight at most {counted.peak}, "
        f"{counted.connections:,} connections"
    )
    yield (
        f"  {1000 * run.cost.cpu_seconds / counted.calls:.2f} ms of CPU per call, "
        f"at most {run.cost.peak_bytes / 2**20:,.0f} MiB"
    )


COLUMNS = (
    "program",
    "start to end [s]",
    "first call to last answer [s]",
    "limit allows [%]",
    "times as long as ours",
    "calls",
    "429 [%]",
    "in flight",
    "connections",
    "CPU per call [ms]",
    "MiB",
    "verdicts right / wrong / absent",
)


def build_row(run: Run, ours: Run) -> str:
    """Return a line of the table."""
    counted, cost, outcome = run.counted, run.cost, run.outcome
    cells = (
        run.name,
        f"{cost.seconds:.1f}",
        f"{counted.seconds:.1f}",
        f"{100 * run.share:.1f}",
        f"{cost.seconds / ours.cost.seconds:.2f}; {counted.seconds / ours.counted.seconds:.2f}",
        f"{counted.calls:,}",
        f"{100 * run.refused_share:.1f}",
        counted.peak,
        f"{counted.connections:,}",
        f"{1000 * cost.cpu_seconds / counted.calls:.1f}",
        f"{cost.peak_bytes / 2**20:,.0f}",
        f"{outcome.right:,} / {outcome.wrong} / {outcome.absent}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
