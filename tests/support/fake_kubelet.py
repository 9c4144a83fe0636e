"""Stands in for nodes and KubeRay: lets the work of children succeed, without doing any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from kubernetes.dynamic import DynamicClient

from tunebench_api.contract import (
    REPORT_KEY,
    Progress,
    Report,
    ResultState,
    StageKind,
    StageResult,
)
from tunebench_operator import names

WORK = (("batch/v1", "Job"), ("ray.io/v1", "RayJob"), ("ray.io/v1", "RayService"))
_INTERVAL = {"pct": "40.0", "lo": "30.0", "hi": "50.0"}
LEADERBOARD = [
    {
        "name": "one",
        "model": "one",
        "kind": "FineTuned",
        "tasks": 3,
        "winRate": _INTERVAL,
        "tieAdjusted": _INTERVAL,
    }
]


class FakeKubelet:
    """Ends the work of one namespace as soon as `may_end` says that it may."""

    def __init__(
        self,
        client: DynamicClient,
        namespace: str,
        may_end: Callable[[dict[str, Any]], bool] = lambda _: True,
        *,
        kinds: tuple[tuple[str, str], ...] = WORK,
    ) -> None:
        """Begin with nothing seen; `kinds` are those that the cluster knows."""
        self._kinds = kinds
        self._client = client
        self._namespace = namespace
        self._may_end = may_end
        self._ended: set[str] = set()
        # Names of all work that ever was, with its stage.
        self.seen: dict[str, str] = {}

    async def run(self) -> None:
        """Look for work until cancelled."""
        while True:
            await asyncio.to_thread(self.step)
            await asyncio.sleep(0.05)

    def step(self) -> None:
        """Let what runs succeed."""
        for api_version, kind in self._kinds:
            resource = self._client.resources.get(api_version=api_version, kind=kind)
            for each in resource.get(namespace=self._namespace).to_dict()["items"]:
                metadata = each["metadata"]
                self.seen[metadata["name"]] = metadata["labels"][names.STAGE_LABEL]
                if metadata["uid"] not in self._ended and self._may_end(metadata):
                    self._ended.add(metadata["uid"])
                    self._end(resource, kind, metadata)

    def _end(self, resource: Any, kind: str, metadata: dict[str, Any]) -> None:
        if kind == "RayService":
            ready = {
                "type": "Ready",
                "status": "True",
                "reason": "NonZeroServeEndpoints",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
            self._patch(
                resource.subresources["status"],
                metadata["name"],
                {"status": {"conditions": [ready]}},
            )
            return
        stage = metadata["labels"][names.STAGE_LABEL]
        summary = {"best": "one", "winRate": "40.0 (30.0-50.0)", "leaderboard": LEADERBOARD}
        result = StageResult(
            state=ResultState.SUCCEEDED,
            reason="Succeeded",
            message="done",
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            summary=summary if stage == StageKind.SCORE else {},
        )
        report = Report(progress=Progress(percent=100), result=result)
        maps = self._client.resources.get(api_version="v1", kind="ConfigMap")
        data = {REPORT_KEY: report.model_dump_json(by_alias=True)}
        self._patch(maps, names.report_name(metadata["name"]), {"data": data})

    def _patch(self, resource: Any, name: str, body: dict[str, Any]) -> None:
        resource.patch(
            name=name,
            namespace=self._namespace,
            body=body,
            content_type="application/merge-patch+json",
        )
