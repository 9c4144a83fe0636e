"""Batches in the judge stage: who is asked so, and where ledger and log of batches lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tunebench_api.v1alpha1 import REFERENCE_JUDGE, Batch, OnUnavailable
from tunebench_jobs.errors import JobError, RetryableError
from tunebench_jobs.judge.asking import Asking, Judge
from tunebench_jobs.judge.batch_api import LiteLlmBatches
from tunebench_jobs.judge.batch_log import LOG_FOLDER, BatchLog
from tunebench_jobs.judge.batches import Batching, ask_in_batches, open_beside
from tunebench_jobs.judge.comparisons import Question
from tunebench_jobs.judge.ledger import Ledger, MissingCause
from tunebench_jobs.judge.questions import Asked, list_open_questions, name_judge
from tunebench_jobs.parameters import find_provider
from tunebench_jobs.prices import find_known_prices


def is_batched(judge: Judge) -> bool:
    """Whether a judge is asked through its vendor's batch API."""
    return judge.spec.batch is Batch.ENABLED and judge.spec.model != REFERENCE_JUDGE


async def settle_in_batches(
    judge: Judge,
    questions: Sequence[Question],
    folder: Path,
    open_ledger: Callable[[], AbstractAsyncContextManager[Ledger]],
    asking: Asking,
) -> Asked:
    """Ask a judge all that its ledger in `folder` lacks, and say which ones have no answer.

    Raises:
        InputError: The vendor refuses the key, the model or its settings.
        RetryableError: It stays away, or its batches end without an answer, and it may not be left
            out.
    """

    def opened() -> AbstractAsyncContextManager[tuple[Ledger, BatchLog]]:
        journals = asking.open_journal
        return open_beside(open_ledger(), lambda: BatchLog(journals(folder / LOG_FOLDER)))

    name, _ = find_provider(judge.endpoint)
    prices = find_known_prices(judge.spec, batch=True)
    batching = Batching(LiteLlmBatches(judge.endpoint), opened, name, prices)
    try:
        return await ask_in_batches(judge, questions, asking, batching)
    except RetryableError as error:
        absence = name_judge(error, judge)
        if asking.on_unavailable is OnUnavailable.FAIL:
            raise absence from None
    except JobError as error:
        raise name_judge(error, judge) from None
    async with open_ledger() as ledger:
        todo = list_open_questions(questions, ledger, retries=asking.retries)
    missing = {question.key: MissingCause.UNAVAILABLE for question in todo}
    entries = max(0, asking.tally_of(judge.spec.name).total - len(missing))
    return Asked(entries, missing, absence)
