"""The data stage: pull requests in; prompts with answers, tasks and a manifest out."""

from __future__ import annotations

from functools import partial

from tunebench_api.contract import DataConfig, Progress
from tunebench_jobs.context import Outcome, StageContext
from tunebench_jobs.data.build import Place, build_dataset
from tunebench_jobs.data.finish import Form
from tunebench_jobs.data.github import ARCHIVE_FOLDER, BATCH, GitHubPlace
from tunebench_jobs.data.teacher.replies import build_shelf

# What comes from elsewhere, beside the stages' outputs.
SOURCES_FOLDER = "sources"


def run_data(config: DataConfig, context: StageContext) -> Outcome:
    """Read, clean, split, render and save.

    Raises:
        InputError: The sources, the prompt set or what they hold cannot be used.
        RetryableError: A server does not answer, or a process was killed.
    """
    place = Place(
        output=context.output,
        sources=context.store / SOURCES_FOLDER,
        shelf=build_shelf(context),
        collections=place_collections(context),
        prompts_dir=context.prompts_dir,
        report=context.report,
        cpus=context.runtime.cpus,
    )
    built = build_dataset(config, place, Form.PROMPTS)
    return Outcome(message=built.message, artefacts=built.files, summary=built.summary)


def place_collections(context: StageContext) -> GitHubPlace:
    """Keep what GitHub tells in the store, for all runs that share it."""
    return GitHubPlace(
        context.store / ARCHIVE_FOLDER,
        partial(context.open_journal, batch=BATCH),
        lambda text: context.report(Progress(percent=0, message=text)),
    )
