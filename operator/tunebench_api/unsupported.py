"""Fields that are typed but do nothing yet: refused, so that nobody relies on them.

A line goes from here when the field begins to work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tunebench_api.errors import Problem
from tunebench_api.v1alpha1 import (
    BenchmarkRun,
    BenchmarkRunSpec,
    DatasetSpec,
    DeepSpeed,
    Keep,
    Licenses,
    ModelSpec,
    Packing,
    TuningMethod,
)

_FIELD = "is not supported yet; remove it"

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")
_FILES = frozenset({"", "file"})
_REPOSITORIES = frozenset({"", "file", "git", "http", "https", "ssh"})
_BASES = frozenset({"", "package"})


def find_unsupported(run: BenchmarkRun) -> tuple[Problem, ...]:
    """Return the fields of a valid run that ask for what does not exist yet."""
    spec = run.spec
    in_models = (
        problem
        for index, model in enumerate(spec.models)
        for problem in _find_in_model(model, f"spec.models[{index}]")
    )
    return (*_find_in_dataset(spec.dataset), *_find_in_spec(spec), *in_models)


def _find_in_dataset(dataset: DatasetSpec) -> Iterator[Problem]:
    for name, source in (("train", dataset.train), ("eval", dataset.eval)):
        path = f"spec.dataset.{name}"
        yield from _find_scheme(f"{path}.uri", source.uri, _FILES)
        if source.git:
            yield from _find_scheme(f"{path}.git.repository", source.git.repository, _REPOSITORIES)
    if dataset.licenses is not Licenses.ANY:
        yield _refuse_value("spec.dataset.licenses", dataset.licenses)


def _find_in_spec(spec: BenchmarkRunSpec) -> Iterator[Problem]:
    yield from _find_scheme("spec.prompts.uri", spec.prompts.uri, _FILES)
    if spec.prompts.config_map_ref:
        yield Problem("spec.prompts.configMapRef", _FIELD)
    if spec.baseline.completions:
        uri = spec.baseline.completions.uri
        yield from _find_scheme("spec.baseline.completions.uri", uri, _FILES)
    if spec.judging.budget_usd is not None:
        yield Problem("spec.judging.budgetUSD", _FIELD)
    if spec.serving.keep is not Keep.NONE:
        yield _refuse_value("spec.serving.keep", spec.serving.keep)
    if spec.queue:
        yield Problem("spec.queue", _FIELD)
    if spec.storage:
        yield from _find_scheme("spec.storage.uri", spec.storage.uri, _FILES)


def _find_in_model(model: ModelSpec, path: str) -> Iterator[Problem]:
    tuning = model.tuning
    yield from _find_scheme(f"{path}.base", model.base, _BASES)
    if tuning.method is TuningMethod.QLORA:
        yield _refuse_value(f"{path}.tuning.method", tuning.method)
    if tuning.packing is not Packing.NONE:
        yield _refuse_value(f"{path}.tuning.packing", tuning.packing)
    if tuning.deepspeed is DeepSpeed.AUTO:
        yield _refuse_value(f"{path}.tuning.deepspeed", tuning.deepspeed)
    if model.resources.pool is not None:
        yield Problem(f"{path}.resources.pool", _FIELD)
    if model.resources.gpus is not None:
        yield Problem(f"{path}.resources.gpus", _FIELD)


def _refuse_value(field: str, value: str) -> Problem:
    return Problem(field, f"with the value `{value}` {_FIELD}")


def _find_scheme(field: str, uri: str | None, supported: frozenset[str]) -> Iterator[Problem]:
    """Yield a problem if a URI has a scheme that nothing reads yet; a path has none."""
    match = _SCHEME.match(uri or "")
    scheme = match[1].lower() if match else ""
    if scheme not in supported:
        others = " or ".join(f"{one}://" for one in sorted(supported - {""}))
        yield Problem(
            field, f"must be a path or begin with {others}, got {scheme}://, not supported yet"
        )
