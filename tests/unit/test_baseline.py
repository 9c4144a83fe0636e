"""Every task gets the baseline's completion, stored or asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tunebench_api.contract import BaselineConfig, ControlConfig, Runtime
from tunebench_api.v1alpha1 import BaselineSpec, Control, Tool
from tunebench_jobs.answers import answer_text, parse_answer
from tunebench_jobs.baseline import PARTIAL_PREFIX, ask_all, run_baseline
from tunebench_jobs.context import StageContext
from tunebench_jobs.control import (
    NULL_ANSWERS,
    PADDING,
    build_padded_completion,
    run_control,
)
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.llm import Endpoint, Reply
from tunebench_jobs.records import Completion, Task, dump_jsonl, load_jsonl

MODEL = BaselineSpec(name="big", model="openai/big-2024-01-01", api_base="http://localhost:9/v1")


def make_task(number: int, tool: Tool = Tool.DESCRIBE) -> Task:
    """Return a task of pull request `number`."""
    pr = f"acme/shop#{number}"
    return Task(
        id=f"{pr}:{tool}",
        pr=pr,
        repository="acme/shop",
        language="Python",
        tool=tool,
        system="Describe.",
        user=f"Diff {number}",
    )


def make_context(tmp_path: Path, tasks: Sequence[Task]) -> StageContext:
    """Return the context of a stage whose data stage gave `tasks`."""
    (tmp_path / "data" / "x").mkdir(parents=True)
    (tmp_path / "data" / "x" / "eval.jsonl").write_text(dump_jsonl(tasks))
    runtime = Runtime(store=str(tmp_path), output="out", report=str(tmp_path / "report.json"))
    context = StageContext(runtime)
    context.output.mkdir()
    return context


def make_stored(tmp_path: Path, *rows: tuple[int, str]) -> BaselineConfig:
    """Return the config that reads stored completions of Describe."""
    path = tmp_path / "baseline.jsonl"
    lines = [
        json.dumps({"pr": f"acme/shop#{number}", "tool": "Describe", "completion": text})
        for number, text in rows
    ]
    path.write_text("\n".join(lines))
    spec = {"name": "stored", "completions": {"uri": str(path)}}
    return BaselineConfig.from_wire({"data": "data/x", "baseline": spec})


class FakeModel:
    """A model that answers with the user's message, and fails for the tasks it is told to."""

    def __init__(self, failing: str = "") -> None:
        """Remember what was asked."""
        self.failing = failing
        self.asked: list[str] = []

    async def ask(self, endpoint: Endpoint, messages: Sequence[dict[str, str]]) -> Reply:
        """Answer, or stay away."""
        user = messages[-1]["content"]
        if user == self.failing:
            msg = f"{endpoint.model} is away"
            raise RetryableError(msg, reason="ModelUnavailable")
        self.asked.append(user)
        return Reply(f"re {user}", 0.5, "length", prompt_tokens=3, completion_tokens=4)


def test_stored_completions_are_matched(tmp_path: Path) -> None:
    """Each task gets its own, in the tasks' order; those of other pull requests are ignored."""
    context = make_context(tmp_path, [make_task(1), make_task(2)])
    run_baseline(make_stored(tmp_path, (3, "c"), (2, "b"), (1, "a")), context)
    completions = list(load_jsonl(context.output / "completions.jsonl", Completion))

    assert [(c.task, c.completion, c.finish_reason) for c in completions] == [
        ("acme/shop#1:Describe", "a", "stored"),
        ("acme/shop#2:Describe", "b", "stored"),
    ]


def test_missing_stored_completions_are_named(tmp_path: Path) -> None:
    """The error counts them, names the first and says what to add."""
    context = make_context(tmp_path, [make_task(number) for number in range(1, 9)])

    with pytest.raises(InputError) as caught:
        run_baseline(make_stored(tmp_path, (1, "a")), context)
    assert "lacks 7 of 8: `acme/shop#2:Describe`" in str(caught.value)
    assert "and 2 more; add rows with `pr`, `tool` and `completion`" in str(caught.value)
    assert caught.value.reason == "MissingCompletions"


def test_stored_completion_given_twice_is_refused(tmp_path: Path) -> None:
    """Which of two would count is not for us to guess."""
    context = make_context(tmp_path, [make_task(1)])

    with pytest.raises(InputError, match="got several"):
        run_baseline(make_stored(tmp_path, (1, "a"), (1, "b")), context)


