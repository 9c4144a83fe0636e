"""The first look at each row, in whichever process: clean it, and say what to know it by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tunebench_api.v1alpha1 import DatasetSpec
from tunebench_jobs.data.clean import Cleaner, build_cleaner
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.data.parcels import Key, Parcel, dump_pull
from tunebench_jobs.data.parse_row import parse_moment
from tunebench_jobs.data.similar import Signature, build_signature
from tunebench_jobs.rows import PullRequest


@dataclass(frozen=True, slots=True)
class Sifted:
    """A row that may be used, with what it is compared with others by."""

    key: Key
    signature: Signature
    # There where cleaning changed the row.
    text: bytes | None = None


def build_sifter(dataset: DatasetSpec) -> Callable[[Sequence[Parcel]], list[Sifted | Finding]]:
    """Return what sifts a batch of rows."""
    cleaner = build_cleaner(dataset.cleaning, dataset.licenses)
    return lambda batch: [_sift(parcel, cleaner) for parcel in batch]


def _sift(parcel: Parcel, cleaner: Cleaner) -> Sifted | Finding:
    if parcel.broken is not None:
        return Finding(RowDrop.BROKEN_ROW, parcel.broken)
    clean = cleaner.clean(parcel.pr)
    if isinstance(clean, Finding):
        return clean
    text = None if clean is parcel.pr else dump_pull(clean)
    return Sifted(build_key(clean, parcel.origin), build_signature(clean), text)


def build_key(pr: PullRequest, origin: str) -> Key:
    """Build what stays in memory of a row."""
    return Key(
        number=-1,
        origin=origin,
        id=pr.id,
        repository=pr.repository,
        fork_of=pr.fork_of,
        merged_at=parse_moment(pr.merged_at).timestamp() if pr.merged_at else None,
    )
