"""The YAML on top of a card: what the Hugging Face hub reads of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

from tunebench_jobs.data.layout import EVAL_ROWS_FILE, TRAIN_FILE

# The hub's names for licences; it refuses a card with others.
_HUB_LICENSES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear
    bsl-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0
    cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gpl-2.0 gpl-3.0
    isc lgpl-2.1 lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl ncsa ofl-1.1 osl-3.0 postgresql
    unlicense wtfpl zlib
"""
HUB_LICENSES = frozenset(_HUB_LICENSES.split())
OTHER, UNKNOWN = "other", "unknown"

_EXCEPTION = re.compile(r"\bWITH\s+\S+", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_OPERATORS = frozenset({"and", "or"})
_VARIANT = re.compile(r"(-only|-or-later|\+)$")
# Rows from which on the hub's next word applies.
_SIZES = (
    (0, "n<1K"),
    (1_000, "1K<n<10K"),
    (10_000, "10K<n<100K"),
    (100_000, "100K<n<1M"),
    (1_000_000, "1M<n<10M"),
)


def build_front_matter(rows: int, licenses: Iterable[str]) -> str:
    """Build the front matter from the number of rows and the SPDX expressions in them."""
    document: dict[str, Any] = {
        "pretty_name": "Pull requests with answers",
        "license": find_hub_licenses(licenses),
        # Nobody looked which language people wrote in.
        "language": ["code"],
        "task_categories": ["text-generation"],
        "tags": ["code", "code-review", "pull-requests", "tunebench"],
        "size_categories": [[word for least, word in _SIZES if rows >= least][-1]],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": TRAIN_FILE},
                    {"split": "test", "path": EVAL_ROWS_FILE},
                ],
            }
        ],
    }
    return f"---\n{yaml.safe_dump(document, sort_keys=False, allow_unicode=False)}---\n"


def find_hub_licenses(expressions: Iterable[str]) -> list[str]:
    """Return the hub's names for SPDX expressions, without doubles."""
    found = {name for expression in expressions for name in _find_names(expression)}
    return sorted(found, key=lambda name: (name in {OTHER, UNKNOWN}, name)) or [UNKNOWN]


def _find_names(expression: str) -> Iterable[str]:
    if not expression:
        return [UNKNOWN]
    words = [word.lower() for word in _NAME.findall(_EXCEPTION.sub("", expression))]
    names = [_VARIANT.sub("", word) for word in words if word not in _OPERATORS]
    return [name if name in HUB_LICENSES else OTHER for name in names] or [OTHER]
