"""Writes what is generated from the types: `python -m tunebench_operator.manifests [--check]`.

That is the CRD, for kubectl and for the chart, and the reference of its fields.

Exit codes: 0 written, or up to date; 1 with `--check`, a file differs from the types.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tunebench_api.crd import PLURAL, build_crd
from tunebench_api.v1alpha1 import API_GROUP
from tunebench_operator.reference import build_reference
from tunebench_operator.yaml_text import build_yaml

_NAME = f"{API_GROUP}_{PLURAL}.yaml"
# Relative to the repository; Helm can read no file outside its chart.
CRD_FILES = (Path("manifests/crds") / _NAME, Path("charts/tunebench/files") / _NAME)
REFERENCE_FILE = Path("docs/reference.md")

_HEADER = "# Generated from operator/tunebench_api by `make manifests`; edit the types instead.\n"


def build_crd_text() -> str:
    """Build the CRD as YAML, byte for byte what the repository holds."""
    return _HEADER + build_yaml(build_crd())


def build_files() -> dict[Path, str]:
    """Build every generated file by its path in the repository."""
    return dict.fromkeys(CRD_FILES, build_crd_text()) | {REFERENCE_FILE: build_reference()}


def save_manifests(folder: Path) -> None:
    """Write every generated file of the repository in a folder."""
    for name, text in build_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def find_stale(folder: Path) -> list[Path]:
    """Return the generated files of the repository in a folder that are not those of the types."""
    paths = {folder / name: text for name, text in build_files().items()}
    return [
        path
        for path, text in paths.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the manifests, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(), help="the repository")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if they differ")
    options = parser.parse_args(arguments)
    if not options.check:
        save_manifests(options.folder)
        return 0
    stale = find_stale(options.folder)
    for path in stale:
        sys.stderr.write(f"`{path}` must equal the types: run `make manifests` and commit it\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
