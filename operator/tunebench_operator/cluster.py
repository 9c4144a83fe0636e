"""The one door to the API server: server-side apply, deletion, listing, events."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import kubernetes
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError, ResourceNotFoundError
from urllib3.exceptions import HTTPError

from tunebench_api.v1alpha1 import API_VERSION, KIND, Metadata
from tunebench_operator import names
from tunebench_operator.actions import Action, Apply, Delete, End
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.errors import ClusterError, KindMissingError, UserError
from tunebench_operator.metrics import Metrics
from tunebench_operator.trimming import trim_child, trim_run

_TIMEOUT_SECONDS = 30
_PAGE = 100
# Requests at once: a thread and a connection for each.
CONNECTIONS = 32
_OPERATORS = {"ray.io": "KubeRay", "batch": "the Job controller"}
_MAX_NOTE = 1024

# Everything that belongs to runs, by the plural: (apiVersion, kind).
CHILD_KINDS = MappingProxyType(
    {
        "configmaps": ("v1", "ConfigMap"),
        "serviceaccounts": ("v1", "ServiceAccount"),
        "pods": ("v1", "Pod"),
        "jobs": ("batch/v1", "Job"),
        "roles": ("rbac.authorization.k8s.io/v1", "Role"),
        "rolebindings": ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
        "rayjobs": ("ray.io/v1", "RayJob"),
        "rayservices": ("ray.io/v1", "RayService"),
    }
)


class Cluster:
    """Writes what plans ask for. Requests run in threads, because the client is synchronous."""

    def __init__(self, client: kubernetes.client.ApiClient, metrics: Metrics) -> None:
        """Ask the API server what it knows."""
        self._client = DynamicClient(client)
        self._metrics = metrics
        # The client forgets all kinds for a moment whenever it looks for one that it does not know.
        self._looking_up = threading.Lock()

    def close(self) -> None:
        """Close all connections; one that is in use closes when it is given back."""
        self._client.client.rest_client.pool_manager.clear()

    async def carry_out(self, action: Action) -> None:
        """Do one action; doing it twice changes nothing.

        Raises:
            ClusterError: The API server refused, or did not answer.
        """
        if isinstance(action, Apply):
            await asyncio.to_thread(self._apply, action.manifest)
        elif isinstance(action, Delete):
            await asyncio.to_thread(self._delete, action)
        else:
            await asyncio.to_thread(self._end, action)

    async def apply_status(self, run: Metadata, status: Mapping[str, Any]) -> None:
        """Write a run's whole status.

        Raises:
            ClusterError: The API server refused, or did not answer.
        """
        body = {**_identify(run), "status": dict(status)}
        await asyncio.to_thread(self._apply, body, subresource="status")

    async def find_warning(self, manifest: Manifest) -> str:
        """Return what the newest Warning says of an object; nothing if there is none.

        Raises:
            ClusterError: The API server refused, or did not answer.
        """
        metadata = manifest["metadata"]
        selector = f"involvedObject.uid={metadata['uid']},type=Warning"
        found = await asyncio.to_thread(
            self._list, "v1", "Event", metadata["namespace"], None, selector
        )
        newest = max(found, key=lambda each: each.get("lastTimestamp") or "", default=None)
        return str(newest.get("message", "")) if newest else ""

    async def find_config_map(self, namespace: str | None, name: str) -> Manifest | None:
        """Return a ConfigMap of the user's, or none if there is none of this name.

        Raises:
            ClusterError: The API server refused, or did not answer.
        """
        try:
            return await asyncio.to_thread(self._get_config_map, namespace, name)
        except ClusterError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def set_finalizer(self, run: Metadata, *, present: bool) -> None:
        """Keep a run from going before its work has stopped, or let it go.

        Raises:
            ClusterError: The API server refused, or did not answer.
        """
        body = _identify(run)
        body["metadata"]["finalizers"] = [names.FINALIZER] if present else []
        await asyncio.to_thread(self._apply, body)

    async def list_children(self, namespace: str | None) -> list[Manifest]:
        """List, trimmed, everything that belongs to any run; kinds not there are none.

        Raises:
            ClusterError: The API server refused, or did not answer.
        """
        selector = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
        found: list[Manifest] = []
        for api_version, kind in CHILD_KINDS.values():
            try:
                found += await asyncio.to_thread(
                    self._list, api_version, kind, namespace, selector, trim=trim_child
                )
            except KindMissingError:
                continue
        return found

    async def list_runs(self, namespace: str | None) -> list[Manifest]:
        """List all runs, trimmed.

        Raises:
            ClusterError: The API server refused, or did not answer.
        """
        return await asyncio.to_thread(
            self._list, API_VERSION, KIND, namespace, None, trim=trim_run
        )

    async def post_event(self, run: Metadata, kind: str, reason: str, note: str) -> None:
        """Tell `kubectl describe` what happened.

        Raises:
            ClusterError: The API server refused, or did not answer.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{run.name}.{secrets.token_hex(8)}",
                "namespace": run.namespace,
            },
            "eventTime": now,
            "type": kind,
            "reason": reason,
            "action": "Reconcile",
            "note": note[:_MAX_NOTE],
            "reportingController": f"{names.MANAGED_BY}.dev/operator",
            "reportingInstance": names.FIELD_MANAGER,
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": run.name,
                "namespace": run.namespace,
                "uid": run.uid,
            },
        }
        await asyncio.to_thread(self._create, body)

    def _apply(self, manifest: Manifest, *, subresource: str | None = None) -> None:
        place = _name(manifest)
        with self._translated("apply", manifest["apiVersion"], manifest["kind"], place) as found:
            resource = found.subresources[subresource] if subresource else found
            answer = self._client.server_side_apply(
                resource,
                body=manifest,
                name=manifest["metadata"]["name"],
                namespace=manifest["metadata"]["namespace"],
                field_manager=names.FIELD_MANAGER,
                force_conflicts=True,
                serialize=False,
                _request_timeout=_TIMEOUT_SECONDS,
            )
            # Nobody looks at the object, but what is not read holds its connection.
            answer.read()

    def _get_config_map(self, namespace: str | None, name: str) -> Manifest:
        place = f"{namespace}/{name}"
        with self._translated("get", "v1", "ConfigMap", place) as found:
            answer = found.get(
                name=name,
                namespace=namespace,
                serialize=False,
                _request_timeout=_TIMEOUT_SECONDS,
            )
            config_map: Manifest = json.loads(answer.data)
            return config_map

    def _create(self, manifest: Manifest) -> None:
        place = _name(manifest)
        with self._translated("create", manifest["apiVersion"], manifest["kind"], place) as found:
            found.create(
                body=manifest,
                namespace=manifest["metadata"]["namespace"],
                _request_timeout=_TIMEOUT_SECONDS,
            )

    def _delete(self, action: Delete) -> None:
        place = f"{action.namespace}/{action.name}"
        with (
            # With the kind went its objects.
            suppress(KindMissingError),
            self._translated("delete", action.api_version, action.kind, place, gone=True) as found,
        ):
            found.delete(
                name=action.name,
                namespace=action.namespace,
                # The very object that was observed, and its pods with it.
                body={"preconditions": {"uid": action.uid}, "propagationPolicy": "Background"},
                _request_timeout=_TIMEOUT_SECONDS,
            )

    def _end(self, action: End) -> None:
        metadata = action.config["metadata"]
        text = action.result.model_dump_json(by_alias=True, exclude_none=True)
        place = _name(action.config)
        with self._translated("patch", "v1", "ConfigMap", place, gone=True) as found:
            # A merge, because an application without the data would remove the data.
            found.patch(
                name=metadata["name"],
                namespace=metadata["namespace"],
                body={"metadata": {"annotations": {names.ENDED_ANNOTATION: text}}},
                content_type="application/merge-patch+json",
                field_manager=names.FIELD_MANAGER,
                _request_timeout=_TIMEOUT_SECONDS,
            )

    def _list(  # noqa: PLR0913 - what a listing is asked for
        self,
        api_version: str,
        kind: str,
        namespace: str | None,
        labels: str | None,
        fields: str | None = None,
        *,
        trim: Callable[[Manifest], Manifest] = dict,
    ) -> list[Manifest]:
        items: list[Manifest] = []
        with self._translated("list", api_version, kind, namespace or "all namespaces") as found:
            following: str | None = None
            while True:
                answer = found.get(
                    namespace=namespace,
                    label_selector=labels,
                    field_selector=fields,
                    limit=_PAGE,
                    _continue=following,
                    serialize=False,
                    _request_timeout=_TIMEOUT_SECONDS,
                )
                # Page by page, and small, because thousands of whole objects take half a gigabyte.
                page = json.loads(answer.data)
                # Entries of a list do not say what they are.
                items += [
                    trim({"apiVersion": api_version, "kind": kind, **each})
                    for each in page["items"]
                ]
                following = page["metadata"].get("continue")
                if not following:
                    return items

    @contextmanager
    def _translated(
        self, verb: str, api_version: str, kind: str, name: str, *, gone: bool = False
    ) -> Iterator[Any]:
        """Yield the client's resource, and count; foreign errors become ours.

        `gone`: absence is success.
        """
        try:
            with self._looking_up:
                found = self._client.resources.get(api_version=api_version, kind=kind)
            yield found
            self._metrics.count_request(kind, verb, HTTPStatus.OK)
        except ResourceNotFoundError as error:
            group = api_version.rpartition("/")[0]
            owner = _OPERATORS.get(group, group or "the API server")
            msg = f"the cluster does not know {kind} ({api_version}); install {owner}"
            raise KindMissingError(msg, status=404) from error
        except (ApiException, DynamicApiError) as error:
            self._metrics.count_request(kind, verb, error.status)
            # 409: a precondition failed, so the object that was meant is gone.
            if gone and error.status in {404, 409}:
                return
            msg = f"{kind} {name}: {error.status} {_describe(error)}"
            raise ClusterError(msg, status=error.status) from error
        except (HTTPError, OSError) as error:
            self._metrics.count_request(kind, verb, None)
            msg = f"{kind} {name}: the API server does not answer: {error}"
            raise ClusterError(msg) from error


def load_client() -> kubernetes.client.ApiClient:
    """Return a client with a pod's own credentials, or those of a kubeconfig.

    Raises:
        UserError: There are neither.
    """
    kubeconfig = os.environ.get("KUBECONFIG")
    try:
        # Into the client's defaults, because the leader election makes a client of its own.
        if kubeconfig:
            kubernetes.config.load_kube_config(config_file=kubeconfig)
        else:
            kubernetes.config.load_incluster_config()
    except kubernetes.config.ConfigException as error:
        msg = f"KUBECONFIG must name a kubeconfig, or this must run in a pod: {error}"
        raise UserError(msg) from error
    configuration = kubernetes.client.Configuration.get_default_copy()
    # One that does not fit would be made anew for each request.
    configuration.connection_pool_maxsize = CONNECTIONS
    return kubernetes.client.ApiClient(configuration)


def _identify(run: Metadata) -> Manifest:
    metadata = {"name": run.name, "namespace": run.namespace}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata}


def _name(manifest: Manifest) -> str:
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"


def _describe(error: Any) -> str:
    """Return the API server's own words."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, TypeError, KeyError):
        return str(error.reason)