def test_broken_stored_row_is_named_by_line(tmp_path: Path) -> None:
    """File and line of a broken row are in the error."""
    config = make_stored(tmp_path, (1, "a"))
    path = tmp_path / "baseline.jsonl"
    path.write_text(f'{path.read_text()}\n{{"pr": 3}}\n')

    with pytest.raises(InputError, match=r"baseline\.jsonl:2: broken row"):
        run_baseline(config, make_context(tmp_path, [make_task(1)]))


def test_model_is_asked_for_every_task(tmp_path: Path) -> None:
    """Replies become completions with their tokens and cost."""
    tasks = [make_task(number) for number in range(20)]
    completions = ask_all(tasks, MODEL, make_context(tmp_path, tasks), FakeModel().ask)

    assert [completion.completion for completion in completions] == [
        f"re Diff {number}" for number in range(20)
    ]
    assert completions[0].model_dump() == {
        "task": "acme/shop#0:Describe",
        "completion": "re Diff 0",
        "finish_reason": "length",
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "cost_usd": 0.5,
    }


def test_answers_of_a_failed_attempt_are_kept(tmp_path: Path) -> None:
    """The next attempt asks only for what is missing, even after a torn last line."""
    tasks = [make_task(number) for number in range(4)]
    context = make_context(tmp_path, tasks)
    with pytest.raises(RetryableError, match="task `acme/shop#2:Describe`"):
        ask_all(tasks, MODEL, context, FakeModel(failing="Diff 2").ask)
    (partial,) = context.output.glob(f"{PARTIAL_PREFIX}*.jsonl")
    with partial.open("a") as file:
        file.write('{"task": "acme/shop#2:Describe", "comp')
    second, third = FakeModel(), FakeModel()
    completions = ask_all(tasks, MODEL, context, second.ask)
    ask_all(tasks, MODEL, context, third.ask)

    assert "Diff 2" in second.asked
    assert not {"Diff 0", "Diff 1"} & set(second.asked)
    assert [completion.task for completion in completions] == [task.id for task in tasks]
    assert third.asked == []


def test_null_control_never_looks_at_the_pull_request(tmp_path: Path) -> None:
    """Its answers are valid, one for each tool, and the same for every task."""
    tasks = [make_task(number, tool) for tool in Tool for number in (1, 2)]
    context = make_context(tmp_path, tasks)
    run_control(ControlConfig(data="data/x", baseline="out", control=Control.NULL), context)
    completions = list(load_jsonl(context.output / "completions.jsonl", Completion))
    by_tool = {
        tool: {
            c.completion for c, task in zip(completions, tasks, strict=True) if task.tool == tool
        }
        for tool in Tool
    }

    assert [completion.task for completion in completions] == [task.id for task in tasks]
    assert {tool: len(texts) for tool, texts in by_tool.items()} == dict.fromkeys(Tool, 1)
    assert all(parse_answer(t, text).level == "strict" for t, (text,) in by_tool.items())


def test_self_control_is_the_baseline(tmp_path: Path) -> None:
    """The control against itself repeats the baseline's completions."""
    context = make_context(tmp_path, [make_task(1)])
    run_baseline(make_stored(tmp_path, (1, "a")), context)
    (tmp_path / "baseline" / "y").mkdir(parents=True)
    made = (context.output / "completions.jsonl").rename(tmp_path / "baseline/y/completions.jsonl")
    run_control(ControlConfig(data="data/x", baseline="baseline/y", control=Control.SELF), context)

    assert (context.output / "completions.jsonl").read_bytes() == made.read_bytes()


@pytest.mark.parametrize("tool", list(Tool))
def test_padded_control_says_the_same_in_more_words(tool: Tool) -> None:
    """The baseline's answer stays valid, keeps each of its parts, and grows."""
    task = make_task(1, tool)
    answer = NULL_ANSWERS[tool]
    padded = build_padded_completion(
        task, Completion(task=task.id, completion=answer, finish_reason="stop")
    )
    before, after = (parse_answer(tool, text).data for text in (answer, padded.completion))
    assert before is not None
    assert after is not None
    said, more = answer_text(tool, before), answer_text(tool, after)

    assert parse_answer(tool, padded.completion).level == "strict"
    assert len(more) > len(said) + len(PADDING) - 1
    assert more.replace("\n\n" + PADDING, "") == said


def test_what_cannot_be_read_is_not_padded() -> None:
    """A broken answer stays as it is, so that both sides are alike."""
    broken = Completion(task="t", completion="no: yaml: at all", finish_reason="stop")

    assert build_padded_completion(make_task(1), broken) == broken
