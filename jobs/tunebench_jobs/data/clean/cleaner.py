"""The cleaning of one pull request after the other, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tunebench_api.v1alpha1.dataset import CleaningSpec, CleaningStep, Licenses
from tunebench_jobs.data.clean.bots import find_bot
from tunebench_jobs.data.clean.generated import is_generated_file
from tunebench_jobs.data.clean.languages import find_language_problem
from tunebench_jobs.data.clean.licenses import find_license_problem
from tunebench_jobs.data.clean.reverts import is_revert_pull
from tunebench_jobs.data.clean.sizes import (
    find_no_change,
    find_size_problem,
    is_binary,
    is_submodule,
)
from tunebench_jobs.data.clean.text import find_broken_part, neutralise_pull
from tunebench_jobs.data.drops import DETAIL_CHARACTERS, Finding, RowDrop
from tunebench_jobs.rows import ChangedFile, PullRequest

Step = Callable[[PullRequest], PullRequest | Finding]


@dataclass(frozen=True)
class Cleaner:
    """Named steps in their order; each passes a pull request on, changes it or finds a fault."""

    chain: tuple[tuple[str, Step], ...] = ()

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps."""
        return tuple(name for name, _ in self.chain)

    def clean(self, pr: PullRequest) -> PullRequest | Finding:
        """Return what is left of a pull request, or why it is left out."""
        for _, step in self.chain:
            result = step(pr)
            if isinstance(result, Finding):
                return Finding(result.reason, result.detail[:DETAIL_CHARACTERS])
            pr = result
        return pr


def build_cleaner(cleaning: CleaningSpec | None, licenses: Licenses) -> Cleaner:
    """Build the steps that a dataset asks for; without `cleaning`, licences only.

    Cheap steps come first. Files that do not count are taken out before the size is measured, and
    text is made harmless before secrets are looked for, so that no control character hides one.
    """
    chain: list[tuple[str, Step]] = []
    if licenses is Licenses.PERMISSIVE:
        chain.append(("Licenses", clean_license))
    if cleaning is not None:
        chain += _iter_steps(cleaning)
    return Cleaner(tuple(chain))


def clean_license(pr: PullRequest) -> PullRequest | Finding:
    """Leave out what is not under a permissive licence."""
    problem = find_license_problem(pr.license)
    return Finding(RowDrop.LICENSE, f"`license` {problem}") if problem else pr


def clean_bots(pr: PullRequest) -> PullRequest | Finding:
    """Leave out what a program wrote."""
    shown = find_bot(pr)
    return Finding(RowDrop.BOT, shown) if shown else pr


def clean_reverts(pr: PullRequest) -> PullRequest | Finding:
    """Leave out what takes an earlier change back."""
    return Finding(RowDrop.REVERT) if is_revert_pull(pr) else pr


def clean_generated(pr: PullRequest) -> PullRequest | Finding:
    """Take out files that no person writes."""
    return take_out(pr, is_generated_file, RowDrop.GENERATED_ONLY)


def clean_binary(pr: PullRequest) -> PullRequest | Finding:
    """Take out files that are no text, and pointers to commits of other repositories."""
    return take_out(pr, lambda file: is_binary(file) or is_submodule(file), RowDrop.BINARY_ONLY)


def clean_text(pr: PullRequest) -> PullRequest | Finding:
    """Leave out what no diff can be, and make the rest harmless to show."""
    problem = find_broken_part(pr)
    return Finding(RowDrop.BROKEN_ROW, problem) if problem else neutralise_pull(pr)


def clean_secrets(pr: PullRequest) -> PullRequest | Finding:
    """Leave out what shows a secret."""
    # Importing detect-secrets takes a moment, which other steps need not wait for.
    from tunebench_jobs.data.clean.secrets import find_secret, hide_texts  # noqa: PLC0415

    return find_secret(pr) or hide_texts(pr)


def take_out(
    pr: PullRequest, is_unwanted: Callable[[ChangedFile], bool], reason: RowDrop
) -> PullRequest | Finding:
    """Take files out of a pull request; with the last change it is left out itself."""
    kept = tuple(file for file in pr.files if not is_unwanted(file))
    if len(kept) == len(pr.files):
        return pr
    if not any(file.patch for file in kept):
        return Finding(reason, f"{len(pr.files) - len(kept)} of {len(pr.files)} files")
    return pr.model_copy(update={"files": kept})


def _iter_steps(cleaning: CleaningSpec) -> Iterator[tuple[str, Step]]:
    sizes = partial(
        _pass_or_find,
        partial(find_size_problem, max_kib=cleaning.max_diff_kib, max_files=cleaning.max_files),
    )
    wanted = frozenset(language.strip().lower() for language in cleaning.languages)
    languages = partial(_pass_or_find, partial(find_language_problem, wanted=wanted))
    named: tuple[tuple[str, Step | None], ...] = (
        (CleaningStep.BOTS, clean_bots),
        (CleaningStep.REVERTS, clean_reverts),
        (CleaningStep.GENERATED, clean_generated),
        (CleaningStep.BINARY, clean_binary),
        (CleaningStep.SIZE, sizes),
        ("NoChange", partial(_pass_or_find, find_no_change)),
        ("Languages", languages if wanted else None),
        ("Text", clean_text),
        (CleaningStep.SECRETS, clean_secrets),
    )
    for name, step in named:
        if step is not None and name not in cleaning.skip:
            yield str(name), step


def _pass_or_find(
    find: Callable[[PullRequest], Finding | None], pr: PullRequest
) -> PullRequest | Finding:
    return find(pr) or pr
