"""Write the card of a dataset that `tunebench dataset build` made."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tunebench_jobs.data.card.counts import SetFacts, count_set
from tunebench_jobs.data.card.front_matter import build_front_matter
from tunebench_jobs.data.card.limits import build_limits
from tunebench_jobs.data.card.plots import draw_lengths
from tunebench_jobs.data.card.public import hide_private
from tunebench_jobs.data.card.sections import (
    CardFacts,
    build_answers,
    build_contents,
    build_funnel,
    build_lengths,
    build_overview,
    build_provenance,
)
from tunebench_jobs.data.layout import EVAL_ROWS_FILE, MANIFEST_FILE, TRAIN_FILE
from tunebench_jobs.errors import InputError
from tunebench_jobs.files import save_bytes, save_text

README_FILE, LENGTHS_FILE = "README.md", "lengths.png"
CARD_FILES = (LENGTHS_FILE, README_FILE)

# Files of a manifest lie beside it.
_FILE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def write_card(folder: Path) -> None:
    """Write the card and its plot beside the data; the same folder gives the same bytes.

    Raises:
        InputError: The folder is none that `tunebench dataset build` made.
    """
    manifest = hide_private(load_manifest(folder))
    train, test = count_set(folder / TRAIN_FILE), count_set(folder / EVAL_ROWS_FILE)
    sizes = {name: (folder / name).stat().st_size for name in (TRAIN_FILE, EVAL_ROWS_FILE)}
    save_bytes(folder / LENGTHS_FILE, draw_lengths(train, test))
    save_text(folder / README_FILE, build_card(CardFacts(manifest, train, test, sizes)))


def build_card(facts: CardFacts) -> str:
    """Build the text of a card."""
    parts = [
        build_overview(facts),
        build_contents(facts),
        build_lengths(facts, LENGTHS_FILE),
        build_funnel(facts),
        build_answers(facts),
        build_provenance(facts),
        build_limits(facts),
    ]
    licenses = _list_licenses(facts.train, facts.test)
    front = build_front_matter(facts.train.rows + facts.test.rows, licenses)
    return f"{front}\n" + "\n\n".join(parts) + "\n"


def load_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder.

    Raises:
        InputError: There is none, or it is broken.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"`{path}` must be the manifest of a dataset: {error}; see `tunebench dataset build`"
        raise InputError(msg, reason="InvalidDataset") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        msg = f"`{path}` must list the files of the dataset; make it anew"
        raise InputError(msg, reason="InvalidDataset")
    if strange := [name for name in manifest["files"] if not _FILE_NAME.fullmatch(name)]:
        msg = f"`{path}` must name files of its own folder, got {strange[0]!r}"
        raise InputError(msg, reason="InvalidDataset")
    return manifest


def _list_licenses(train: SetFacts, test: SetFacts) -> list[str]:
    return sorted({*train.licenses, *test.licenses})
