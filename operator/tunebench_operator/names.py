"""Every name that the operator gives: stages, variants, condition types."""

from __future__ import annotations

import hashlib
import re

from tunebench_api.contract import StageKind
from tunebench_api.crd import SUMMARY_CONDITION
from tunebench_api.v1alpha1 import API_GROUP

SUCCEEDED = SUMMARY_CONDITION
CONTAMINATED = "Contaminated"
JUDGES_RELIABLE = "JudgesReliable"
JUDGED = "Judged"
# Only of a run with `spec.serving.keep`.
WINNER_SERVED = "WinnerServed"
CONDITION_TYPES = (
    SUCCEEDED,
    "DataReady",
    CONTAMINATED,
    "BaselineReady",
    "Trained",
    "Generated",
    JUDGED,
    JUDGES_RELIABLE,
)

FIELD_MANAGER = "tunebench-operator"
FINALIZER = f"{API_GROUP}/stop"

# Labels of every object that belongs to a run; only these go into selectors.
RUN_LABEL = f"{API_GROUP}/run"
STAGE_LABEL = f"{API_GROUP}/stage"
PART_LABEL = f"{API_GROUP}/part"
CHILD_LABEL = f"{API_GROUP}/child"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "tunebench"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

# What a child is, on its config; a job cannot touch that.
KEY_ANNOTATION = f"{API_GROUP}/stage-key"
DIGEST_ANNOTATION = f"{API_GROUP}/digest"
ATTEMPT_ANNOTATION = f"{API_GROUP}/attempt"
# GPUs that an attempt holds while it runs.
GPUS_ANNOTATION = f"{API_GROUP}/gpus"
# How an attempt ended that could not say it itself.
ENDED_ANNOTATION = f"{API_GROUP}/ended"
# Digest of what was applied, so that nothing is written twice.
APPLIED_ANNOTATION = f"{API_GROUP}/applied"

# Values of the part label.
CONFIG_PART = "config"
REPORT_PART = "report"
WORK_PART = "work"
ACCESS_PART = "access"
PROMPTS_PART = "prompts"

# Of the server that stays; the space keeps it apart from any base or model.
KEPT_KEY = f"{StageKind.SERVE}/the winner"

# Of the child that deletes artefacts.
CLEANUP_KEY = str(StageKind.CLEANUP)

CONFIG_KEY = "stage.json"
CONFIG_FOLDER = "/etc/tunebench"
PROMPTS_FOLDER = "/etc/tunebench-prompts"

# Of the OpenAI-compatible server in a RayService's pods.
SERVE_PORT = 8000

# KubeRay makes longer names from a RayJob's, which leaves it 47 characters.
_MAX_OBJECT = 47

# Keeps child names inside the 63 characters of a label value, with room for digest and attempt.
_MAX_SLUG = 40


def stage_key(kind: StageKind, name: str = "") -> str:
    """Return the key of a stage: its kind, and what it works on where there are several."""
    return f"{kind}/{name}" if name else str(kind)


def untuned_variant(group: str) -> str:
    """Return the name of a base model as judged."""
    return f"{group}-untuned"


def control_variant(control: str) -> str:
    """Return the name of a control as judged; the space keeps it apart from any model."""
    return f"{control.removesuffix('Model').lower()} control"


def child_name(key: str, digest: str, attempt: int) -> str:
    """Return the name of one attempt of one stage; unique for the stage's inputs."""
    return f"{slug(key)}-{digest}-{attempt}"


def slug(text: str) -> str:
    """Return `text` as a DNS label; two texts that differ stay apart."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if plain == text.replace("/", "-") and len(plain) <= _MAX_SLUG:
        return plain
    mark = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{plain[: _MAX_SLUG - 7].rstrip('-') or 'x'}-{mark}"


def base_slug(base: str) -> str:
    """Return the readable end of a base model's id or path."""
    tail = re.split(r"[/\\]", base.rstrip("/"))[-1].removesuffix(".gguf")
    return re.sub(r"[^a-z0-9]+", "-", tail.lower()).strip("-")[:_MAX_SLUG] or "base"


def object_name(run: str, uid: str, child: str, attempt: int) -> str:
    """Return the name of a child's objects: readable, short enough for Ray, unique to the run."""
    mark = hashlib.sha256(f"{uid}/{child}".encode()).hexdigest()[:8]
    end = f"-{mark}-{attempt}"
    plain = re.sub(r"[^a-z0-9]+", "-", f"{run}-{child}".lower()).strip("-")
    # A Ray name is also a DNS label, which begins with a letter.
    plain = plain if plain[0].isalpha() else f"r{plain}"
    return plain[: _MAX_OBJECT - len(end)].rstrip("-") + end


def report_name(child: str) -> str:
    """Return the name of the ConfigMap that a child reports to."""
    return f"{child}-report"


def access_name(run: str, uid: str) -> str:
    """Return the name of a run's ServiceAccount and of what it may do."""
    mark = hashlib.sha256(uid.encode()).hexdigest()[:8]
    plain = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")
    return f"{plain[: _MAX_OBJECT - 9].rstrip('-')}-{mark}"


def prompts_name(run: str, uid: str) -> str:
    """Return the name of the ConfigMap with a run's own copy of its prompts."""
    return f"{access_name(run, uid)}-prompts"
