"""The last look at each row, in whichever process: its answers, and its prompts with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tunebench_api.contract import DataConfig
from tunebench_api.v1alpha1 import CleaningStep, Tool
from tunebench_jobs.data.clean import check_answer, check_length
from tunebench_jobs.data.contents import Contents, Examples, Rows, Solved, Tasks
from tunebench_jobs.data.drops import Finding
from tunebench_jobs.data.layout import TRAIN
from tunebench_jobs.data.parcels import Parcel
from tunebench_jobs.data.render import FoundAnswer, RenderedTask, Renderer, check_prompt
from tunebench_jobs.prompt_source import load_configured_prompts
from tunebench_jobs.rows import PullRequest


class Form(StrEnum):
    """What is written of the rows that were chosen."""

    # For the stages of a run: prompts with answers, and tasks.
    PROMPTS = "Prompts"
    # For people, and for other runs: the pull requests with their answers.
    ROWS = "Rows"


@dataclass(frozen=True)
class SetBatch:
    """Rows of one set."""

    dataset: str
    parcels: Sequence[Parcel]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.parcels)


@dataclass(frozen=True, slots=True)
class AnswerDrop:
    """What a row, by its place in the batch, lacks for one tool."""

    place: int
    pr: str
    tool: Tool
    finding: Finding
    answer: str | None
    # Whether it is the prompt that was refused, not the answer.
    of_prompt: bool


@dataclass
class Finished:
    """What became of a batch."""

    # As the file of the set takes it.
    content: Any = None
    drops: list[AnswerDrop] = field(default_factory=list)
    # Places of rows that gave nothing.
    unused: set[int] = field(default_factory=set)
    # Examples or tasks by tool, and those of them that have an answer.
    made: Counter[Tool] = field(default_factory=Counter)
    answered: Counter[Tool] = field(default_factory=Counter)
    # Prompts that were made, whatever was found in them.
    rendered: int = 0
    # Where people's words come from.
    human: Counter[str] = field(default_factory=Counter)


def build_finisher(
    config: DataConfig, prompts_dir: Path | None, form: Form
) -> Callable[[SetBatch], Finished]:
    """Return what turns batches of either set into what is written."""
    return Finisher(config, prompts_dir, form).finish


class Finisher:
    """Works on batches of rows."""

    def __init__(self, config: DataConfig, prompts_dir: Path | None, form: Form) -> None:
        """Load the prompts."""
        prompts = load_configured_prompts(config.prompts, prompts_dir)
        self._renderer = Renderer(prompts, config.dataset.answers)
        self._tools = config.tools
        self._form = form
        cleaning = config.dataset.cleaning
        # Without cleaning, an answer must hold to the schema, and that is all.
        self._skip = cleaning.skip if cleaning else tuple(CleaningStep)
        self._max_tokens = cleaning.max_tokens if cleaning else None
        self._renders = form is Form.PROMPTS or self._max_tokens is not None

    def finish(self, batch: SetBatch) -> Finished:
        """Build what is written of a batch, and list what it lacks."""
        finished = Finished()
        contents = self._open_contents(batch.dataset)
        for place, parcel in enumerate(batch.parcels):
            kept = []
            for solved in self._solve(parcel, batch.dataset):
                _count(solved, finished)
                if solved.finding:
                    finished.drops.append(_build_drop(place, solved, solved.finding))
                if solved.is_kept:
                    kept.append(solved)
            if kept:
                contents.add(parcel.pr, kept)
            else:
                finished.unused.add(place)
        finished.content = contents.build()
        return finished

    def _open_contents(self, dataset: str) -> Contents:
        if self._form is Form.ROWS:
            return Rows()
        return Examples() if dataset == TRAIN else Tasks(self._renderer)

    def _solve(self, parcel: Parcel, dataset: str) -> Iterator[Solved]:
        """Look at each tool of a row; training needs an answer, a question does not."""
        pr = parcel.pr
        for tool in self._tools:
            answer = self._renderer.find_answer(pr, tool, parcel.edited_tools)
            finding = parcel.findings.get(tool) or self._check(pr, tool, answer)
            if finding and dataset == TRAIN:
                yield Solved(pr, tool, answer, finding, is_kept=False)
            elif self._renders:
                task = self._renderer.render_task(pr, tool)
                good = None if finding else answer
                refusal = self._refuse(pr, task, good, dataset)
                yield Solved(pr, tool, answer, refusal or finding, not refusal, task.messages)
            else:
                yield Solved(pr, tool, answer, finding, is_kept=True)

    def _refuse(
        self, pr: PullRequest, task: RenderedTask, answer: FoundAnswer | None, dataset: str
    ) -> Finding | None:
        """Return what speaks against a prompt; one that was cut may be asked, but not learned."""
        if dataset == TRAIN and self._form is Form.PROMPTS and (cut := check_prompt(pr, task)):
            return cut
        text = answer.text if answer else ""
        return check_length(task.messages, text, self._max_tokens)

    def _check(self, pr: PullRequest, tool: Tool, answer: FoundAnswer | None) -> Finding | None:
        return check_answer(
            pr,
            tool,
            answer.text if answer else None,
            skip=self._skip,
            semantic_files=self._renderer.asks_for_files(tool),
        )


def _count(solved: Solved, finished: Finished) -> None:
    finished.rendered += solved.messages is not None
    if solved.is_kept:
        finished.made[solved.tool] += 1
        finished.answered[solved.tool] += solved.finding is None
    if solved.answer and solved.answer.human:
        finished.human[str(solved.answer.human)] += 1


def _build_drop(place: int, solved: Solved, finding: Finding) -> AnswerDrop:
    text = solved.answer.text if solved.answer else None
    of_prompt = solved.messages is not None and not solved.is_kept
    return AnswerDrop(place, solved.pr.id, solved.tool, finding, text, of_prompt)
