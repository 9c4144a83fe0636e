"""Let a teacher write what rows lack, and a judge score what they have, row by row."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from tunebench_api.contract import DataConfig
from tunebench_api.v1alpha1 import Answers, CleaningStep, Tool
from tunebench_jobs.data.clean import check_answer
from tunebench_jobs.data.drops import Finding
from tunebench_jobs.data.parcels import Parcel, dump_pull
from tunebench_jobs.data.render import Renderer, check_prompt
from tunebench_jobs.data.teacher.drafts import Draft
from tunebench_jobs.data.teacher.makers import Makers

RowT = TypeVar("RowT")
# The prompts of a row, one for each tool.
DraftRow = Callable[[RowT], Iterable[Draft[RowT]]]


@dataclass(frozen=True)
class AnsweredRow(Generic[RowT]):
    """A row with its answers, and with what speaks against the others."""

    row: RowT
    answers: Mapping[Tool, str]
    findings: Mapping[Tool, Finding]


def answer_rows(
    rows: Iterable[RowT], draft_row: DraftRow[RowT], makers: Makers
) -> Iterator[AnsweredRow[RowT]]:
    """Yield the rows in order; a bounded number is in memory.

    Raises:
        InputError: A model refuses the key, its id or its settings.
        RetryableError: It stays away; all replies so far are kept.
    """
    made = makers.make(_number(rows, draft_row))
    for _, group in itertools.groupby(made, key=lambda draft: draft.item[0]):
        drafts = list(group)
        yield AnsweredRow(
            row=drafts[0].item[1],
            answers={each.tool: each.answer for each in drafts if each.answer is not None},
            findings={each.tool: each.finding for each in drafts if each.finding is not None},
        )


def _number(rows: Iterable[RowT], draft_row: DraftRow[RowT]) -> Iterator[Draft[tuple[int, RowT]]]:
    for number, row in enumerate(rows):
        for draft in draft_row(row):
            # A number, because a file may hold one row twice.
            yield draft.carry((number, row))


class Answering:
    """Gives training rows what a run's teacher writes and its judge of quality says."""

    def __init__(self, config: DataConfig, renderer: Renderer, makers: Makers) -> None:
        """Ask `makers` about the rows of a dataset."""
        self._tools = config.tools
        self._renderer = renderer
        self._makers = makers
        self._teacher = config.dataset.teacher
        self._has_teacher = config.dataset.answers is Answers.TEACHER
        cleaning = config.dataset.cleaning
        # Without cleaning, an answer must hold to the schema, and that is all.
        self._skip = cleaning.skip if cleaning else tuple(CleaningStep)

    def check_budgets(self, parcels: Iterable[Parcel]) -> None:
        """Refuse to start if a model will cost more than its budget; nothing is asked.

        Raises:
            InputError: One will, or nobody knows what it costs.
        """
        if self._makers.models:
            self._makers.check_budgets(
                draft for parcel in parcels for draft in self.draft_row(parcel)
            )

    def answer(self, parcels: Iterable[Parcel]) -> Iterator[Parcel]:
        """Yield the rows in order with the answers that they lacked, and what speaks against some.

        Raises:
            InputError: A model refuses the key, its id or its settings.
            RetryableError: It stays away; all replies so far are kept.
        """
        if not self._makers.models:
            yield from parcels
            return
        for answered in answer_rows(parcels, self.draft_row, self._makers):
            yield self._add_answers(answered)

    def draft_row(self, parcel: Parcel) -> Iterator[Draft[Parcel]]:
        """Yield the training prompts of a row; where it lacks an answer, a teacher may write it."""
        pr = parcel.pr
        for tool in self._tools:
            semantic_files = self._renderer.asks_for_files(tool)
            check = partial(check_answer, pr, tool, skip=self._skip, semantic_files=semantic_files)
            found = self._renderer.find_answer(pr, tool, parcel.edited_tools)
            is_open = self._has_teacher and found is None
            finding = None if is_open else check(found.text if found else None)
            task = self._renderer.render_task(pr, tool)
            yield Draft(
                item=parcel,
                tool=tool,
                messages=task.messages,
                answer=found.text if found else None,
                # Nobody is paid for what is not learned.
                finding=finding or check_prompt(pr, task),
                semantic_files=semantic_files,
                check=check,
            )

    def _add_answers(self, answered: AnsweredRow[Parcel]) -> Parcel:
        parcel = answered.row
        pr = parcel.pr
        written = {
            tool: text for tool, text in answered.answers.items() if not pr.answers.get(tool)
        }
        if self._has_teacher and self._teacher and written:
            authors = dict.fromkeys(written, self._teacher.model)
            pr = pr.model_copy(
                update={
                    "answers": {**pr.answers, **written},
                    "answered_by": {**pr.answered_by, **authors},
                }
            )
        return Parcel(
            parcel.origin,
            dump_pull(pr),
            edited_tools=parcel.edited_tools,
            findings=answered.findings,
        )
