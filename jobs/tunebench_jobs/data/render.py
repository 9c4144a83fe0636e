"""Turn pull requests into prompts with answers, and into tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tunebench_api.v1alpha1 import Answers, Tool
from tunebench_jobs.answers import parse_answer
from tunebench_jobs.data.drops import DETAIL_CHARACTERS, DroppedRow, Finding, RowDrop
from tunebench_jobs.data.human import build_human_answer
from tunebench_jobs.data.load import Row
from tunebench_jobs.diffs import DiffFacts
from tunebench_jobs.prompt_source import ConfiguredPrompts
from tunebench_jobs.prompts import Messages, asks_for_files, build_task
from tunebench_jobs.records import Task, TrainExample
from tunebench_jobs.rows import PullRequest


@dataclass(frozen=True)
class RenderedTask:
    """A prompt, and what it does not show of the pull request.

    Attributes:
        messages: What a model is asked.
        diff: What was taken away from the diff.
        clipped: Variables that were cut: description, commit_messages_str.
    """

    messages: Messages
    diff: DiffFacts
    clipped: tuple[str, ...]


@dataclass(frozen=True)
class Renderer:
    """Renders prompts and finds answers, the same way for training and evaluation."""

    prompts: ConfiguredPrompts
    answers: Answers

    @property
    def _human(self) -> bool:
        return self.answers is Answers.HUMAN

    def asks_for_files(self, tool: Tool) -> bool:
        """Whether an answer must have `pr_files`."""
        prompts = self.prompts
        return tool is not Tool.DESCRIBE or asks_for_files(
            prompts.prompt_set, prompts.overrides, hide_human_text=self._human
        )

    def render(self, pr: PullRequest, tool: Tool) -> Messages:
        """Render the prompt of one pull request for one tool."""
        return self.render_task(pr, tool).messages

    def render_task(self, pr: PullRequest, tool: Tool) -> RenderedTask:
        """Render a prompt, and say what it does not show of the pull request."""
        prompts = self.prompts
        task = build_task(
            pr, tool, prompts.prompt_set, prompts.overrides, hide_human_text=self._human
        )
        messages = prompts.prompt_set.render(tool, task.variables)
        return RenderedTask(messages, task.diff, task.clipped)

    def find_answer(self, row: Row, tool: Tool, dataset: str) -> str | DroppedRow:
        """Return the valid answer of a row, or why there is none."""
        text = self._read_answer(row.pr, tool, edited=tool in row.edited_tools)
        if text is None or not text.strip():
            return DroppedRow(dataset, row.origin, row.pr.id, RowDrop.NO_ANSWER, tool)
        parsed = parse_answer(tool, text, semantic_files=self.asks_for_files(tool))
        if parsed.level == "invalid":
            reason, detail = RowDrop.ANSWER_INVALID, (parsed.problem or "")[:DETAIL_CHARACTERS]
            return DroppedRow(dataset, row.origin, row.pr.id, reason, tool, detail)
        return text

    def fill_answers(self, pr: PullRequest, tools: Sequence[Tool]) -> PullRequest:
        """Return a pull request with the answers that it has here, for people to read."""
        found = {tool: self._read_answer(pr, tool, edited=False) for tool in tools}
        answers = {tool: text for tool, text in found.items() if text is not None}
        return pr.model_copy(update={"answers": answers})

    def _read_answer(self, pr: PullRequest, tool: Tool, *, edited: bool) -> str | None:
        if not self._human or edited:
            return pr.answers.get(tool)
        answer = build_human_answer(pr)
        return answer.text if answer else None


def check_prompt(pr: PullRequest, task: RenderedTask) -> Finding | None:
    """Return what speaks against learning from a prompt: it was cut, or shows no change at all."""
    diff = task.diff
    if not diff.is_whole:
        detail = f"the diff is over the prompt set's limit; left out: {', '.join(diff.left_out)}"
        return Finding(RowDrop.TOO_MANY_TOKENS, detail[:DETAIL_CHARACTERS])
    if {file.path for file in pr.files} <= set(diff.left_out):
        detail = "the prompt set shows none of the files"
        return Finding(RowDrop.GENERATED_ONLY, detail)
    return None


def build_examples(
    rows: Iterable[Row], tools: Sequence[Tool], renderer: Renderer
) -> tuple[list[TrainExample], list[DroppedRow]]:
    """Build the training examples, and list what has no answer to learn."""
    examples, dropped = [], []
    for row in rows:
        for tool in tools:
            answer = renderer.find_answer(row, tool, "train")
            if isinstance(answer, DroppedRow):
                dropped.append(answer)
                continue
            task = renderer.render_task(row.pr, tool)
            finding = check_prompt(row.pr, task)
            if finding is not None:
                reason, detail = finding.reason, finding.detail
                dropped.append(DroppedRow("train", row.origin, row.pr.id, reason, tool, detail))
                continue
            messages = task.messages
            examples.append(
                TrainExample(
                    pr=row.pr.id,
                    repository=row.pr.repository,
                    tool=tool,
                    system=messages.system,
                    user=messages.user,
                    answer=answer,
                )
            )
    return examples, dropped


def build_tasks(
    rows: Iterable[Row], tools: Sequence[Tool], renderer: Renderer
) -> tuple[list[Task], list[DroppedRow]]:
    """Build a task of each row for each tool, and list the references that are missing."""
    tasks, dropped = [], []
    for row in rows:
        for tool in tools:
            reference = renderer.find_answer(row, tool, "eval")
            if isinstance(reference, DroppedRow):
                dropped.append(reference)
            messages = renderer.render(row.pr, tool)
            tasks.append(
                Task(
                    id=f"{row.pr.id}:{tool}",
                    pr=row.pr.id,
                    repository=row.pr.repository,
                    language=row.pr.language,
                    tool=tool,
                    system=messages.system,
                    user=messages.user,
                    reference=reference if isinstance(reference, str) else None,
                    semantic_files=renderer.asks_for_files(tool),
                    paths=tuple(file.path for file in row.pr.files),
                )
            )
    return tasks, dropped
