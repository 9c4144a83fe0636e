"""A run's own copy of the prompts in a ConfigMap, which others may change or delete meanwhile."""

from __future__ import annotations

import hashlib
import json

from tunebench_api.contract import StageKind
from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_operator import names
from tunebench_operator.builders.metadata import Manifest, build_metadata, seal
from tunebench_operator.errors import UserError

# Stages that render prompts.
_READERS = frozenset({StageKind.PREFLIGHT, StageKind.DATA, StageKind.JUDGE})
_SUFFIX = ".toml"


def build_prompts(run: BenchmarkRun, source: Manifest | None) -> Manifest:
    """Build the copy of what the ConfigMap holds now, with a digest of it.

    Raises:
        UserError: There is no such ConfigMap, or no prompts are in it.
    """
    ref = run.spec.prompts.config_map_ref
    assert ref is not None  # noqa: S101 - asked for only where there is one
    field = "`spec.prompts.configMapRef.name`"
    if source is None:
        msg = (
            f"{field} must name a ConfigMap in the namespace {run.metadata.namespace}, got "
            f"{ref.name}, which does not exist; create it, such as by "
            f"`kubectl create configmap {ref.name} --from-file=FOLDER`"
        )
        raise UserError(msg)
    found = source.get("data") or {}
    files = {name: found[name] for name in sorted(found) if name.endswith(_SUFFIX)}
    if not files:
        msg = (
            f"{field} must name a ConfigMap with TOML files in `data`, but {ref.name} has got "
            f"{', '.join(sorted(found)) or 'nothing'} there"
        )
        raise UserError(msg)
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    metadata = build_metadata(
        run, find_prompts_name(run), names.PROMPTS_PART, {names.DIGEST_ANNOTATION: digest}
    )
    return seal(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "immutable": True,
            "data": files,
        }
    )


def find_prompts_name(run: BenchmarkRun) -> str:
    """Return the name of the copy."""
    return names.prompts_name(run.metadata.name, run.metadata.uid or "")


def find_mount(run: BenchmarkRun, kind: StageKind) -> str | None:
    """Return where the pods of a stage see the copy; none where they do not."""
    ref = run.spec.prompts.config_map_ref
    return f"{names.PROMPTS_FOLDER}/{ref.name}" if ref and kind in _READERS else None
