"""The second pass: what is written of the rows that were chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from tunebench_api.contract import DataConfig
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.bench import Bench
from tunebench_jobs.data.choose import CANDIDATES_FILE
from tunebench_jobs.data.contents import build_example_schema, build_row_schema
from tunebench_jobs.data.drops import DroppedRow
from tunebench_jobs.data.finish import Finished, Form, SetBatch, build_finisher
from tunebench_jobs.data.funnel import REFERENCES, Funnel, Step, StepName
from tunebench_jobs.data.layout import EVAL, EVAL_FILE, EVAL_ROWS_FILE, TRAIN, TRAIN_FILE
from tunebench_jobs.data.parallel import batch_rows
from tunebench_jobs.data.parcels import Parcel, dump_pull
from tunebench_jobs.data.parquet import ParquetFile, open_parquet, place_file
from tunebench_jobs.data.render import Renderer
from tunebench_jobs.data.sets import Sets
from tunebench_jobs.prompt_source import ConfiguredPrompts

# Columns whose values occur again and again.
_REPEATED = ("pr", "repository", "tool", "system", "language", "license")
# How much of the whole is done when the second pass begins, and when it is over.
_FROM_PERCENT, _TO_PERCENT = 40, 90


# Gives rows answers on their way.
Answer = Callable[[Iterable[Parcel]], Iterable[Parcel]]


@dataclass
class Made:
    """What a set gives."""

    # Pull requests that give any.
    prs: int = 0
    # Examples or tasks by tool, and those of them that have an answer.
    by_tool: Counter[Tool] = field(default_factory=Counter)
    answered: Counter[Tool] = field(default_factory=Counter)
    # Where people's words come from.
    human: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Examples or tasks of all tools."""
        return self.by_tool.total()


def write_sets(  # noqa: PLR0913, PLR0917 - what a dataset is made of
    config: DataConfig,
    sets: Sets,
    bench: Bench,
    prompts_dir: Path | None,
    form: Form,
    answer: Answer,
) -> dict[str, Made]:
    """Write both sets: prompts and tasks for a run, or pull requests.

    `answer` gives training rows the answers that they lack.
    """
    made = {TRAIN: Made(), EVAL: Made()}
    prepare = partial(build_finisher, config, prompts_dir, form)
    with ExitStack() as files:
        take = _open_files(bench, form, files)
        for batch, finished in _finish(prepare, sets, bench, answer):
            take[batch.dataset](finished.content)
            _count(made[batch.dataset], batch, finished)
            _keep_drops(config, batch, finished, bench)
    return made


def list_files(form: Form) -> dict[str, str]:
    """Return the files of a form, by set."""
    return {TRAIN: TRAIN_FILE, EVAL: EVAL_FILE if form is Form.PROMPTS else EVAL_ROWS_FILE}


def write_candidates(
    config: DataConfig, prompts: ConfiguredPrompts, sets: Sets, bench: Bench
) -> None:
    """Write what may be asked, with the answers that there are: what `dataset curate` reads."""
    renderer = Renderer(prompts, config.dataset.answers)
    with _open_placed(bench.work, bench.output / CANDIDATES_FILE) as file:
        for key in sets.pool:
            pr = renderer.fill_answers(bench.load(key).pr, config.tools)
            file.write(dump_pull(pr) + b"\n")


def _open_files(bench: Bench, form: Form, files: ExitStack) -> dict[str, Callable[[Any], object]]:
    """Open the file of each set, and return what adds to it."""
    if form is Form.PROMPTS:
        tasks = files.enter_context(_open_placed(bench.work, bench.output / EVAL_FILE))
        examples = _enter_parquet(bench, TRAIN_FILE, build_example_schema(), files)
        return {TRAIN: examples.append, EVAL: tasks.write}
    return {
        dataset: _enter_parquet(bench, name, build_row_schema(), files).append
        for dataset, name in list_files(form).items()
    }


def _enter_parquet(bench: Bench, name: str, schema: Any, files: ExitStack) -> ParquetFile:
    repeated = [each for each in _REPEATED if each in schema.names]
    file = open_parquet(bench.output / name, bench.work, schema, repeated=repeated)
    return files.enter_context(file)


@contextmanager
def _open_placed(work: Path, path: Path) -> Iterator[BinaryIO]:
    """Open a file that is moved to its place when it is whole."""
    with (work / path.name).open("wb") as file:
        yield file
    place_file(work / path.name, path)


def _finish(
    prepare: Callable[[], Callable[[SetBatch], Finished]], sets: Sets, bench: Bench, answer: Answer
) -> Iterator[tuple[SetBatch, Finished]]:
    total = max(1, len(sets.evaluation) + len(sets.train))
    done = 0
    for batch, finished in bench.workers.map_batches(prepare, _batch(sets, bench, answer)):
        yield batch, finished
        done += len(batch)
        percent = _FROM_PERCENT + (_TO_PERCENT - _FROM_PERCENT) * done // total
        bench.teller.count(percent, f"rendering: {done:,} of {total:,} rows")


def _batch(sets: Sets, bench: Bench, answer: Answer) -> Iterator[SetBatch]:
    for parcels in batch_rows(map(bench.load, sets.evaluation)):
        yield SetBatch(EVAL, parcels)
    for parcels in batch_rows(answer(map(bench.load, sets.train))):
        yield SetBatch(TRAIN, parcels)


def _count(made: Made, batch: SetBatch, finished: Finished) -> None:
    made.prs += len(batch) - len(finished.unused)
    made.by_tool += finished.made
    made.answered += finished.answered
    made.human += finished.human


def _keep_drops(config: DataConfig, batch: SetBatch, finished: Finished, bench: Bench) -> None:
    """Count what a batch lacks, and keep it."""
    answers, length = _open_steps(config, batch, finished, bench.funnel)
    whole = set(finished.unused)
    for drop in finished.drops:
        step = length if drop.of_prompt else answers
        step.dropped[str(drop.finding.reason)] += 1
        parcel = batch.parcels[drop.place]
        row = DroppedRow(
            dataset=batch.dataset,
            origin=parcel.origin,
            pr=drop.pr,
            reason=drop.finding.reason,
            tool=drop.tool,
            detail=drop.finding.detail,
        )
        # Once, with the first of its tools.
        data = parcel.text if drop.place in whole else b""
        whole.discard(drop.place)
        bench.dropped.append(row, answer=drop.answer, data=data)


def _open_steps(
    config: DataConfig, batch: SetBatch, finished: Finished, funnel: Funnel
) -> tuple[Step, Step]:
    """Return the steps of answers and of length, with what a batch brings to each."""
    trains = batch.dataset == TRAIN
    answers = funnel.step(StepName.ANSWERS, batch.dataset, "answers" if trains else REFERENCES)
    answers.taken += len(batch) * len(config.tools)
    length = funnel.step(StepName.LENGTH, batch.dataset, "answers" if trains else "tasks")
    length.taken += finished.rendered
    return answers, length
