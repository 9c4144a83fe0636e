"""Which rows train and which evaluate: decided from what stays in memory of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tunebench_api.contamination import Contamination
from tunebench_api.contract import DataConfig
from tunebench_api.v1alpha1 import CleaningSpec, DatasetSpec, Tool
from tunebench_jobs.data.bench import Bench
from tunebench_jobs.data.choose import Chosen, choose_eval, count_pool
from tunebench_jobs.data.decisions import Merged, load_decisions
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.data.funnel import StepName
from tunebench_jobs.data.layout import EVAL, TRAIN
from tunebench_jobs.data.opened import RowLike
from tunebench_jobs.data.parcels import Key, dump_pull
from tunebench_jobs.data.similar import Apart, keep_apart
from tunebench_jobs.data.split import Split, split_keys
from tunebench_jobs.local_paths import parse_local_path
from tunebench_jobs.rows import PullRequest


@dataclass(frozen=True)
class Sets:
    """The rows of both sets, how the evaluation was chosen, and how they were kept apart."""

    train: Sequence[Key]
    evaluation: Sequence[Key]
    # All that might be asked.
    pool: Sequence[Key]
    chosen: Chosen
    contamination: Contamination


@dataclass(frozen=True)
class SpooledRow:
    """A row that is read from the disk each time somebody looks at it."""

    key: Key
    bench: Bench

    @property
    def pr(self) -> PullRequest:
        """The pull request."""
        return self.bench.load(self.key).pr

    @property
    def origin(self) -> str:
        """Where it came from."""
        return self.key.origin

    @property
    def edited_tools(self) -> frozenset[Tool]:
        """Whose answer a person wrote in place of any other."""
        return self.key.edited_tools


def make_sets(config: DataConfig, keys: Mapping[str, Sequence[Key]], bench: Bench) -> Sets:
    """Split, select and gate, so that no row is in both sets.

    Raises:
        InputError: Without cleaning, a pull request is in both sources; or the file of decisions
            is absent or broken.
    """
    dataset = config.dataset
    decisions = load_config_decisions(dataset)
    split = _split(dataset, decisions, keys, bench)
    evaluation, chosen = _select(config, decisions, split.held, bench)
    apart = _gate(dataset, split, bench)
    train = _limit(dataset.train.limit, apart.kept, bench)
    return Sets(train, evaluation, split.held, chosen, apart.contamination)


def load_config_decisions(dataset: DatasetSpec) -> Merged | None:
    """Read what people decided, where the run names a file of it.

    Raises:
        InputError: The file is absent or broken.
    """
    uri, field = dataset.eval.decisions, "spec.dataset.eval.decisions"
    return load_decisions([parse_local_path(uri, field)], field) if uri else None


def _split(
    dataset: DatasetSpec, decisions: Merged | None, keys: Mapping[str, Sequence[Key]], bench: Bench
) -> Split:
    holdout = dataset.eval.holdout
    if holdout is None:
        return Split(keys[TRAIN], keys[EVAL])
    rows = keys[TRAIN]
    split = split_keys(rows, count_pool(dataset.eval, decisions, len(rows)), holdout)
    step = bench.funnel.step(StepName.SPLIT, TRAIN)
    step.taken, step.moved = len(rows), len(split.held)
    for key, finding in split.dropped:
        bench.drop(step, key, finding)
    return split


def _select(
    config: DataConfig, decisions: Merged | None, held: Sequence[Key], bench: Bench
) -> tuple[list[Key], Chosen]:
    by_id = {key.id: key for key in held}
    pool = [SpooledRow(key, bench) for key in held]
    chosen = choose_eval(pool, config.dataset.eval, decisions, config.seed)
    step = bench.funnel.step(StepName.SELECT, EVAL)
    step.taken = len(held)
    for drop in chosen.dropped:
        bench.drop(step, by_id[drop.pr], Finding(RowDrop(drop.reason), drop.detail))
    return [_find_key(row, by_id, bench) for row in chosen.rows], chosen


def _find_key(row: RowLike, by_id: Mapping[str, Key], bench: Bench) -> Key:
    """Return the key of a chosen row; what people edited is spooled anew."""
    if isinstance(row, SpooledRow):
        return row.key
    number = bench.spool.append(dump_pull(row.pr))
    return replace(by_id[row.pr.id], number=number, edited_tools=row.edited_tools)


def _gate(dataset: DatasetSpec, split: Split, bench: Bench) -> Apart[Key]:
    """Leave out of training what gives the evaluation away."""
    cleaning = dataset.cleaning or CleaningSpec()
    apart = keep_apart(
        split.train,
        split.held,
        bench.load_signature,
        threshold=float(cleaning.near_duplicates),
        refuses=dataset.eval.holdout is None and dataset.cleaning is None,
    )
    step = bench.funnel.step(StepName.GATE, TRAIN)
    step.taken = len(split.train)
    for key, finding in apart.dropped:
        bench.drop(step, key, finding)
    return apart


def _limit(limit: int | None, train: Sequence[Key], bench: Bench) -> Sequence[Key]:
    if limit is None:
        return train
    step = bench.funnel.step(StepName.LIMIT, TRAIN)
    step.taken = len(train)
    for key in train[limit:]:
        bench.drop(step, key, Finding(RowDrop.OVER_LIMIT))
    return train[:limit]
