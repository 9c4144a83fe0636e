"""Where a dataset is published, by its address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tunebench_api.places import S3_SCHEME, check_bucket
from tunebench_jobs.errors import InputError

HUB_SCHEME = "hf://datasets/"

# As the hub checks them, with one owner.
_PART = r"(?!\.)(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,95}"
_HUB_NAME = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class TargetKind(StrEnum):
    """The kinds of places."""

    HUB = "Hub"
    BUCKET = "Bucket"
    FOLDER = "Folder"


@dataclass(frozen=True)
class Target:
    """A place; `name` is the dataset's name on the hub, or the address as given."""

    kind: TargetKind
    name: str


def parse_target(text: str) -> Target:
    """Parse an address.

    Raises:
        InputError: It is of no kind that is known.
    """
    if text.startswith(HUB_SCHEME):
        name = text.removeprefix(HUB_SCHEME).rstrip("/")
        if not _HUB_NAME.fullmatch(name):
            msg = f"`--to` must be {HUB_SCHEME}OWNER/NAME, got {text}"
            raise InputError(msg)
        return Target(TargetKind.HUB, name)
    if text.startswith(S3_SCHEME):
        return Target(TargetKind.BUCKET, _check_bucket_folder(text))
    if _SCHEME.match(text) or not text.strip():
        msg = f"`--to` must be {HUB_SCHEME}OWNER/NAME, s3://BUCKET/FOLDER or a folder, got {text!r}"
        raise InputError(msg)
    return Target(TargetKind.FOLDER, text)


def build_load_line(target: Target, revision: str = "") -> str:
    """Return the line of Python that reads a dataset from where it was published."""
    if target.kind is TargetKind.HUB:
        pin = f', revision="{revision}"' if revision else ""
        return f'load_dataset("{target.name}"{pin})'
    if target.kind is TargetKind.FOLDER:
        return f"load_dataset({str(Path(target.name).resolve())!r})"
    files = f'{{"train": "{target.name}/train.parquet", "test": "{target.name}/eval.parquet"}}'
    return f'load_dataset("parquet", data_files={files})'


def build_uris(target: Target, revision: str = "") -> tuple[str, str]:
    """Return what `spec.dataset` of a run names to use both sets."""
    at = f"@{revision}" if revision else ""
    base = {
        TargetKind.HUB: f"{HUB_SCHEME}{target.name}{at}",
        TargetKind.BUCKET: target.name,
        TargetKind.FOLDER: str(Path(target.name).resolve()),
    }[target.kind]
    return f"{base}/train.parquet", f"{base}/eval.parquet"


def _check_bucket_folder(text: str) -> str:
    address = text.rstrip("/")
    try:
        check_bucket(address)
    except ValueError as error:
        msg = f"`--to` {error}"
        raise InputError(msg) from error
    folder = address.removeprefix(S3_SCHEME).partition("/")[2]
    if not folder or any(part in {"", ".", ".."} for part in folder.split("/")):
        msg = f"`--to` must name a folder of the bucket, as in s3://BUCKET/FOLDER, got {text}"
        raise InputError(msg)
    return address
