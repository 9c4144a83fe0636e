"""Pairs of answers whose winner is known from their marks, for judges that count calls."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from limited_judge import find_slot, make_mark

from tunebench_api.contract import JudgeConfig, Runtime, StageDocument
from tunebench_api.v1alpha1 import JudgeSpec, JudgingSpec, PromptsSpec, Tool
from tunebench_jobs.judge.records import VERDICTS_FILE, VerdictRow
from tunebench_jobs.judge.verdicts import Winner
from tunebench_jobs.records import Completion, Task, dump_jsonl, load_jsonl

PROMPTS = Path(__file__).parents[2] / "prompts"
PROMPT_SET = PromptsSpec(builtin="default")
# A name that Arena-Hard knows as one.
BASELINE = "o3-mini-2025-01-31"
_TASK_WORDS, _ANSWER_WORDS = 500, 120
_SENTENCE = (
    "the function reads rows of the store before it closes the session and returns a value "
    "when the index of the cache has no lock, and the test of the branch handles each error field"
)
_WORDS = _SENTENCE.split()
_OUTPUT = "judge/pairs"
_WINNERS = (Winner.TIE, Winner.MODEL, Winner.BASELINE)


@dataclass(frozen=True)
class Pair:
    """One task, a model's answer to it and the baseline's."""

    model: str
    task: str
    text: str
    answer: str
    baseline: str

    @property
    def winner(self) -> Winner:
        """Whose answer wins, in whichever order they are shown."""
        return _WINNERS[find_slot(f"{self.answer}\n{self.baseline}")]


@dataclass(frozen=True)
class Outcome:
    """Verdicts that a program ended with, among those that it was to get."""

    right: int
    wrong: int
    absent: int


def make_pairs(models: int, tasks: int) -> list[Pair]:
    """Return every model's answer to every task; always the same."""
    words = random.Random(20261128)  # noqa: S311 - no secret
    texts = {f"acme/x#{task}": _make_text(words, _TASK_WORDS) for task in range(tasks)}
    baselines = {task: _make_answer(words, BASELINE, task) for task in texts}
    return [
        Pair(model, task, text, _make_answer(words, model, task), baselines[task])
        for model in (f"model-{number}" for number in range(1, models + 1))
        for task, text in texts.items()
    ]


def build_outcome(pairs: Sequence[Pair], said: Iterable[tuple[int, Winner | None]]) -> Outcome:
    """Compare verdicts, each with the place of its pair, with what they must be in both orders."""
    counts: Counter[str] = Counter()
    for place, winner in said:
        if winner is not None:
            counts["right" if winner is pairs[place].winner else "wrong"] += 1
    given = counts["right"] + counts["wrong"]
    return Outcome(counts["right"], counts["wrong"], max(0, 2 * len(pairs) - given))


def save_stage_inputs(store: Path, pairs: Sequence[Pair]) -> None:
    """Write what a judge stage reads: tasks, and both sides' completions."""
    tasks, answers, baselines = [], [], []
    for pair in pairs:
        pr = f"{pair.model}/{pair.task}"
        task = f"{pr}:{Tool.REVIEW}"
        tasks.append(
            Task(
                id=task,
                pr=pr,
                repository="acme/x",
                language="Go",
                tool=Tool.REVIEW,
                system="You review pull requests.",
                user=pair.text,
            )
        )
        answers.append(Completion(task=task, completion=pair.answer, finish_reason="stop"))
        baselines.append(Completion(task=task, completion=pair.baseline, finish_reason="stop"))
    for path, rows in (
        ("data/pairs/eval.jsonl", tasks),
        ("generate/models/completions.jsonl", answers),
        ("generate/baseline/completions.jsonl", baselines),
    ):
        (store / path).parent.mkdir(parents=True, exist_ok=True)
        (store / path).write_text(dump_jsonl(rows), encoding="utf-8")


def build_stage(store: Path, judges: Sequence[JudgeSpec]) -> StageDocument:
    """Return the document of the judge stage that judges what `save_stage_inputs` wrote."""
    config = JudgeConfig(
        data="data/pairs",
        baseline="generate/baseline",
        completions="generate/models",
        prompts=PROMPT_SET,
        judges=tuple(judges),
        judging=JudgingSpec(),
    )
    runtime = Runtime(
        store=str(store),
        output=_OUTPUT,
        report=str(store / "report.json"),
        prompts_dir=str(PROMPTS),
    )
    return StageDocument(config=config, runtime=runtime)


def load_stage_outcome(store: Path, pairs: Sequence[Pair], judges: int) -> Outcome:
    """Return how the verdicts of that stage are."""
    places = {f"{pair.model}/{pair.task}": number for number, pair in enumerate(pairs)}
    rows = load_jsonl(store / _OUTPUT / VERDICTS_FILE, VerdictRow)
    return build_outcome(list(pairs) * judges, ((places[row.pr], row.winner) for row in rows))


def _make_text(words: random.Random, count: int) -> str:
    lines = (" ".join(words.choices(_WORDS, k=10)) for _ in range(count // 10))
    return "\n".join(f"+{line}" for line in lines)


def _make_answer(words: random.Random, model: str, task: str) -> str:
    return f"{make_mark(model, task)}\n{_make_text(words, _ANSWER_WORDS)}"
