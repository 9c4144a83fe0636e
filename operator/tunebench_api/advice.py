"""What a valid run should better say: warnings, which stop nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunebench_api.errors import Problem
from tunebench_api.places import is_url
from tunebench_api.repositories import is_clone_address
from tunebench_api.v1alpha1 import BenchmarkRun, EvalSource, TrainSource

_COMMIT = re.compile(r"[0-9a-f]{40}")
# A file of the hub at a commit.
_PINNED_FILE = re.compile(r"hf://[^@]+@[0-9a-f]{40}/")
_DATA_ELSEWHERE = (".", "/", "file://", "pvc://")
_ELSEWHERE = (".", "/", "file://", "package://")


def find_warnings(run: BenchmarkRun) -> tuple[Problem, ...]:
    """Return the fields that leave open what the run is made from."""
    dataset = run.spec.dataset
    sources = (("train", dataset.train), ("eval", dataset.eval))
    data = (
        Problem(f"spec.dataset.{name}.{field}", message)
        for name, source in sources
        for field, message in _find_unpinned(source)
    )
    bases = (
        Problem(
            f"spec.models[{index}].revision",
            f"must be a commit to pin `{model.base}`, got {model.revision or 'none'}: the model "
            "hub decides which weights are used, and results are used again though it may have "
            "changed them since",
        )
        for index, model in enumerate(run.spec.models)
        if not is_pinned(model.base, model.revision)
    )
    return (*data, *bases)


def _find_unpinned(source: TrainSource | EvalSource) -> Iterator[tuple[str, str]]:
    """Yield what lies elsewhere and may change with nothing to tell it by."""
    again = "what was made from it is used again though it may have changed since"
    git, hub = source.git, source.hugging_face
    files = (("uri", source.uri), ("git.list", git.list if git else None))
    for field, uri in files:
        if uri and is_url(uri) and not _PINNED_FILE.match(uri):
            message = f"is read at {uri}, and has no digest: {again}; copy it, or name its commit"
            yield field, message
    if (
        git
        and git.repository
        and is_clone_address(git.repository)
        and not _COMMIT.fullmatch(git.ref)
    ):
        yield "git.ref", f"must be a commit to pin `{git.repository}`, got {git.ref}: {again}"
    if (
        hub
        and not hub.path.startswith(_DATA_ELSEWHERE)
        and not _COMMIT.fullmatch(hub.revision or "")
    ):
        revision = hub.revision or "none"
        yield (
            "huggingFace.revision",
            f"must be a commit to pin `{hub.path}`, got {revision}: {again}",
        )


def is_pinned(base: str, revision: str | None) -> bool:
    """Return whether a base model stays the same, or is told apart when it does not."""
    # What lies on this machine has a fingerprint.
    return base.startswith(_ELSEWHERE) or _COMMIT.fullmatch(revision or "") is not None
