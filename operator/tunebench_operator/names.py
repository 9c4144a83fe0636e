"""Every name that the operator gives: stages, variants, condition types."""

from __future__ import annotations

import hashlib
import re

from tunebench_api.contract import StageKind
from tunebench_api.crd import SUMMARY_CONDITION

SUCCEEDED = SUMMARY_CONDITION
CONDITION_TYPES = (SUCCEEDED, "DataReady", "BaselineReady", "Trained", "Generated", "Judged")

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
