"""Fields that mean nothing where a run is carried out, or contradict others: refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

from tunebench_api.errors import Problem
from tunebench_api.places import URL_SCHEMES, find_scheme
from tunebench_api.v1alpha1 import (
    BenchmarkRun,
    BenchmarkRunSpec,
    Cleanup,
    DatasetSpec,
    DeepSpeed,
    EvalSource,
    Keep,
    ModelSpec,
    TrainSource,
    TuningMethod,
)


class Backend(StrEnum):
    """Where a run is carried out."""

    LOCAL = "Local"
    KUBERNETES = "Kubernetes"


# What prompts and stored completions may be read from; pods see no laptop's paths.
_FILES = {
    Backend.LOCAL: frozenset({"", "file", "s3", "sample"}),
    Backend.KUBERNETES: frozenset({"pvc", "s3", "sample"}),
}
# What data may be read from.
_DATA = {backend: schemes | URL_SCHEMES for backend, schemes in _FILES.items()}
# Of many schemes, these stand for all of their kind in a message.
_KNOWN_URLS = frozenset({"hf", "https"})
_STORES = {
    Backend.LOCAL: frozenset({"", "file", "s3"}),
    Backend.KUBERNETES: frozenset({"pvc", "s3"}),
}
_REPOSITORIES = {
    Backend.LOCAL: frozenset({"", "file", "git", "http", "https", "ssh"}),
    Backend.KUBERNETES: frozenset({"git", "http", "https", "ssh"}),
}
_WITH_QLORA = frozenset({DeepSpeed.NONE, DeepSpeed.AUTO})
_BASES = frozenset({"", "package"})
_FOLDER = re.compile(r"\.|/|file://")


def find_unsupported(run: BenchmarkRun, backend: Backend) -> tuple[Problem, ...]:
    """Return the fields of a valid run that ask for what does not exist yet."""
    spec = run.spec
    in_models = (
        problem
        for index, model in enumerate(spec.models)
        for problem in _find_in_model(model, f"spec.models[{index}]", backend)
    )
    return (*_find_in_dataset(spec.dataset, backend), *_find_in_spec(spec, backend), *in_models)


def _find_in_dataset(dataset: DatasetSpec, backend: Backend) -> Iterator[Problem]:
    for name, source in (("train", dataset.train), ("eval", dataset.eval)):
        yield from _find_in_source(source, f"spec.dataset.{name}", backend)
    decisions = dataset.eval.decisions
    yield from _find_scheme("spec.dataset.eval.decisions", decisions, _FILES[backend])


def _find_in_source(
    source: TrainSource | EvalSource, path: str, backend: Backend
) -> Iterator[Problem]:
    yield from _find_scheme(f"{path}.uri", source.uri, _DATA[backend])
    if source.git:
        repositories = _REPOSITORIES[backend]
        yield from _find_scheme(f"{path}.git.repository", source.git.repository, repositories)
        yield from _find_scheme(f"{path}.git.list", source.git.list, _DATA[backend])
    hub = source.hugging_face
    if hub and backend is Backend.KUBERNETES and _FOLDER.match(hub.path):
        message = f"must be an id of the hub or begin with pvc:// in a cluster, got {hub.path}"
        yield Problem(f"{path}.huggingFace.path", message)


def _find_in_spec(spec: BenchmarkRunSpec, backend: Backend) -> Iterator[Problem]:
    yield from _find_scheme("spec.prompts.uri", spec.prompts.uri, _FILES[backend])
    if spec.prompts.config_map_ref and backend is Backend.LOCAL:
        message = "means something in a cluster only; name a folder in `spec.prompts.uri` instead"
        yield Problem("spec.prompts.configMapRef", message)
    if spec.baseline.completions:
        uri = spec.baseline.completions.uri
        yield from _find_scheme("spec.baseline.completions.uri", uri, _FILES[backend])
    if spec.serving.keep is not Keep.NONE and backend is Backend.LOCAL:
        yield Problem("spec.serving.keep", "means something in a cluster only; remove it")
    if spec.queue and backend is Backend.LOCAL:
        yield Problem("spec.queue", "means something in a cluster only; remove it")
    if spec.cleanup is not Cleanup.KEEP and backend is Backend.LOCAL:
        yield Problem("spec.cleanup", "means something in a cluster only; remove it")
    if spec.storage:
        yield from _find_scheme("spec.storage.uri", spec.storage.uri, _STORES[backend])


def _find_in_model(model: ModelSpec, path: str, backend: Backend) -> Iterator[Problem]:
    tuning = model.tuning
    yield from _find_scheme(f"{path}.base", model.base, _BASES)
    if tuning.method is TuningMethod.QLORA and tuning.deepspeed not in _WITH_QLORA:
        message = (
            f"must be None or Auto with `tuning.method: QLoRA`, got {tuning.deepspeed}: only "
            "adapters are trained, too few to be worth sharing out"
        )
        yield Problem(f"{path}.tuning.deepspeed", message)
    if model.resources.pool is not None and backend is Backend.LOCAL:
        yield Problem(f"{path}.resources.pool", "means something in a cluster only; remove it")
    if model.resources.gpus is not None and tuning.workers > 1:
        message = (
            f"must be absent with `resources.gpus`, got {tuning.workers}: each GPU is a worker"
        )
        yield Problem(f"{path}.tuning.workers", message)


def _find_scheme(field: str, uri: str | None, supported: frozenset[str]) -> Iterator[Problem]:
    """Yield a problem if a URI has a scheme that nothing reads yet; a path has none."""
    if uri is None:
        return
    scheme = find_scheme(uri)
    # `git@HOST:PATH` is ssh without a scheme.
    if scheme in supported or (uri.startswith("git@") and "ssh" in supported):
        return
    shown = supported - {""} - (URL_SCHEMES - _KNOWN_URLS if "hf" in supported else set())
    others = " or ".join(f"{one}://" for one in sorted(shown))
    if "" in supported:
        yield Problem(
            field, f"must be a path or begin with {others}, got {scheme}://, not supported yet"
        )
    else:
        yield Problem(field, f"must begin with {others} in a cluster, got {uri}")
