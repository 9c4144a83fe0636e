"""What pods need to reach the artefact store; keys come from a Secret and stand nowhere else."""

from __future__ import annotations

from tunebench_api.places import is_remote, resolve_place
from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.installation import Installation

KEY_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# A hub's files are no artefacts: from a bucket they would come no faster than from the hub.
_POD_CACHE = "/tmp/huggingface"  # noqa: S108 - a volume of the pod


def build_storage_variables(
    run: BenchmarkRun, installation: Installation, storage_uri: str
) -> list[Manifest]:
    """Build the environment of a pod that reads and writes the store."""
    endpoint, secret = _find_access(run, installation)
    variables: list[Manifest] = [{"name": "HF_HOME", "value": _find_hub_cache(storage_uri)}]
    if endpoint:
        variables.append({"name": "AWS_ENDPOINT_URL", "value": endpoint})
    if secret:
        # Without `optional`: kubelet says which Secret or key is absent, and the status shows it.
        variables += [
            {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
            for key in KEY_VARIABLES
        ]
    return variables


def _find_access(run: BenchmarkRun, installation: Installation) -> tuple[str | None, str | None]:
    """Return address and Secret, both the run's where the run names a store."""
    storage = run.spec.storage
    if storage is None:
        return installation.storage_endpoint, installation.storage_secret
    return storage.endpoint, storage.secret_ref.name if storage.secret_ref else None


def _find_hub_cache(storage_uri: str) -> str:
    if is_remote(storage_uri):
        return _POD_CACHE
    return f"{resolve_place(storage_uri)}/cache/huggingface"
