"""Ask one judge everything that its ledger does not hold yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tunebench_api.v1alpha1 import OnUnavailable
from tunebench_jobs.errors import JobError
from tunebench_jobs.judge.asking import Asking, Judge
from tunebench_jobs.judge.comparisons import Question
from tunebench_jobs.judge.ledger import Ledger, LedgerEntry, MissingCause
from tunebench_jobs.judge.pool import Pool
from tunebench_jobs.judge.verdicts import find_problem


@dataclass(frozen=True)
class Asked:
    """How many questions got an entry, and why the others did not."""

    entries: int
    missing: Mapping[str, MissingCause] = field(default_factory=dict)
    # Why the judge was left out of what is missing, if it was.
    absence: JobError | None = None


def list_open_questions(
    questions: Iterable[Question], ledger: Ledger, *, retries: int
) -> list[Question]:
    """Return the questions that must be asked, each once."""
    unique = {question.key: question for question in questions}
    return [
        question
        for key, question in unique.items()
        if not is_settled(ledger.get(key), retries=retries)
    ]


def is_settled(entry: LedgerEntry | None, *, retries: int) -> bool:
    """Whether an entry stands; an unreadable reply is asked for again when retries were added."""
    if entry is None:
        return False
    if entry.missing is not None:
        return entry.missing is not MissingCause.UNREADABLE or entry.replies > retries
    return find_problem(entry.reply) is None


async def ask_judge(
    judge: Judge, questions: Iterable[Question], ledger: Ledger, asking: Asking
) -> Asked:
    """Put every open question to the judge, and say which ones have no answer.

    When the judge stays away or the budget is spent, nothing new is asked, and what is under way
    is still kept.

    Raises:
        JobError: The judge stays away and may not be left out, or it refuses the key, the model or
            its settings.
    """
    todo = list_open_questions(questions, ledger, retries=asking.retries)
    pool = Pool(judge, asking, ledger)
    await pool.ask_all(todo)
    if pool.failure is not None:
        raise name_judge(pool.failure, judge)
    absence = None if pool.absence is None else name_judge(pool.absence, judge)
    if absence is not None and asking.on_unavailable is OnUnavailable.FAIL:
        raise absence
    return Asked(len(todo) - len(pool.missing), pool.missing, absence)


def name_judge(error: JobError, judge: Judge) -> JobError:
    """Return the same error, with the judge and the place of its key."""
    place = f"judge `{judge.spec.name}`"
    if error.reason == "AuthenticationFailed":
        secret = judge.spec.secret_ref
        key = (
            f"`{judge.field}.secretRef` (key `{secret.key}` of `{secret.name}`) must hold a valid "
            "API key"
            if secret
            else f"`{judge.field}.secretRef` must name a valid API key"
        )
        place = f"{place}: {key}"
    return type(error)(f"{place}: {error}", reason=error.reason)
