"""Writes the generated manifests: `python -m tunebench_operator.manifests [--check]`.

Exit codes: 0 written, or up to date; 1 with `--check`, a file differs from the types.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tunebench_api.crd import PLURAL, build_crd
from tunebench_api.v1alpha1 import API_GROUP
from tunebench_operator.yaml_text import build_yaml

_NAME = f"{API_GROUP}_{PLURAL}.yaml"
# Relative to the repository; Helm can read no file outside its chart.
CRD_FILES = (Path("manifests/crds") / _NAME, Path("charts/tunebench/files") / _NAME)

_HEADER = "# Generated from operator/tunebench_api by `make manifests`; edit the types instead.\n"


def build_crd_text() -> str:
    """Build the CRD as YAML, byte for byte what the repository holds."""
    return _HEADER + build_yaml(build_crd())


def save_manifests(folder: Path) -> None:
    """Write every generated manifest of the repository in a folder."""
    for path in (folder / name for name in CRD_FILES):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(build_crd_text(), encoding="utf-8")


def find_stale(folder: Path) -> list[Path]:
    """Return the manifests of the repository in a folder that are not those of the types."""
    text = build_crd_text()
    return [
        path
        for path in (folder / name for name in CRD_FILES)
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
