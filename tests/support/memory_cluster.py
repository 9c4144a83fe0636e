"""A cluster in memory: carries out actions and shows the objects; no pod runs in it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from make_installation import STORAGE, make_installation
from make_run import make_body

from tunebench_api.contract import REPORT_KEY, Report, ResultState, StageKind, StageResult
from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_operator import names
from tunebench_operator.actions import Action, Apply, Delete, build_actions
from tunebench_operator.builders.metadata import Manifest
from tunebench_operator.builders.prompts import build_prompts
from tunebench_operator.observe import (
    WORK_KINDS,
    Objects,
    build_objects,
    build_observed,
    has_ended,
    parse_report,
)
from tunebench_operator.observed import Observed
from tunebench_operator.plan import Plan, plan

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_cluster_run(**spec: Any) -> BenchmarkRun:
    """Return a run as an API server holds it."""
    body = make_body(**spec)
    body["metadata"] |= {"namespace": "bench", "uid": "00000000-test", "generation": 1}
    return BenchmarkRun.from_wire(body)


class MemoryCluster:
    """One run and its objects; `step` is what the operator does."""

    def __init__(self, run: BenchmarkRun, storage_uri: str = STORAGE) -> None:
        """Begin with the run alone."""
        self.run = run
        self._storage_uri = storage_uri
        self.installation = make_installation()
        self.objects: dict[tuple[str, str], Manifest] = {}
        # All that was ever applied, in order.
        self.applied: list[Manifest] = []
        self.now = START
        self._uids = itertools.count()
        if run.spec.prompts.config_map_ref:
            source = {"data": {"describe.toml": "[pr_description_prompt]\n"}}
            self._carry_out(Apply(build_prompts(run, source)))

    def step(self) -> Plan:
        """Drive the run one step, some time after the last one."""
        self.now += timedelta(minutes=5)
        objects = build_objects(self.objects.values(), self.run.metadata.uid)
        result = plan(self.run, self._observe(objects), now=self.now)
        for action in build_actions(
            self.run, result, objects, self.installation, self._storage_uri, now=self.now
        ):
            self._carry_out(action)
        self.run = self.run.model_copy(update={"status": result.status})
        return result

    def build_pending_actions(self) -> list[Action]:
        """Return what a step at this moment would write."""
        objects = build_objects(self.objects.values(), self.run.metadata.uid)
        result = plan(self.run, self._observe(objects), now=self.now)
        return build_actions(
            self.run, result, objects, self.installation, self._storage_uri, now=self.now
        )

    def _observe(self, objects: Objects) -> Observed:
        machines = self.installation.build_machines()
        return replace(build_observed(self.run, objects), machines=machines)

    def list_work(self) -> list[Manifest]:
        """Return what does work, by name."""
        found = [each for (kind, _), each in self.objects.items() if kind in WORK_KINDS]
        return sorted(found, key=lambda each: str(each["metadata"]["name"]))

    def list_work_in_progress(self) -> list[Manifest]:
        """Return the work that has not ended, without the server that stays."""
        ended = [
            names.report_name(each["metadata"]["name"])
            for each in self.list_work()
            if has_ended(each)
        ]
        return [
            each
            for each in self.list_work()
            for report in [names.report_name(each["metadata"]["name"])]
            if report not in ended
            and self.key_of(each) != names.KEPT_KEY
            and parse_report(self.objects["ConfigMap", report]).result is None
        ]

    def key_of(self, work: Manifest) -> str:
        """Return the key of the stage that an object works on."""
        config = self.objects["ConfigMap", work["metadata"]["name"]]
        return str(config["metadata"]["annotations"][names.KEY_ANNOTATION])

    def succeed(self, work: Manifest) -> None:
        """Let work end well, or a server answer."""
        if work["kind"] == "RayService":
            self._set_status(work, conditions=[self._condition("Ready", "NonZeroServeEndpoints")])
            return
        best = self.run.spec.models[0].name
        result = StageResult(
            state=ResultState.SUCCEEDED,
            reason="Succeeded",
            finished_at=self.now.isoformat(),
            summary={"best": best} if stage_of(work) is StageKind.SCORE else {},
        )
        self.report(work, result)
        self._end(work, "Complete")

    def fail(self, work: Manifest, *, retryable: bool) -> None:
        """Let a job say itself why it ended."""
        result = StageResult(
            state=ResultState.FAILED,
            reason="Made",
            message="made for a test",
            retryable=retryable,
            finished_at=self.now.isoformat(),
        )
        self.report(work, result)

    def crash(self, work: Manifest) -> None:
        """Let work end without a word."""
        if work["kind"] == "RayService":
            application = {"status": "DEPLOY_FAILED", "message": "the replica does not start"}
            self._set_status(
                work,
                activeServiceStatus={"applicationStatuses": {"tunebench": application}},
                lastUpdateTime=self.now.isoformat(),
            )
            return
        self._end(work, "Failed")

    def remove(self, work: Manifest) -> None:
        """Let somebody delete work by hand."""
        del self.objects[work["kind"], work["metadata"]["name"]]

    def report(self, work: Manifest, result: StageResult) -> None:
        """Write the report of what does the work."""
        name = names.report_name(work["metadata"]["name"])
        report = self.objects["ConfigMap", name]
        text = Report(result=result).model_dump_json(by_alias=True)
        self.objects["ConfigMap", name] = {**report, "data": {REPORT_KEY: text}}

    def _end(self, work: Manifest, how: str) -> None:
        if work["kind"] == "Job":
            self._set_status(work, conditions=[self._condition(how, "Made")])
        else:
            self._set_status(work, jobDeploymentStatus=how, endTime=self.now.isoformat())

    def _set_status(self, work: Manifest, **status: Any) -> None:
        key = work["kind"], work["metadata"]["name"]
        self.objects[key] = {**self.objects[key], "status": status}

    def _condition(self, kind: str, reason: str) -> dict[str, str]:
        return {
            "type": kind,
            "status": "True",
            "reason": reason,
            "message": "",
            "lastTransitionTime": self.now.isoformat(),
        }

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Apply):
            manifest = action.manifest
            key = manifest["kind"], manifest["metadata"]["name"]
            self.applied.append(manifest)
            made = {"uid": f"uid-{next(self._uids)}", "creationTimestamp": self.now.isoformat()}
            metadata = {**made, **manifest["metadata"]}
            self.objects[key] = {**self.objects.get(key, {}), **manifest, "metadata": metadata}
        elif isinstance(action, Delete):
            assert self.objects[action.kind, action.name]["metadata"]["uid"] == action.uid
            del self.objects[action.kind, action.name]
        else:
            metadata = action.config["metadata"]
            key = "ConfigMap", metadata["name"]
            text = action.result.model_dump_json(by_alias=True, exclude_none=True)
            annotations = {**metadata["annotations"], names.ENDED_ANNOTATION: text}
            metadata = {**metadata, "annotations": annotations}
            self.objects[key] = {**self.objects[key], "metadata": metadata}


def stage_of(work: Manifest) -> StageKind:
    """Return the stage that an object belongs to."""
    return StageKind(work["metadata"]["labels"][names.STAGE_LABEL])
