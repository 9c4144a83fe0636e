"""What of a dataset's folder is published: whole, and without what it kept aside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench_jobs.data.card import CARD_FILES, write_card
from tunebench_jobs.data.card.limits import is_searched_for_secrets
from tunebench_jobs.data.card.public import hide_private
from tunebench_jobs.data.card.write import load_manifest
from tunebench_jobs.data.choose import CANDIDATES_FILE
from tunebench_jobs.data.layout import DROPPED_FILE, EVAL_ROWS_FILE, MANIFEST_FILE, TRAIN_FILE
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import build_file_digest

# They hold what the dataset must not: secrets, other licences, people's rejections.
KEPT_ASIDE = (DROPPED_FILE, CANDIDATES_FILE)


@dataclass(frozen=True)
class BundleFile:
    """A file to publish."""

    name: str
    source: Path | bytes
    size: int
    sha256: str


@dataclass(frozen=True)
class Bundle:
    """Files in the order in which they must arrive: the manifest last says that all are there."""

    files: tuple[BundleFile, ...]
    left_out: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def manifest(self) -> BundleFile:
        """The last file."""
        return self.files[-1]


def load_bundle(folder: Path, *, with_dropped: bool) -> Bundle:
    """Check a folder and choose what of it is published; a card is written if it has none.

    Raises:
        InputError: The folder is none that `tunebench dataset build` made, or a file of it is
            absent or is not the one that the manifest lists.
    """
    manifest = load_manifest(folder)
    listed: Mapping[str, str] = manifest["files"]
    wanted = [TRAIN_FILE, EVAL_ROWS_FILE]
    aside = [name for name in KEPT_ASIDE if name in listed]
    data = [_check_file(folder, name, listed) for name in [*wanted, *(aside * with_dropped)]]
    if not all((folder / name).is_file() for name in CARD_FILES):
        write_card(folder)
    card = [_load_file(folder / name) for name in CARD_FILES]
    names = tuple(file.name for file in data)
    left_out = tuple(name for name in listed if name not in names)
    text = build_public_manifest(manifest, names)
    digest = hashlib.sha256(text).hexdigest()
    last = BundleFile(MANIFEST_FILE, text, len(text), digest)
    return Bundle((*data, *card, last), left_out, tuple(_list_warnings(manifest)))


def build_public_manifest(manifest: Mapping[str, Any], names: tuple[str, ...]) -> bytes:
    """Build a manifest of the files that are published, without what is private."""
    hidden = hide_private(manifest)
    hidden["files"] = {name: manifest["files"][name] for name in names}
    return (json.dumps(hidden, indent=1, ensure_ascii=False) + "\n").encode()


def _check_file(folder: Path, name: str, listed: Mapping[str, str]) -> BundleFile:
    if name not in listed:
        msg = (
            f"`{folder / MANIFEST_FILE}` must list {name}, got {', '.join(listed)}; publish a "
            "folder that `tunebench dataset build` made"
        )
        raise InputError(msg, reason="InvalidDataset")
    file = _load_file(folder / name)
    if file.sha256 != listed[name]:
        msg = (
            f"`{folder / name}` must be the file that {MANIFEST_FILE} lists (SHA-256 "
            f"{listed[name]}), got {file.sha256}; build the dataset again"
        )
        raise InputError(msg, reason="DatasetChanged")
    return file


def _load_file(path: Path) -> BundleFile:
    try:
        return BundleFile(path.name, path, path.stat().st_size, build_file_digest(path))
    except OSError as error:
        msg = f"`{path}` must be a file that can be read: {error}; build the dataset again"
        raise InputError(msg, reason="DatasetChanged") from error


def _list_warnings(manifest: Mapping[str, Any]) -> Iterator[str]:
    if not is_searched_for_secrets(manifest):
        yield (
            "keys and passwords were not looked for in this dataset; build it with "
            "`spec.dataset.cleaning`, and without `Secrets` in its `skip`, before others see it"
        )
