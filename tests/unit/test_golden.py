"""One BenchmarkRun in, all its children out; `make goldens` writes the outputs anew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from make_goldens import INPUTS, build_output, find_output, list_stale, load_output

from tunebench_operator.builders.metadata import Manifest


def load_kinds(name: str, kind: str) -> list[Manifest]:
    """Return the objects of one kind in an output."""
    (path,) = (each for each in INPUTS if each.stem == name)
    return [each for each in load_output(path) if each["kind"] == kind]


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_children_are_those_of_the_golden(path: Path) -> None:
    """What the operator applies changes only together with the outputs in the repository."""
    assert build_output(path) == find_output(path).read_text(encoding="utf-8")


def test_every_output_has_its_input() -> None:
    """Nothing is kept of a pair whose input has gone, and every kind of child is in one."""
    kinds = Counter(each["kind"] for path in INPUTS for each in load_output(path))

    assert list(list_stale()) == []
    assert set(kinds) == {
        *("ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "ConfigMap"),
        *("Job", "RayJob", "RayService"),
    }


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_ray_workers_come_together(path: Path) -> None:
    """A gang starts whole: no fewer workers than asked for, and none that waits for ever."""
    jobs = [each for each in load_output(path) if each["kind"] == "RayJob"]
    groups = [each["spec"]["rayClusterSpec"]["workerGroupSpecs"][0] for each in jobs]

    assert all(each["minReplicas"] == each["replicas"] == each["maxReplicas"] for each in groups)
    assert all(each["spec"]["preRunningDeadlineSeconds"] == 3600 for each in jobs)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_attempts_are_counted_by_the_planner_alone(path: Path) -> None:
    """Neither KubeRay nor the Job controller tries again what has failed."""
    found = load_output(path)
    limits = [each["spec"]["backoffLimit"] for each in found if each["kind"] in {"Job", "RayJob"}]
    submitters = [
        each["spec"]["submitterConfig"]["backoffLimit"]
        for each in found
        if each["kind"] == "RayJob"
    ]

    assert set(limits) == set(submitters) == {0}


def test_an_ended_training_frees_its_gpus_at_once() -> None:
    """KubeRay takes the whole Ray cluster down as soon as the job has ended, well or badly."""
    (job,) = load_kinds("gpu-queue", "RayJob")

    assert job["spec"]["shutdownAfterJobFinishes"] is True
    assert job["spec"]["ttlSecondsAfterFinished"] == 0


def test_gpu_pools_get_their_gpus() -> None:
    """Workers ask for the pool's GPUs, nodes and image; the head steers and asks for none."""
    (job,) = load_kinds("gpu-queue", "RayJob")
    (service,) = load_kinds("gpu-queue", "RayService")
    for cluster in (job["spec"]["rayClusterSpec"], service["spec"]["rayClusterConfig"]):
        (group,) = cluster["workerGroupSpecs"]
        worker = group["template"]["spec"]
        head = cluster["headGroupSpec"]["template"]["spec"]

        assert worker["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert worker["nodeSelector"] == {"accelerator": "h100"}
        assert worker["containers"][0]["image"] == "tunebench/jobs:test-gpu"
        assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] == 4


def test_a_queue_admits_all_work() -> None:
    """Kueue finds its label on whatever takes nodes, and `suspend` is Kueue's own."""
    work = [
        each for kind in ("Job", "RayJob", "RayService") for each in load_kinds("gpu-queue", kind)
    ]

    assert len(work) == 8
    assert {each["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for each in work} == {"team-a"}
    assert not any("suspend" in each["spec"] for each in work)


def list_secrets(name: str) -> dict[str, list[str]]:
    """Return the Secrets that each Job of an output sees, by stage."""
    return {
        job["metadata"]["labels"]["tunebench.dev/stage"]: sorted(
            each["valueFrom"]["secretKeyRef"]["name"]
            for each in job["spec"]["template"]["spec"]["containers"][0]["env"]
            if "valueFrom" in each
        )
        for job in load_kinds(name, "Job")
    }


def test_keys_go_to_those_who_ask() -> None:
    """Preflight, baseline and judge see the Secrets that they need; nobody else sees any."""
    seen = list_secrets("gpu-queue")
    ray = [*load_kinds("gpu-queue", "RayJob"), *load_kinds("gpu-queue", "RayService")]

    assert seen == {
        "preflight": ["judge-keys", "llm-keys"],
        "data": [],
        "baseline": ["llm-keys"],
        "generate": [],
        "judge": ["judge-keys"],
        "score": [],
    }
    assert not any("secretKeyRef" in str(each) for each in ray)


def test_a_teacher_s_key_goes_to_the_data_stage() -> None:
    """The data stage sees the teacher's Secret and not the judge's; the preflight sees both."""
    assert list_secrets("teacher") == {
        "preflight": ["judge-keys", "teacher-keys"],
        "data": ["teacher-keys"],
        "baseline": [],
        "generate": [],
        "judge": ["judge-keys"],
        "score": [],
    }
