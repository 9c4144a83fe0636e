"""Render prompts and find answers, the same way for training and evaluation."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tunebench_api.v1alpha1 import Answers, Tool
from tunebench_jobs.data.drops import DETAIL_CHARACTERS, Finding, RowDrop
from tunebench_jobs.data.human import Origin, build_human_answer
from tunebench_jobs.diffs import DiffFacts
from tunebench_jobs.prompt_source import ConfiguredPrompts
from tunebench_jobs.prompts import Messages, asks_for_files, build_task
from tunebench_jobs.rows import PullRequest

# Who wrote an answer, where people did.
HUMAN = "Human"


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


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """An answer of a row; `human` says which of people's words it is."""

    text: str
    # `Human`, or the id of a model; nothing where it is not known.
    author: str | None = None
    human: Origin | None = None


@dataclass(frozen=True)
class Renderer:
    """Renders prompts and finds answers."""

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

    def find_answer(
        self, pr: PullRequest, tool: Tool, edited: Collection[Tool] = ()
    ) -> FoundAnswer | None:
        """Return the answer that there is, whatever it is worth.

        Args:
            pr: The pull request.
            tool: What was asked.
            edited: Tools whose answer in the row was written in place of any other.
        """
        if self._human and tool not in edited:
            answer = build_human_answer(pr)
            return FoundAnswer(answer.text, HUMAN, answer.origin) if answer else None
        text = pr.answers.get(tool)
        if not text or not text.strip():
            return None
        return FoundAnswer(text, HUMAN if tool in edited else pr.answered_by.get(tool))

    def fill_answers(self, pr: PullRequest, tools: Sequence[Tool]) -> PullRequest:
        """Return a pull request with the answers that it has here, for people to read."""
        found = {tool: self.find_answer(pr, tool) for tool in tools}
        answers = {tool: answer.text for tool, answer in found.items() if answer}
        return pr.model_copy(update={"answers": answers})


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
